"""A model small enough to reckon with: the mean colour of frames, the loudness of sound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class FakeEncoder:
    """An `Encoder` of four dimensions."""

    name = "fake"
    dimension = 4
    frames_per_second = 2.0

    def frame_size(self, aspect_ratio: float) -> tuple[int, int]:
        return (64, 32) if aspect_ratio > 1 else (32, 64)

    def frame_features(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        colours = frames.reshape(len(frames), -1, 3).mean(axis=1)
        return np.concatenate([colours, np.ones((len(frames), 1))], axis=1).astype(np.float32)

    def visual_vector(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        return _unit(features)

    def audio_vector(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        loudness = float(np.abs(samples.astype(np.float64)).mean())
        return _unit(np.array([1.0, loudness, 0.0, 0.0]))


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vector / np.linalg.norm(vector)).astype(np.float32)
