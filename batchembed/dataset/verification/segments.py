"""Checks the times of a part's rows against the cutting rule, all rows at once.

What parameters a video was cut with is not in the dataset: a run's first clip tells its length.
Where a service cuts otherwise, that is a warning when its answer is staged, and a notice here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchembed.core.segments import SHORTEST_SEGMENT_MS
from batchembed.core.verification import Finding
from batchembed.dataset.checks import TOLERANCE_MS
from batchembed.dataset.verification.rows import Columns, Run
from batchembed.dataset.verification.sealed import RESTORE

Flags = NDArray[np.bool_]

#: A time beyond it is none, and has no whole milliseconds.
_LONGEST_SEC = 1e12


@dataclass(frozen=True, slots=True)
class _Rule:
    """What is wrong with the rows that are flagged."""

    code: str
    message: str
    rows: Flags
    is_fault: bool = True


def check_segments(file: str, columns: Columns) -> Iterator[Finding]:
    """The rows of a part whose times can't be, or are cut otherwise: the first of each run.

    Args:
        file: the part's key.
        columns: what was read of it.
    """
    if not columns.rows:
        return
    starts, ends = np.concatenate(columns.starts), np.concatenate(columns.ends)
    whole = _are_ms(starts) & _are_ms(ends)
    if not whole.all():
        # What follows is in whole milliseconds.
        rule = _Rule("segment_time", "a time is not of whole milliseconds", ~whole)
        yield from _findings(file, columns, rule)
        return
    rules = _rules(columns, _ms(starts), _ms(ends))
    for rule in rules:
        yield from _findings(file, columns, rule)


def _are_ms(seconds: NDArray[np.float64]) -> Flags:
    with np.errstate(invalid="ignore", over="ignore"):
        found: Flags = np.abs(seconds) < _LONGEST_SEC
        found &= np.rint(seconds * 1000) / 1000 == seconds
    return found


def _ms(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(seconds * 1000).astype(np.int64)


def _rules(columns: Columns, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Iterator[_Rule]:
    firsts = np.array(columns.firsts)
    counts = np.diff([*firsts, columns.rows])
    is_first = np.zeros(columns.rows, np.bool_)
    is_first[firsts] = True
    is_last = np.roll(is_first, -1)
    before_start, before_end = np.roll(starts, 1), np.roll(ends, 1)

    yield _Rule(
        "segment_empty",
        "a segment has no length, or begins before the video",
        (starts < 0) | (ends <= starts),
    )
    again = ~is_first & (starts == before_start)
    yield _Rule("segment_twice", "a segment begins where the one before it does", again)
    overlap = ~is_first & ~again & (starts < before_end)
    yield _Rule("segment_overlaps", "a segment begins before the one before it ends", overlap)
    latest = np.array([_latest_ms(run) for run in columns.runs])
    yield _Rule(
        "segment_outside", "a segment ends after the video does", ends > np.repeat(latest, counts)
    )

    yield _Rule(
        "segment_gap",
        "there is a gap before a segment",
        ~is_first & (starts > before_end),
        is_fault=False,
    )
    lengths = ends - starts
    clip = np.repeat(lengths[firsts], counts)
    uneven = np.where(is_last, lengths > clip, lengths != clip)
    yield _Rule(
        "segment_uneven", "a segment has not the length of the first", uneven, is_fault=False
    )
    several = np.repeat(counts > 1, counts)
    short = is_last & several & (lengths < SHORTEST_SEGMENT_MS)
    yield _Rule(
        "segment_short",
        "the last segment is shorter than 2 s: the rule drops such",
        short,
        is_fault=False,
    )
    of_video = np.array([run.kind[1] == "video" for run in columns.runs])
    yield _Rule(
        "segment_count",
        "a video has more than one segment of scope video",
        several & np.repeat(of_video, counts) & ~is_first,
        is_fault=False,
    )


def _latest_ms(run: Run) -> float:
    duration = run.spec.duration_sec
    return np.inf if duration is None else duration * 1000 + TOLERANCE_MS


def _findings(file: str, columns: Columns, rule: _Rule) -> Iterator[Finding]:
    """One for each run: the first such row, and how many there are."""
    rows = np.flatnonzero(rule.rows)
    if not rows.size:
        return
    of_run = np.searchsorted(columns.firsts, rows, side="right") - 1
    runs, at, counts = np.unique(of_run, return_index=True, return_counts=True)
    for number, first, count in zip(runs.tolist(), rows[at].tolist(), counts.tolist(), strict=True):
        run = columns.runs[number]
        more = f" ({count} such rows)" if count > 1 else ""
        yield Finding(
            code=rule.code,
            file=file,
            message=f"{' '.join(run.kind)}: {rule.message}{more}",
            hint=RESTORE if rule.is_fault else None,
            is_fault=rule.is_fault,
            row=first,
            video_id=run.spec.video_id,
        )
