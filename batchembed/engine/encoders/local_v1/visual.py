"""Features of frames: EfficientNet-Lite0 up to its pooled last layer, through onnxruntime.

With every optimisation on, onnxruntime gives the same bits for each batch size and process; with
any other level it does not. One thread a session: the pool of workers is what uses the cores.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail as _Fail
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException as _RuntimeException

FEATURES = 1280
BATCH = 4
#: The area of a frame as the network sees it: that of a square of 224 pixels.
SIDE = 224
#: Both sides are multiples of this, so that no stage of the network pads unevenly.
STEP = 32
SHORTEST_SIDE = 96

Frames: TypeAlias = NDArray[np.uint8]


def frame_size(aspect_ratio: float) -> tuple[int, int]:
    """Width and height of a frame for the network: its shape kept, its area that of 224 x 224."""
    root = math.sqrt(aspect_ratio)
    return _side(SIDE * root), _side(SIDE / root)


def _side(pixels: float) -> int:
    return max(SHORTEST_SIDE, round(pixels / STEP) * STEP)


class InferenceError(RuntimeError):
    """The network could not be run; onnxruntime's own errors are no `RuntimeError`."""


def _translated(error: Exception) -> Exception:
    """Running out of memory is told by onnxruntime in words alone."""
    said = str(error)
    if any(words in said for words in ("bad_alloc", "bad allocation", "allocate memory")):
        return MemoryError(said)
    return InferenceError(said)


class FrameFeatures:
    """The network, loaded. Call it with frames to have their features.

    Raises:
        MemoryError: loading or running it takes more than there is.
        InferenceError: it can't be loaded or run for another reason.
    """

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except (_Fail, _RuntimeException) as error:
            raise _translated(error) from error

    def __call__(self, frames: Frames) -> NDArray[np.float32]:
        """Features [n, 1280] of RGB frames [n, h, w, 3], whose sides are multiples of 32."""
        parts = [self._run(frames[at : at + BATCH]) for at in range(0, len(frames), BATCH)]
        return np.concatenate(parts)

    def _run(self, frames: Frames) -> NDArray[np.float32]:
        scaled = (frames.astype(np.float32) - np.float32(127)) * np.float32(1 / 128)
        planes = np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
        try:
            (features,) = self._session.run(["features"], {"frames": planes})
        except (_Fail, _RuntimeException) as error:
            raise _translated(error) from error
        return np.asarray(features, dtype=np.float32)
