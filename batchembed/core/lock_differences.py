"""How a build differs from the lock of another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest

from batchembed.core.build_lock import BuildLock, LockedEngine, LockedPart, LockedVideo
from batchembed.core.keys import canonical_json
from batchembed.core.model import VideoId
from batchembed.core.outcome import Outcome
from batchembed.errors import BatchembedError, ExitCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as it was locked; None where one side does not have it at all."""

    what: str
    locked: str | None
    now: str | None

    def __str__(self) -> str:
        if self.locked is None:
            return f"{self.what}: not in the lock file, and now {self.now}"
        if self.now is None:
            return f"{self.what}: locked as {self.locked}, and now gone"
        return f"{self.what}: locked as {self.locked}, and now {self.now}"


class BuildDiffersError(BatchembedError):
    """A locked build is not, or does not become, what its lock file says; all `differences` are in it."""

    exit_code = ExitCode.DIFFERENCE

    def __init__(self, file: str, differences: Sequence[Difference], then: str) -> None:
        self.differences = tuple(differences)
        many = "difference" if len(self.differences) == 1 else "differences"
        super().__init__(f"{len(self.differences)} {many} from {file}: {then}")


def differences(locked: BuildLock, now: BuildLock) -> tuple[Difference, ...]:
    """What of a build's inputs and outcomes is not as it was locked, all of it.

    Neither parts (`part_differences`) nor versions (`version_differences`) are looked at. An
    outcome counts where it is known now.
    """
    return (*_build(locked, now), *_videos(locked.videos, now.videos))


def _build(locked: BuildLock, now: BuildLock) -> Iterator[Difference]:
    yield from _between("manifest, its digest", locked.manifest.sha256, now.manifest.sha256)
    yield from _between("model_name", locked.model_name, now.model_name)
    yield from _between("engine", locked.engine.kind, now.engine.kind)
    yield from _between("engine.base_url", locked.engine.base_url, now.engine.base_url)
    yield from _between(
        "output.partition_by", ", ".join(locked.partition_by), ", ".join(now.partition_by)
    )
    if now.dimension is not None:
        yield from _between("dimension", locked.dimension, now.dimension)


def _between(what: str, locked: object, now: object) -> Iterator[Difference]:
    if locked != now:
        yield Difference(what=what, locked=_word(locked), now=_word(now))


def _word(value: object) -> str:
    return "none" if value is None or value == "" else str(value)


def _videos(locked: Sequence[LockedVideo], now: Sequence[LockedVideo]) -> Iterator[Difference]:
    before = {video.video_id: video for video in locked}
    after = {video.video_id for video in now}
    for video in now:
        was = before.get(video.video_id)
        if was is None:
            yield Difference(what=f"video {video.video_id}", locked=None, now="in the manifest")
        else:
            yield from video_differences(was, video)
    for video in locked:
        if video.video_id not in after:
            yield Difference(what=f"video {video.video_id}", locked="a video", now=None)
    yield from _order(
        [video.video_id for video in locked if video.video_id in after],
        [video.video_id for video in now if video.video_id in before],
    )


def _order(locked: Sequence[VideoId], now: Sequence[VideoId]) -> Iterator[Difference]:
    """The first video that does not stand where it stood: rows are sorted by the manifest's order."""
    for was, is_ in zip(locked, now, strict=False):
        if was != is_:
            yield Difference(what="order of the videos", locked=f"{was} first", now=f"{is_} first")
            return


def video_differences(locked: LockedVideo, now: LockedVideo) -> Iterator[Difference]:
    """What of one video is not as it was locked."""
    sent = now.outcome is None
    fate, now_fate = _fate(locked, sent=sent), _fate(now, sent=sent)
    if fate == now_fate and _inputs(locked) == _inputs(now):
        return  # as nearly all do: to name each field takes twenty times as long
    before, after = _fields(locked), _fields(now)
    before["outcome"], after["outcome"] = fate, now_fate
    if locked.facts is None or now.facts is None:
        # Where a file can't be read, outcome and content say so, and say it once.
        for fields in (before, after):
            for key in [key for key in fields if key.startswith("facts.")]:
                del fields[key]
    differing = [key for key in (before | after) if before.get(key) != after.get(key)]
    if not differing and locked.job_key != now.job_key:
        before["job_key"], after["job_key"] = _word(locked.job_key), _word(now.job_key)
        differing = ["job_key"]
    for key in differing:
        yield Difference(
            what=f"video {now.video_id}: {key}",
            locked=before.get(key, "none"),
            now=after.get(key, "none"),
        )


def _inputs(video: LockedVideo) -> tuple[object, ...]:
    metadata = json.dumps(dict(video.metadata), sort_keys=True)
    named = (video.source, video.source_sha256, video.weak_identity, video.job_key)
    return (*named, video.facts, video.parameters, metadata)


def _fields(video: LockedVideo) -> dict[str, str]:
    """Each thing that may differ, as text: 1 is not 1.0 in a column."""
    plain = {
        "source": video.source,
        "source_sha256": _word(video.source_sha256),
        "weak_identity": _word(video.weak_identity),
    }
    facts = {} if video.facts is None else asdict(video.facts)
    plain |= {f"facts.{key}": canonical_json(value) for key, value in facts.items()}
    parameters = asdict(video.parameters)
    plain |= {f"parameters.{key}": canonical_json(value) for key, value in parameters.items()}
    return plain | {f"metadata.{key}": json.dumps(value) for key, value in video.metadata.items()}


def _fate(video: LockedVideo, *, sent: bool) -> str:
    """What became of a video, or only whether it is `sent` at all.

    Why the service failed it does not count: it may say so in other words, and there are no rows.
    """
    match video.outcome:
        case Outcome.REJECTED:
            return f"rejected ({video.code})"
        case Outcome.SKIPPED:
            return "skipped"
        case None:
            return "sent"
        case _ if sent:
            return "sent"
        case Outcome.COMMITTED:
            return f"committed with {video.rows:,} rows"
        case _:
            return "failed"


def part_differences(
    locked: Iterable[LockedPart], now: Iterable[LockedPart]
) -> tuple[Difference, ...]:
    """The parts that are not as they were locked, partition by partition, in order."""
    before, after = _by_folder(locked), _by_folder(now)
    found = []
    for folder in sorted(before.keys() | after.keys()):
        old, new = before.get(folder, []), after.get(folder, [])
        gone = [part for part in old if part not in new]
        made = [part for part in new if part not in old]
        found += [
            Difference(
                what=f"part of {folder or 'the dataset'}",
                locked=None if was is None else str(was),
                now=None if is_ is None else str(is_),
            )
            for was, is_ in zip_longest(gone, made)
        ]
    return tuple(found)


def _by_folder(parts: Iterable[LockedPart]) -> dict[str, list[LockedPart]]:
    found: dict[str, list[LockedPart]] = {}
    for part in parts:
        found.setdefault(part.path.rpartition("/")[0], []).append(part)
    return found


def version_differences(locked: LockedEngine, now: LockedEngine) -> tuple[Difference, ...]:
    """What computes and writes in other versions, or on another kind of processor.

    They are no reason to refuse: other versions may well give the same bytes, and a lock that holds
    on one machine alone would be switched off. The parts' sha256 decide.
    """
    names = sorted(locked.versions.keys() | now.versions.keys())
    versions = (
        Difference(what=name, locked=was, now=is_)
        for name in names
        if (was := locked.versions.get(name)) != (is_ := now.versions.get(name))
    )
    return (*_between("processor", locked.processor, now.processor), *versions)
