"""`local-v1` as an encoder: the two halves under the one interface of the engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batchembed.engine.encoders.local_v1 import visual
from batchembed.engine.encoders.local_v1.audio import embed_sound
from batchembed.engine.encoders.local_v1.model_file import read_model
from batchembed.engine.encoders.local_v1.projection import DIMENSION, project, unit


class LocalV1:
    """The model inside the package; loading it takes a fifth of a second.

    Raises:
        ModelFileError: the model's file is missing or is another.
    """

    name = "local-v1"
    dimension = DIMENSION
    frames_per_second = 2.0

    def __init__(self) -> None:
        self._features = visual.FrameFeatures(read_model())

    def frame_size(self, aspect_ratio: float) -> tuple[int, int]:
        return visual.frame_size(aspect_ratio)

    def frame_features(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._features(frames)

    def visual_vector(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        return unit(project(features))

    def audio_vector(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return embed_sound(samples)
