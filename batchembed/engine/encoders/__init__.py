"""The seam for a model: what the engine asks of one, and which one a name stands for.

Deciding what to sample, pooling and cutting are the engine's; an encoder turns frames and sound
into numbers and knows nothing of videos. Its answers may depend on its arguments alone: the same
bits for each batch, process and order of calls.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Encoder(Protocol):
    """A model of frames and sound."""

    @property
    def name(self) -> str:
        """The `model_name` that it answers to."""

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""

    @property
    def frames_per_second(self) -> float:
        """Frames sampled for each second of a segment; two a segment at least."""

    def frame_size(self, aspect_ratio: float) -> tuple[int, int]:
        """Width and height that frames of this display aspect ratio are scaled to."""

    def frame_features(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features [n, k], one row a frame, of upright RGB frames [n, height, width, 3]."""

    def visual_vector(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        """The vector [dimension] of length one for the mean [k] of frames' features."""

    def audio_vector(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vector [dimension] of length one for mono samples at 16 kHz in -1..1."""
