"""1280 features to 1024 numbers of the same geometry, and vectors of length one.

The matrix is 1024 rows of an orthogonal one: signs, a Householder reflection over five blocks, a
Hadamard transform of 256 within each. Signs and rows are bits of sha256, and every step is an
addition of float64 numbers element by element, so that no BLAS library has a say in the result.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from batchembed.engine.encoders.local_v1.visual import FEATURES

DIMENSION = 1024
_BLOCKS = 5
_WIDTH = 256


def _digest(purpose: str, number: int) -> bytes:
    return hashlib.sha256(f"local-v1/{purpose}/{number}".encode()).digest()


def _signs() -> NDArray[np.float64]:
    """+1 or -1 for each feature."""
    bits = b"".join(_digest("sign", number) for number in range(FEATURES // 256))
    return np.unpackbits(np.frombuffer(bits, np.uint8)).astype(np.float64) * 2 - 1


def _rows() -> NDArray[np.int64]:
    """Which rows are kept: those whose hash is smallest, in ascending order."""
    order = sorted(range(FEATURES), key=lambda row: _digest("keep", row))
    return np.sort(np.array(order[:DIMENSION], dtype=np.int64))


_SIGNS = _signs()
_ROWS = _rows()


def project(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Project one pooled feature vector [1280] to [1024]."""
    x = (features * _SIGNS).reshape(_BLOCKS, _WIDTH)
    half = 1
    while half < _WIDTH:
        pairs = x.reshape(_BLOCKS, _WIDTH // (2 * half), 2, half)
        first, second = pairs[:, :, 0, :], pairs[:, :, 1, :]
        x = np.stack([first + second, first - second], axis=2).reshape(_BLOCKS, _WIDTH)
        half *= 2
    total = x[0] + x[1] + x[2] + x[3] + x[4]
    mixed: NDArray[np.float64] = (x - 0.4 * total) * (1 / 16)
    return mixed.reshape(-1)[_ROWS]


def unit(vector: NDArray[np.float64]) -> NDArray[np.float32]:
    """The vector at length one, as float32. The sum of squares is exact before its one rounding.

    Raises:
        ValueError: a vector of length zero, or not finite, has no direction.
    """
    length = math.sqrt(math.fsum((vector * vector).tolist()))
    if not (0 < length < math.inf):
        raise ValueError(f"a vector of length {length} has no direction")
    return (vector / length).astype(np.float32)
