"""How two datasets differ, as text for a person and as plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from batchembed.core.problems import Scalar
from batchembed.dataset.diff import DatasetDiff, VideoDiff
from batchembed.dataset.drift import KindDiff
from batchembed.dataset.matching import Change
from batchembed.dataset.record import RowSpec
from batchembed.dataset.side import Side
from batchembed.report.text import many

VERSION = 1
_WIDE = 10
_SHA256 = re.compile("[0-9a-f]{64}")


def diff_dict(found: DatasetDiff) -> dict[str, Any]:
    """The differences as plain values, as `docs/json.md` describes them."""
    drift = found.drift
    quantiles = {f"{share:g}": distance for share, distance in drift.quantiles}
    distance = {"mean": drift.mean, "quantiles": quantiles, "max": drift.highest}
    return {
        "version": VERSION,
        "differ": not found.is_empty,
        "a": _side(found.a),
        "b": _side(found.b),
        "tolerance": found.tolerance,
        "counts": _counts(found),
        "changes": list(map(asdict, found.changes)),
        "engine": list(map(asdict, found.engine)),
        "removed": list(map(_alone, found.removed)),
        "added": list(map(_alone, found.added)),
        "videos": [_video(video, found.tolerance) for video in found.videos],
        "incomparable": found.incomparable,
        "vectors": {"compared": drift.compared, "identical": drift.identical},
        "distance": distance if drift.compared else None,
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "path": side.storage.location,
        "dataset_id": side.about.dataset_id,
        "record": side.record.number,
        "model_name": side.about.model_name,
        "dimension": side.record.dimension,
        "videos": len(side.videos),
        "rows": side.record.rows,
    }


def _counts(found: DatasetDiff) -> dict[str, int]:
    return {
        "removed": len(found.removed),
        "added": len(found.added),
        "renamed": sum(video.is_renamed for video in found.videos),
        "changed": sum(video.is_changed for video in found.videos),
        "drifted": len(found.drifted),
        "same": found.same,
    }


def _alone(spec: RowSpec) -> dict[str, Any]:
    return {"video_id": spec.video_id, "source": spec.source, "rows": spec.published_rows}


def _video(video: VideoDiff, tolerance: float | None) -> dict[str, Any]:
    return {
        "a": video.a.video_id,
        "b": video.b.video_id,
        "renamed": video.is_renamed,
        "changed": video.is_changed,
        "drifted": video.has_drifted(tolerance),
        "changes": list(map(asdict, video.changes)),
        "rows": list(map(_kind, video.kinds)),
    }


def _kind(kind: KindDiff) -> dict[str, Any]:
    distance = {"min": kind.lowest, "mean": kind.mean, "max": kind.highest}
    return {
        "embedding_option": kind.kind[0],
        "embedding_scope": kind.kind[1],
        "segments": {"both": kind.segments, "only_a": kind.only_a, "only_b": kind.only_b},
        "vectors": {"compared": kind.compared, "identical": kind.identical},
        "distance": distance if kind.compared else None,
    }


def diff_lines(found: DatasetDiff, *, limit: int | None) -> Iterator[str]:
    """The differences in words; at most `limit` videos of each sort, None: all."""
    yield from _named("A", found.a)
    yield from _named("B", found.b)
    yield from (f"{'dataset':{_WIDE}}{_change(change)}" for change in found.changes)
    yield from _some((f"{'removed':{_WIDE}}{_rows(spec)}" for spec in found.removed), limit)
    yield from _some((f"{'added':{_WIDE}}{_rows(spec)}" for spec in found.added), limit)
    renamed = (video for video in found.videos if video.is_renamed)
    told = (f"{'renamed':{_WIDE}}{video.a.video_id} -> {video.b.video_id}" for video in renamed)
    yield from _some(told, limit)
    changed = [video for video in found.videos if video.is_changed]
    for video in changed[:limit]:
        yield from _changed(video)
    yield from _more(len(changed), limit)
    yield from _drifted(found.drifted, limit)
    if found.engine:
        yield f"note: not computed with the same {', '.join(map(_change, found.engine))}"
    yield _vectors(found)
    counts = _counts(found)
    same = counts.pop("same")
    differing = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n)
    seen = "" if found.incomparable is None else " but for their vectors"
    yield f"diff: {differing or 'no video differs'}; {many(same, 'video')} the same{seen}"


def _named(name: str, side: Side) -> Iterator[str]:
    yield (
        f"{name:{_WIDE}}record {side.record.number} of {side.storage.location}: "
        f"{many(len(side.videos), 'video')}, {many(side.record.rows, 'row')} of "
        f"{side.about.model_name}, {side.record.dimension} numbers each"
    )


def _rows(spec: RowSpec) -> str:
    return f"{spec.video_id}  {many(spec.published_rows, 'row')}"


def _changed(video: VideoDiff) -> Iterator[str]:
    yield f"{'changed':{_WIDE}}{video.b.video_id}"
    for change in video.changes:
        yield f"{'':{_WIDE}}  {_change(change)}"
    for kind in video.kinds:
        if kind.only_a or kind.only_b:
            yield (
                f"{'':{_WIDE}}  segments of {kind.kind[0]}, {kind.kind[1]}: "
                f"{kind.segments:,} in both, {kind.only_a:,} only in A, {kind.only_b:,} only in B"
            )


def _change(change: Change) -> str:
    return f"{change.what}: {_word(change.a)} -> {_word(change.b)}"


def _word(value: Scalar | None) -> str:
    if isinstance(value, str) and _SHA256.fullmatch(value):
        return f"{value[:16]}..."
    return "none" if value is None or value == "" else str(value)


def _drifted(videos: Sequence[VideoDiff], limit: int | None) -> Iterator[str]:
    """A table, the greatest distance first."""
    if not videos:
        return
    table = [("max", "mean", "vectors", "identical", "video")]
    table += [
        (
            _distance(video.highest),
            _distance(video.mean),
            f"{video.compared:,}",
            f"{video.identical:,}",
            video.b.video_id,
        )
        for video in videos[:limit]
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)][:-1]
    for number, line in enumerate(table):
        figures = [f"{cell:>{width}}" for cell, width in zip(line, widths, strict=False)]
        yield f"{'' if number else 'drifted':{_WIDE}}{'  '.join([*figures, line[-1]])}"
    yield from _more(len(videos), limit)


def _distance(value: float) -> str:
    return f"{value:.3g}"


def _vectors(found: DatasetDiff) -> str:
    drift = found.drift
    if found.incomparable is not None:
        return f"vectors: not compared, {found.incomparable}"
    if not drift.compared:
        return "vectors: none are in both"
    line = f"vectors: {drift.compared:,} compared, {drift.identical:,} identical"
    if drift.identical == drift.compared:
        return line
    figures = {
        "mean": drift.mean,
        **{f"p{100 * share:g}": distance for share, distance in drift.quantiles},
        "max": drift.highest,
    }
    told = ", ".join(f"{name} {_distance(value)}" for name, value in figures.items())
    return f"{line}; cosine distance: {told}"


def _some(lines: Iterable[str], limit: int | None) -> Iterator[str]:
    """The first of them, and how many more there are."""
    told = list(lines)
    yield from told[:limit]
    yield from _more(len(told), limit)


def _more(count: int, limit: int | None) -> Iterator[str]:
    if limit is not None and count > limit:
        yield f"{'':{_WIDE}}and {count - limit:,} more: --limit 0 lists all"
