"""Features of frames: EfficientNet-Lite0 up to its pooled last layer, through onnxruntime.

With every optimisation on, onnxruntime gives the same bits for each batch size and process; with
any other level it does not. One thread a session: the pool of workers is what uses the cores.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

MODEL_FILE = Path(__file__).with_name("efficientnet_lite0.onnx")
ONNX_SHA256 = "b7388c48353b5d5dec93300230e8fe4aa6fdae8fc5823d7df1528b36f830a7c7"

FEATURES = 1280
BATCH = 4
#: The area of a frame as the network sees it: that of a square of 224 pixels.
SIDE = 224
#: Both sides are multiples of this, so that no stage of the network pads unevenly.
STEP = 32
SHORTEST_SIDE = 96

Frames: TypeAlias = NDArray[np.uint8]


class ModelFileError(Exception):
    """The model's file is missing, or is not the one that `local-v1` names."""


def read_model(path: Path = MODEL_FILE) -> bytes:
    """The bytes of the model's file, checked.

    Raises:
        ModelFileError: it can't be read, or its sha256 is another.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"the model's file {path} can't be read ({error.strerror}): install batchembed again"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != ONNX_SHA256:
        raise ModelFileError(
            f"the model's file {path} has sha256 {found}, but local-v1 is {ONNX_SHA256}: "
            "install batchembed again"
        )
    return data


def frame_size(aspect_ratio: float) -> tuple[int, int]:
    """Width and height of a frame for the network: its shape kept, its area that of 224 x 224."""
    root = math.sqrt(aspect_ratio)
    return _side(SIDE * root), _side(SIDE / root)


def _side(pixels: float) -> int:
    return max(SHORTEST_SIDE, round(pixels / STEP) * STEP)


class FrameFeatures:
    """The network, loaded. Call it with frames to have their features."""

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, frames: Frames) -> NDArray[np.float32]:
        """Features [n, 1280] of RGB frames [n, h, w, 3], whose sides are multiples of 32."""
        parts = [self._run(frames[at : at + BATCH]) for at in range(0, len(frames), BATCH)]
        return np.concatenate(parts)

    def _run(self, frames: Frames) -> NDArray[np.float32]:
        scaled = (frames.astype(np.float32) - np.float32(127)) * np.float32(1 / 128)
        planes = np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
        return np.asarray(self._session.run(["features"], {"frames": planes})[0], dtype=np.float32)
