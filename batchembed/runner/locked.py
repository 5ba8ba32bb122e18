"""A locked build: its inputs compared before anything is sent, its parts before they are published."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from batchembed.core.build_lock import (
    FORMAT,
    BuildLock,
    LockedEngine,
    LockedManifest,
    LockedPart,
    LockedVideo,
    ended_video,
    leading_parts,
    locked_video,
    manifest_digest,
)
from batchembed.core.lock_differences import (
    BuildDiffersError,
    Difference,
    differences,
    part_differences,
    version_differences,
    video_differences,
)
from batchembed.core.model import EngineKind, Manifest, Profile, Video, VideoId
from batchembed.core.outcome import Outcome, VideoOutcome
from batchembed.dataset.files import sha256_of_file
from batchembed.dataset.publish import Dataset
from batchembed.dataset.record import Part
from batchembed.dataset.storage import Storage
from batchembed.errors import DatasetError, StoreAccessError
from batchembed.runner.stopping import Stop
from batchembed.runner.survey import Surveyed, Surveyor
from batchembed.store.ledger import KnownFile

_NEW_LOCK = "run without --locked, which publishes the new build and writes its lock file"


@dataclass(frozen=True, kw_only=True)
class LockedBuild:
    """What a locked run must come to."""

    file: str  #: the lock file
    lock: BuildLock
    engine: LockedEngine  #: of this run
    read: tuple[KnownFile, ...] = ()  #: what reading the inputs told, for the ledger to remember

    def require_inputs(self, now: BuildLock) -> None:
        """See that the inputs are those that were locked.

        Raises:
            BuildDiffersError: they are not; it has all that differs.
        """
        then = (
            f"nothing was submitted, and nothing published: take the changes back, or {_NEW_LOCK}"
        )
        self._require(differences(self.lock, now), then)

    def require_input(self, found: Surveyed) -> None:
        """See that a video is still what it was when the inputs were compared.

        Of one that its store denies now nothing is known: nothing is published without it.

        Raises:
            BuildDiffersError: it changed in between.
        """
        if found.denied:
            return
        now = found_video(found)
        then = "it changed while the run was at work, and nothing is published: run again"
        self._require(tuple(video_differences(self._videos[now.video_id], now)), then)

    def require_outcomes(self, outcomes: Sequence[VideoOutcome]) -> None:
        """See that every video ended as in the lock.

        Raises:
            BuildDiffersError: some did not.
        """
        now = replace(self.lock, videos=tuple(map(ended_video, outcomes)))
        advice = (
            "see `batchembed failures`, run again with --retry where it may pass"
            if any(map(self._newly_failed, now.videos))
            else "restore the lock file if it was edited"
        )
        then = f"nothing is published, and what was collected is kept: {advice}, or {_NEW_LOCK}"
        self._require(differences(self.lock, now), then)

    def _newly_failed(self, now: LockedVideo) -> bool:
        was = self._videos.get(now.video_id)
        return now.outcome is Outcome.FAILED and was is not None and was.outcome != now.outcome

    def require_parts(self, parts: Sequence[Part]) -> None:
        """See that a dataset's parts are those of the lock. Kept rows may follow them.

        Raises:
            BuildDiffersError: they are not.
        """
        own = leading_parts(locked_parts(parts), self.lock.rows)
        then = f"nothing is published, the last record is as it was; {self._why()}; {_NEW_LOCK}"
        self._require(part_differences(self.lock.parts, own), then)

    def acceptance(self, dataset: Dataset) -> Callable[[Sequence[Part]], None]:
        """What sees that parts are those of the lock, and the bytes of those that are there whole.

        What it is called with are the parts of the next record, or of the last; it raises what
        `require_parts` and `require_bytes` raise.
        """
        record, missing = dataset.last(), frozenset(dataset.missing_parts)
        there = {
            part
            for part in (() if record is None else record.parts)
            if dataset.storage.named(part.path) not in missing
        }

        def accept(parts: Sequence[Part]) -> None:
            self.require_parts(parts)
            self.require_bytes(dataset.storage, (part for part in parts if part in there))

        return accept

    def require_bytes(self, storage: Storage, parts: Iterable[Part]) -> None:
        """See that parts which are there have the bytes that the record says. They are all read.

        Raises:
            BuildDiffersError: some have not.
            DatasetError: one can't be read.
            StoreError: the store can't be reached.
        """
        found = (
            Difference(what=f"part {storage.named(part.path)}", locked=part.sha256, now=sha256)
            for part in parts
            if (sha256 := _sha256(storage, part)) != part.sha256
        )
        then = (
            f"the dataset is damaged, and nothing is published: `batchembed verify "
            f"{storage.location}` says where; remove what is damaged and run without --locked, "
            "which writes it anew where its rows are staged still, or the service has them"
        )
        self._require(tuple(found), then)

    @functools.cached_property
    def _videos(self) -> Mapping[VideoId, LockedVideo]:
        return {video.video_id: video for video in self.lock.videos}

    def _why(self) -> str:
        """Why the same inputs may give other parts."""
        if self.lock.engine.kind == EngineKind.TWELVELABS:
            return "a hosted service may give other vectors for the same video"
        others = version_differences(self.lock.engine, self.engine)
        if others:
            return f"it was locked under another {', '.join(other.what for other in others)}"
        return "versions and kind of processor are those of the lock, so something else changed it"

    def _require(self, found: Sequence[Difference], then: str) -> None:
        if found:
            raise BuildDiffersError(self.file, found, then)


async def read_inputs(
    manifest: Manifest, profile: Profile, known: Mapping[str, KnownFile]
) -> tuple[tuple[LockedVideo, ...], tuple[KnownFile, ...]]:
    """Every video of a manifest as it is now, its file probed and hashed, and what reading told.

    Args:
        manifest: whose videos are read.
        profile: of the model.
        known: what is remembered of files, by path: they are not read again.

    Raises:
        StoreError: a store is away, takes none of the credentials, or denies some videos.
    """
    denied: list[Surveyed] = []
    read: list[KnownFile] = []

    async def remember(file: KnownFile) -> None:
        read.append(file)

    surveyor = Surveyor(manifest, profile, known, remember, Stop())

    async def one(video: Video) -> LockedVideo:
        if video.skip is not None:
            return locked_video(video, outcome=Outcome.SKIPPED)
        found = await surveyor.survey(video)
        if found.denied:
            denied.append(found)
        return found_video(found)

    videos = await asyncio.gather(*map(one, manifest.videos))
    if denied:
        raise _not_comparable(denied)
    return tuple(videos), tuple(read)


def _not_comparable(denied: Sequence[Surveyed]) -> StoreAccessError:
    first, others = denied[0], len(denied) - 1
    more = f" and {others} more" if others else ""
    return StoreAccessError(
        f"video {first.video.video_id}{more} can't be compared with the lock file: "
        f"{first.reasons[0].message}"
    )


def found_video(found: Surveyed) -> LockedVideo:
    """A video as a lock has it, from what was surveyed: rejected, or with an outcome to come."""
    job = found.job
    if job is None:
        return locked_video(
            found.video,
            facts=found.facts,
            outcome=Outcome.REJECTED,
            code=found.reasons[0].code if found.reasons else None,
        )
    return locked_video(found.video, content=job.content, facts=found.facts, job_key=job.job_key)


def build_lock(
    manifest: Manifest,
    *,
    engine: LockedEngine,
    dimension: int | None,
    videos: tuple[LockedVideo, ...],
    parts: tuple[LockedPart, ...] = (),
) -> BuildLock:
    """The lock of a build of a manifest."""
    return BuildLock(
        format=FORMAT,
        manifest=LockedManifest(name=manifest.name, sha256=manifest_digest(manifest)),
        model_name=manifest.model_name,
        engine=engine,
        dimension=dimension,
        partition_by=manifest.output.partition_by,
        videos=videos,
        parts=parts,
    )


def locked_parts(parts: Sequence[Part]) -> tuple[LockedPart, ...]:
    """A record's parts as a lock has them."""
    return tuple(
        LockedPart(path=part.path, rows=part.rows, bytes=part.bytes, sha256=part.sha256)
        for part in parts
    )


def _sha256(storage: Storage, part: Part) -> str:
    try:
        with storage.open(part.path) as file:
            return sha256_of_file(file)
    except OSError as error:
        raise DatasetError(
            f"{storage.named(part.path)} can't be read: {error.strerror or error}; see to its disk "
            "and its permissions, then run again"
        ) from error
