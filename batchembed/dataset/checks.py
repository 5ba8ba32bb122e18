"""Every check that an answer must pass before its rows are staged."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchembed.core.model import Profile
from batchembed.core.partitions import partition_problem
from batchembed.core.problems import Reason
from batchembed.core.segments import Span, cut, to_ms
from batchembed.dataset.rows import CheckedRows, rows_table
from batchembed.errors import AnswerError, BatchembedError

#: How far a segment may end after the video.
TOLERANCE_MS = 50
#: How far from 1 the length of a vector may be that is to have it.
UNIT_TOLERANCE = 1e-3


class AnsweredSegment(Protocol):
    """A segment as the service tells it: anything may be missing."""

    @property
    def start_offset_sec(self) -> float | None: ...
    @property
    def end_offset_sec(self) -> float | None: ...
    @property
    def embedding_option(self) -> str | None: ...
    @property
    def embedding_scope(self) -> str | None: ...
    @property
    def float_(self) -> Sequence[float] | NDArray[np.float32] | None: ...


class BrokenAnswerError(BatchembedError):
    """An answer that breaks a check; `reason` says which. It fails its video, not the run."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.message)


class _Row(NamedTuple):
    option: str
    scope: str
    span: Span
    number: int  #: in the answer
    vector: NDArray[np.float32]


def check_rows(
    segments: Iterable[AnsweredSegment],
    *,
    profile: Profile,
    dimension: int | None,
    whole: Span | None,
    clip_length_sec: float,
    scopes: tuple[str, ...],
) -> CheckedRows:
    """Check an answer, segment by segment as it is decoded.

    Args:
        segments: consumed lazily; memory is that of the vectors as float32.
        profile: of the model.
        dimension: that the dataset has; None takes the first vector's.
        whole: the part of the video that was asked for, where it is known.
        clip_length_sec: what was asked for; another count of segments is a warning.
        scopes: what was asked for.

    Raises:
        BrokenAnswerError: the first check that the answer breaks.
    """
    rows: list[_Row] = []
    ends: dict[tuple[str, str], int] = {}
    try:
        for number, segment in enumerate(segments):
            row = _row(segment, number, profile, scopes)
            dimension = dimension or len(row.vector)
            if len(row.vector) != dimension:
                raise _broken(
                    "embedding_dimension",
                    f"segment {number} has {len(row.vector)} numbers instead of {dimension}",
                )
            _check_span(row, whole, ends)
            rows.append(row)
    except AnswerError as error:
        raise BrokenAnswerError(Reason(code="answer_unreadable", message=str(error))) from error
    if not rows or dimension is None:
        raise _broken("answer_empty", "the answer has no segments")
    rows.sort(key=lambda row: row[:3])
    vectors = np.empty((len(rows), dimension), np.float32)
    for place, row in enumerate(rows):
        vectors[place] = row.vector
    squares = _squares(vectors)
    _check_vectors(squares, rows)
    warnings = (
        *_strangers(rows, profile, scopes),
        *_miscounts(rows, whole, clip_length_sec, scopes),
        *(_off_unit(squares) if profile.unit_length else ()),
    )
    return CheckedRows(table=_table(rows, vectors), warnings=tuple(warnings))


def _broken(code: str, message: str) -> BrokenAnswerError:
    return BrokenAnswerError(Reason(code=code, message=message))


def _row(segment: AnsweredSegment, number: int, profile: Profile, scopes: tuple[str, ...]) -> _Row:
    option = segment.embedding_option or profile.embedding_options[0]
    scope = segment.embedding_scope or (scopes[0] if len(scopes) == 1 else "")
    for key, value in (("embedding_option", option), ("embedding_scope", scope)):
        if not _can_name_a_folder(key, value):
            raise _broken("segment_unnamed", f"segment {number} has {key} {value!r}")
    start, end = segment.start_offset_sec, segment.end_offset_sec
    if start is None or end is None or not (_is_time(start) and _is_time(end)):
        raise _broken("segment_without_time", f"segment {number} is from {start} to {end}")
    span = Span(to_ms(start), to_ms(end))
    return _Row(option, scope, span, number, _vector(segment.float_, number))


def _is_time(seconds: float) -> bool:
    """Whether it can be said in milliseconds."""
    return math.isfinite(seconds * 1000)


@functools.lru_cache(maxsize=256)
def _can_name_a_folder(key: str, value: str) -> bool:
    """Segments share a few names."""
    return partition_problem(key, value) is None


def _vector(
    values: Sequence[float] | NDArray[np.float32] | None, number: int
) -> NDArray[np.float32]:
    try:
        read = np.asarray([] if values is None else values)
    except (ValueError, TypeError, OverflowError):
        read = np.asarray([])
    if read.ndim != 1 or read.dtype.kind not in "fiu" or read.size == 0:
        raise _broken("embedding_missing", f"segment {number} has no vector of numbers")
    if read.dtype == np.float32:
        return read
    with np.errstate(over="ignore"):
        return read.astype(np.float32)


def _squares(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of the lengths: finite where all numbers are, and 0 for the vector zero alone.

    No square of a float32 is too large or too small for a float64. One pass over all vectors tells
    all of it: one by one this would cost as much as reading the numbers.
    """
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return squares


def _check_vectors(squares: NDArray[np.float64], rows: list[_Row]) -> None:
    for code, broken, what in (
        ("embedding_not_finite", ~np.isfinite(squares), "numbers that no float32 can hold"),
        ("embedding_zero", squares == 0, "the vector zero"),
    ):
        if broken.any():
            first = min(rows[place].number for place in np.flatnonzero(broken))
            raise _broken(code, f"segment {first} has {what}")


def _check_span(row: _Row, whole: Span | None, ends: dict[tuple[str, str], int]) -> None:
    start, end = row.span
    if start < 0 or end <= start:
        raise _broken("segment_empty", f"{_shown(row)} has no length, or begins before the video")
    if whole is not None and (
        start < whole.start_ms - TOLERANCE_MS or end > whole.end_ms + TOLERANCE_MS
    ):
        raise _broken(
            "segment_outside",
            f"{_shown(row)} is outside what was asked for, "
            f"{whole.start_offset_sec} to {whole.end_offset_sec} s",
        )
    before = ends.get((row.option, row.scope))
    if before is not None and start < before:
        raise _broken("segment_overlaps", f"{_shown(row)} begins before the one before ends")
    ends[row.option, row.scope] = end


def _shown(row: _Row) -> str:
    start, end = row.span
    return f"segment {row.number}, {row.option} {row.scope} from {start / 1000} to {end / 1000} s,"


def _strangers(rows: list[_Row], profile: Profile, scopes: tuple[str, ...]) -> Iterator[Reason]:
    """Options and scopes that nobody expects: they were paid for, so they are kept."""
    for what, found, known in (
        ("embedding_option", {row.option for row in rows}, profile.embedding_options),
        ("embedding_scope", {row.scope for row in rows}, scopes),
    ):
        for value in sorted(found - set(known)):
            yield Reason(
                code="answer_unexpected",
                field=what,
                message=f"the answer has {what} {value}, which was not expected; it is kept",
                value=value,
            )


def _miscounts(
    rows: list[_Row], whole: Span | None, clip_length_sec: float, scopes: tuple[str, ...]
) -> Iterator[Reason]:
    """Counts that the cutting rule does not give."""
    if whole is None:
        return
    expected = {
        scope: 1 if scope == "video" else len(cut(whole, clip_length_sec)) for scope in scopes
    }
    counts = Counter((row.option, row.scope) for row in rows)
    for option in sorted({row.option for row in rows}):
        for scope, wanted in expected.items():
            if counts[option, scope] != wanted:
                yield Reason(
                    code="segment_count",
                    message=f"{option} {scope} has {counts[option, scope]} segments where "
                    f"{wanted} were expected",
                    value=counts[option, scope],
                    limit=wanted,
                )


def _off_unit(squares: NDArray[np.float64]) -> Iterator[Reason]:
    norms = np.sqrt(squares)
    off = norms[np.abs(norms - 1) > UNIT_TOLERANCE]
    if off.size:
        yield Reason(
            code="embedding_not_unit",
            message=f"{off.size} of {len(norms)} vectors are not of length 1 (one is {off[0]:.6g})",
            value=float(off[0]),
            limit=1,
        )


def _table(rows: list[_Row], vectors: NDArray[np.float32]) -> pa.Table:
    return rows_table(
        [row.option for row in rows],
        [row.scope for row in rows],
        np.array([row.span.start_ms for row in rows]) / 1000,
        np.array([row.span.end_ms for row in rows]) / 1000,
        vectors,
    )
