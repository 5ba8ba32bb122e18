"""Arrow's arrays from plain values and back, over their buffers.

`pa.array`, `pa.scalar` and `to_numpy` import pandas where it is installed: half a second and 26 MB,
for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchembed.core.problems import Scalar

_NUMBERS: dict[pa.DataType, type[np.generic]] = {
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.float32(): np.float32,
    pa.float64(): np.float64,
}


def numbers(values: NDArray[Any], kind: pa.DataType) -> pa.Array[Any]:
    """An array without nulls. It shares its memory with `values` where those are of its type."""
    content = np.ascontiguousarray(values, _NUMBERS[kind])
    return pa.Array.from_buffers(kind, content.size, [None, pa.py_buffer(cast("Any", content))])


def repeated(
    values: Sequence[Scalar | None], counts: Sequence[int], kind: pa.DataType
) -> pa.Array[Any]:
    """Each value so many times; None is a null. The values are of the type, see `fitting`."""
    buffers: list[Any]
    if kind == pa.string():
        texts = [cast("str", value or "").encode() for value in values]
        ends = np.cumsum(np.repeat([len(text) for text in texts], counts))
        content = b"".join(text * count for text, count in zip(texts, counts, strict=True))
        buffers = [np.concatenate(([0], ends)).astype(np.int32), content]
    elif kind == pa.bool_():
        buffers = [_bits([bool(value) for value in values], counts)]
    else:
        plain = [0 if value is None else value for value in values]
        buffers = [np.repeat(np.array(plain, _NUMBERS[kind]), counts)]
    valid = [value is not None for value in values]
    nulls = None if all(valid) else pa.py_buffer(_bits(valid, counts))
    return pa.Array.from_buffers(kind, sum(counts), [nulls, *map(pa.py_buffer, buffers)])


def _bits(values: Sequence[bool], counts: Sequence[int]) -> Any:  # noqa: ANN401  Arrow's stubs know no array as a buffer
    return np.packbits(np.repeat(np.array(values, np.bool_), counts), bitorder="little")


def fitting(value: Scalar | None, kind: pa.DataType) -> Scalar | None:
    """The value as one of this type, where that changes nothing of it.

    Raises:
        TypeError: it is of another type, or out of range.
    """
    if value is None or (isinstance(value, bool) and kind == pa.bool_()):
        return value
    if isinstance(value, str) and kind == pa.string():
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if kind == pa.float64():
            return float(value)
        if kind in {pa.int32(), pa.int64()} and value % 1 == 0:
            limit = 1 << (kind.bit_width - 1)
            if -limit <= value < limit:
                return int(value)
    msg = f"{value!r} is no {kind}"
    raise TypeError(msg)


def numbers_of(column: pa.ChunkedArray[Any]) -> NDArray[Any]:
    """The numbers of a column without nulls."""
    return np.concatenate([_flat(chunk, 0, len(chunk)) for chunk in column.chunks])


def vectors_of(column: pa.ChunkedArray[Any]) -> Iterator[NDArray[np.float32]]:
    """The vectors of a column, piece by piece, each (rows, dimension) and not a copy."""
    for chunk in cast("list[Any]", column.chunks):
        size = chunk.type.list_size
        yield _flat(chunk.values, chunk.offset * size, len(chunk) * size).reshape(-1, size)


def _flat(values: Any, first: int, count: int) -> NDArray[Any]:  # noqa: ANN401  as above
    kind = np.dtype(_NUMBERS[values.type])
    if not count:  # there may be no buffer at all
        return np.empty(0, kind)
    place = (values.offset + first) * kind.itemsize
    return np.frombuffer(values.buffers()[1], kind, count, place)
