"""How two datasets differ: their videos, what stands beside the vectors, and the vectors themselves.

What the records say is believed: a video whose rows have one sha256 in both has the same rows, and
is not read. `verify` is what holds the parts against the records.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchembed.dataset.drift import KindDiff, compare_rows
from batchembed.dataset.matching import (
    Change,
    Pair,
    dataset_changes,
    engine_changes,
    match,
    video_changes,
)
from batchembed.dataset.record import RowSpec
from batchembed.dataset.side import Listings, Side, read_side
from batchembed.dataset.storage import Storage
from batchembed.dataset.walk import walk
from batchembed.errors import DatasetError

QUANTILES = (0.5, 0.9, 0.99)

#: The rows of each kind that were compared, by the video's position in A.
Compared = dict[int, list[KindDiff]]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoDiff:
    """A video that both have, and in which something differs."""

    a: RowSpec
    b: RowSpec
    changes: tuple[Change, ...]
    kinds: tuple[KindDiff, ...]  #: in order; none where the rows are the same

    @property
    def is_renamed(self) -> bool:
        """Whether it has another id in B."""
        return self.a.video_id != self.b.video_id

    @property
    def is_changed(self) -> bool:
        """Whether anything but the vectors differs."""
        return bool(self.changes) or any(kind.only_a or kind.only_b for kind in self.kinds)

    @property
    def compared(self) -> int:
        """Vectors that were compared."""
        return sum(kind.compared for kind in self.kinds)

    @property
    def identical(self) -> int:
        """Vectors that are the same to the bit."""
        return sum(kind.identical for kind in self.kinds)

    @property
    def mean(self) -> float:
        """Cosine distance, over all vectors that were compared."""
        total = sum(float(kind.distances.sum()) for kind in self.kinds)
        return total / self.compared if self.compared else 0.0

    @property
    def highest(self) -> float:
        """The greatest cosine distance of a vector."""
        return max((kind.highest for kind in self.kinds), default=0.0)

    def has_drifted(self, tolerance: float | None) -> bool:
        """Whether vectors differ: by more than `tolerance`, or by a bit."""
        if tolerance is None:
            return self.identical < self.compared
        return self.highest > tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Cosine distances, over every vector of a segment that both datasets have."""

    compared: int
    identical: int  #: to the bit
    mean: float
    quantiles: tuple[tuple[float, float], ...]  #: (share, distance)
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDiff:
    """Everything in which two datasets differ."""

    a: Side
    b: Side
    changes: tuple[Change, ...]  #: of the datasets as a whole
    engine: tuple[Change, ...]  #: what computed them; alone it makes no difference
    removed: tuple[RowSpec, ...]  #: only in A
    added: tuple[RowSpec, ...]  #: only in B
    videos: tuple[VideoDiff, ...]  #: in both, and not the same to the bit, in the order of A
    both: int  #: videos that are in both
    incomparable: str | None  #: why vectors were not compared
    drift: Drift
    tolerance: float | None

    @property
    def drifted(self) -> tuple[VideoDiff, ...]:
        """Those whose vectors differ, the greatest distance first."""
        found = (video for video in self.videos if video.has_drifted(self.tolerance))
        return tuple(sorted(found, key=lambda video: (-video.highest, -video.mean)))

    @property
    def same(self) -> int:
        """Videos that are the same in both, but for what is tolerated."""
        return self.both - sum(
            video.is_renamed or video.is_changed or video.has_drifted(self.tolerance)
            for video in self.videos
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs but what is tolerated."""
        return not (self.changes or self.removed or self.added) and self.same == self.both


def diff(a: Storage, b: Storage, *, tolerance: float | None = None) -> DatasetDiff:
    """Compare two datasets.

    Memory is the lists of videos, one row group of each, and eight bytes a vector that is not the
    same to the bit.

    Args:
        a: where the one is.
        b: where the other is.
        tolerance: a cosine distance up to which vectors count as the same; None: to the bit.

    Raises:
        InputMissingError: there is no dataset, or none with a record yet.
        DatasetError: one is damaged, of a newer version of batchembed, or was published anew.
        StorageError: one can't be read.
    """
    known: Listings = {}
    with _as_it_was() as sides:
        sides.append(read_side(a, known))
        sides.append(read_side(b, known))
        of_a, of_b = sides
        found = match(of_a, of_b)
        incomparable = _incomparable(of_a, of_b)
        kinds: Compared = {}
        for each in walk(of_a, of_b, (pair for pair in found.pairs if not _has_same_rows(pair))):
            compared = compare_rows(each.kind, each.a, each.b, comparable=incomparable is None)
            if not np.isfinite(compared.distances).all():
                raise DatasetError(
                    f"video {each.pair.a.spec.video_id} has vectors that are not finite in "
                    f"{a.location} or {b.location}: `batchembed verify` says where"
                )
            kinds.setdefault(each.pair.a.position, []).append(compared)
    videos = (_video(of_a, of_b, pair, kinds) for pair in found.pairs)
    return DatasetDiff(
        a=of_a,
        b=of_b,
        changes=dataset_changes(of_a, of_b, found.pairs),
        engine=engine_changes(of_a, of_b),
        removed=found.removed,
        added=found.added,
        videos=tuple(video for video in videos if video is not None),
        both=len(found.pairs),
        incomparable=incomparable,
        drift=_drift(found.pairs, kinds, comparable=incomparable is None),
        tolerance=tolerance,
    )


@contextlib.contextmanager
def _as_it_was() -> Iterator[list[Side]]:
    """Tell damage from a publish that took away what is being read."""
    sides: list[Side] = []
    try:
        yield sides
    except DatasetError as error:
        for side in sides:
            if not side.is_still():
                raise DatasetError(
                    f"{side.storage.location} was published anew while it was read: nothing is "
                    "wrong with it, run again"
                ) from error
        raise


def _incomparable(a: Side, b: Side) -> str | None:
    """Why no vector of the one says anything about one of the other."""
    if a.about.model_name != b.about.model_name:
        return f"they are of two models, {a.about.model_name} and {b.about.model_name}"
    if a.record.dimension != b.record.dimension:
        return f"they have {a.record.dimension} and {b.record.dimension} numbers"
    return None


def _has_same_rows(pair: Pair) -> bool:
    return pair.a.spec.rows_sha256 == pair.b.spec.rows_sha256


def _video(a: Side, b: Side, pair: Pair, kinds: Compared) -> VideoDiff | None:
    """A video, where anything differs."""
    same_model = a.about.model_name == b.about.model_name
    of_a, of_b = pair.a.spec, pair.b.spec
    found = sorted(kinds.get(pair.a.position, ()), key=lambda each: each.kind)
    if all(each.is_same for each in found):
        found = []
    changes = video_changes(of_a, of_b, same_model=same_model)
    if not (changes or found or pair.is_renamed):
        return None
    return VideoDiff(a=of_a, b=of_b, changes=changes, kinds=tuple(found))


def _drift(pairs: Sequence[Pair], kinds: Compared, *, comparable: bool) -> Drift:
    known = [each for found in kinds.values() for each in found]
    identical = sum(each.identical for each in known)
    if comparable:
        identical += sum(_shared_rows(pair) for pair in pairs if _has_same_rows(pair))
    # In order, so that the sum is the same whichever dataset is named first.
    distances = np.sort(np.concatenate([np.empty(0), *(each.distances for each in known)]))
    compared = identical + len(distances)
    return Drift(
        compared=compared,
        identical=identical,
        mean=float(distances.sum() / compared) if compared else 0.0,
        quantiles=tuple((share, _quantile(distances, identical, share)) for share in QUANTILES),
        highest=float(distances.max(initial=0.0)),
    )


def _shared_rows(pair: Pair) -> int:
    """The rows of options that both publish, where all rows are the same."""
    options = set(pair.a.spec.published) & set(pair.b.spec.published)
    return sum(rows for option, rows in pair.a.spec.rows if option in options)


def _quantile(distances: NDArray[np.float64], zeros: int, share: float) -> float:
    """The least distance that this share of all vectors does not exceed; sorted, after the zeros."""
    rank = math.ceil(share * (zeros + len(distances))) - 1 - zeros
    return float(distances[rank]) if rank >= 0 and len(distances) else 0.0
