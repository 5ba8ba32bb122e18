"""Reads the rows of videos that two datasets have, side by side, whatever order each has them in.

The parts of one group of each side are open at a time, and one row group of each is in memory.
Where both have their videos in one order, everything is read once. Where they have not, a part is
opened again for each group of the other side that has videos of it, and never more than once a video.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa

from batchembed.core.model import VideoId
from batchembed.dataset.matching import Pair
from batchembed.dataset.part_reader import PartReader
from batchembed.dataset.rows import Kind
from batchembed.dataset.side import Located, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRows:
    """The rows of one kind of a video that both have; None where one has none of it."""

    pair: Pair
    kind: Kind
    a: pa.Table | None
    b: pa.Table | None


def walk(a: Side, b: Side, pairs: Iterable[Pair]) -> Iterator[PairRows]:
    """The rows of these videos, kind by kind, in the order in which they are cheap to read.

    Raises:
        DatasetError: a part is missing or damaged.
    """
    with _OneGroup(a) as of_a, _OneGroup(b) as of_b:
        for (group_a, group_b), found in groupby(sorted(pairs, key=_groups), key=_groups):
            of_a.open(group_a)
            of_b.open(group_b)
            yield from _of_groups(of_a, of_b, tuple(found))


def _groups(pair: Pair) -> tuple[int, int]:
    return pair.a.group, pair.b.group


def _of_groups(a: _OneGroup, b: _OneGroup, pairs: tuple[Pair, ...]) -> Iterator[PairRows]:
    """All rows of these videos, whose rows are in one group of each side: part by part."""
    steps = []
    for pair in pairs:
        in_a, in_b = a.parts_of(pair.a), b.parts_of(pair.b)
        steps += [
            (in_a.get(kind, -1), in_b.get(kind, -1), pair, kind)
            for kind in sorted(in_a.keys() | in_b.keys())
        ]
    for part_a, part_b, pair, kind in sorted(steps, key=_cheaply):
        yield PairRows(
            pair=pair, kind=kind, a=a.rows(part_a, pair.a, kind), b=b.rows(part_b, pair.b, kind)
        )


def _cheaply(step: tuple[int, int, Pair, Kind]) -> tuple[object, ...]:
    part_a, part_b, pair, kind = step
    return part_a, part_b, pair.a.block, pair.b.block, pair.a.position, kind


class _OneGroup(contextlib.AbstractContextManager["_OneGroup"]):
    """The parts of one group of a dataset, open; one of them has a row group in memory."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._stack = contextlib.ExitStack()
        self._number: int | None = None
        self._parts: list[PartReader] = []
        self._last: int | None = None

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def open(self, number: int) -> None:
        """Open the parts of this group instead."""
        if self._number == number:
            return
        self._stack.close()
        self._number, self._last, self._parts = number, None, []
        for part in self._side.record.groups[number].parts:
            self._parts.append(self._stack.enter_context(PartReader(self._side.storage, part)))

    def parts_of(self, video: Located) -> Mapping[Kind, int]:
        """In which part the rows of each kind are that a video has."""
        video_id = VideoId(video.spec.video_id)
        return {
            kind: number for number, part in enumerate(self._parts) for kind in part.kinds(video_id)
        }

    def rows(self, part: int, video: Located, kind: Kind) -> pa.Table | None:
        """The rows of one kind of a video; None where `part` is none."""
        if part < 0:
            return None
        if self._last is not None and self._last != part:
            self._parts[self._last].rest()
        self._last = part
        return self._parts[part].rows(video.spec.video_id, kind)
