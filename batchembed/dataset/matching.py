"""Which videos of two datasets belong together, and how what is known of them differs. No rows are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from batchembed.core.problems import Scalar
from batchembed.dataset.record import RowSpec
from batchembed.dataset.side import Located, Side

#: What is compared between two builds: a number stays one, anything else is told as text.
Told = Scalar | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is not the same in both; None where one does not have it."""

    what: str
    a: Told
    b: Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A video that both have; it is renamed where they have it under two ids."""

    a: Located
    b: Located

    @property
    def is_renamed(self) -> bool:
        """Whether it has another id in B."""
        return self.a.spec.video_id != self.b.spec.video_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Every video of A and of B, once each."""

    pairs: tuple[Pair, ...]  #: in the order of A
    removed: tuple[RowSpec, ...]  #: only in A, in its order
    added: tuple[RowSpec, ...]  #: only in B, in its order


def match(a: Side, b: Side) -> Matching:
    """Pair the videos of two datasets: by id, and what is left by its job, then by its content."""
    pairs = [Pair(a=of_a, b=b.videos[key]) for key, of_a in a.videos.items() if key in b.videos]
    removed = [of_a for key, of_a in a.videos.items() if key not in b.videos]
    added = [of_b for key, of_b in b.videos.items() if key not in a.videos]
    for name in (_job_of, _content_of):
        renamed = _renamed(removed, added, name)
        pairs += renamed
        gone = {pair.a.position for pair in renamed}, {pair.b.position for pair in renamed}
        removed = [video for video in removed if video.position not in gone[0]]
        added = [video for video in added if video.position not in gone[1]]
    return Matching(
        pairs=tuple(sorted(pairs, key=lambda pair: pair.a.position)),
        removed=tuple(video.spec for video in removed),
        added=tuple(video.spec for video in added),
    )


def _job_of(spec: RowSpec) -> str | None:
    return spec.job_key


def _content_of(spec: RowSpec) -> str | None:
    return spec.source_sha256


def _renamed(
    removed: Iterable[Located], added: Iterable[Located], name: Callable[[RowSpec], str | None]
) -> list[Pair]:
    """The videos that are called the same by `name`: of several, the first with the first."""
    waiting: dict[str, list[Located]] = {}
    for video in added:
        key = name(video.spec)
        if key is not None:
            waiting.setdefault(key, []).append(video)
    for videos in waiting.values():
        videos.reverse()
    return [
        Pair(a=video, b=found.pop())
        for video in removed
        if (found := waiting.get(name(video.spec) or ""))
    ]


def dataset_changes(a: Side, b: Side, pairs: Sequence[Pair]) -> tuple[Change, ...]:
    """How two datasets differ as a whole."""
    return (
        *_between("model_name", a.about.model_name, b.about.model_name),
        *_between("dimension", a.record.dimension, b.record.dimension),
        *_between("normalised", a.record.schema.normalised, b.record.schema.normalised),
        *_between("partition_by", _listed(a), _listed(b)),
        *_each("column.", dict(a.record.schema.metadata), dict(b.record.schema.metadata)),
        *_order(pairs),
    )


def engine_changes(a: Side, b: Side) -> tuple[Change, ...]:
    """What computed the vectors, where it was not the same. That alone makes no dataset another."""
    return tuple(_each("", a.about.engine, b.about.engine))


def video_changes(a: RowSpec, b: RowSpec, *, same_model: bool) -> tuple[Change, ...]:
    """How what stands beside the vectors of one video differs, and which of them there are."""
    return (
        *_between("source", a.source, b.source),
        *_between("source_sha256", a.source_sha256, b.source_sha256),
        *(_job(a, b) if same_model else ()),
        *_between("embedding_option", ", ".join(a.published), ", ".join(b.published)),
        *_rows(a, b),
        *_between("duration_sec", a.duration_sec, b.duration_sec),
        *_between("width", a.width, b.width),
        *_between("height", a.height, b.height),
        *_each("metadata.", a.metadata, b.metadata),
    )


def _job(a: RowSpec, b: RowSpec) -> Iterator[Change]:
    """The job is content and parameters: where the content is known, what differs is the other."""
    if a.source_sha256 is None or b.source_sha256 is None:
        yield from _between("job_key", a.job_key, b.job_key)
    elif a.source_sha256 == b.source_sha256:
        yield from _between("parameters, by job_key", a.job_key, b.job_key)


def _rows(a: RowSpec, b: RowSpec) -> Iterator[Change]:
    """Of options that both have; what one lacks is told as an option."""
    of_a, of_b = dict(a.rows), dict(b.rows)
    for option in a.published:
        if option in b.published:
            yield from _between(f"rows of {option}", of_a[option], of_b[option])


def _between(what: str, a: Told, b: Told) -> Iterator[Change]:
    # 1 and 1.0 are one number in a column; True is none.
    if a != b or isinstance(a, bool) != isinstance(b, bool):
        yield Change(what=what, a=a, b=b)


def _each(prefix: str, a: Mapping[str, Told], b: Mapping[str, Told]) -> Iterator[Change]:
    for name in sorted(a.keys() | b.keys()):
        yield from _between(f"{prefix}{name}", a.get(name), b.get(name))


def _listed(side: Side) -> str:
    return ", ".join(side.record.schema.partition_by)


def _order(pairs: Sequence[Pair]) -> Iterator[Change]:
    """The first video that does not stand where it stood: rows are in the order of the videos."""
    for a, b in zip(pairs, sorted(pairs, key=lambda pair: pair.b.position), strict=True):
        if a is not b:
            yield Change(
                what="order",
                a=f"{a.a.spec.video_id} first",
                b=f"{b.b.spec.video_id} first",
            )
            return
