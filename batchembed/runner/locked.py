"""A locked build: its inputs compared before anything is sent, its parts before they are published."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
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
from batchembed.core.problems import Reason
from batchembed.core.states import State
from batchembed.dataset.record import Part
from batchembed.runner.survey import Surveyed, Surveyor
from batchembed.store.ledger import KnownFile

_NEW_LOCK = "run without --locked, which publishes the new build and writes its lock file"
_WITHHELD = Reason(
    code="withheld",
    message="its rows are staged: a locked run publishes once every video has ended",
    hint="run again",
)


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

        Raises:
            BuildDiffersError: it changed in between.
        """
        now = found_video(found)
        then = "it changed while the run was at work, and nothing is published: run again"
        self._require(tuple(video_differences(self._videos[now.video_id], now)), then)

    def require_outcomes(self, outcomes: Sequence[VideoOutcome]) -> None:
        """See that every video ended as in the lock.

        Raises:
            BuildDiffersError: some did not.
        """
        now = replace(self.lock, videos=tuple(map(ended_video, outcomes)))
        then = (
            "nothing is published, and what was collected is kept: see `batchembed failures`, run "
            f"again with --retry where it may pass, or {_NEW_LOCK}"
        )
        self._require(differences(self.lock, now), then)

    def require_parts(self, parts: Sequence[Part]) -> None:
        """See that a dataset's parts are those of the lock. Kept rows may follow them.

        Raises:
            BuildDiffersError: they are not.
        """
        own = leading_parts(locked_parts(parts), self.lock.rows)
        then = f"nothing is published, the last record is as it was; {self._why()}; {_NEW_LOCK}"
        self._require(part_differences(self.lock.parts, own), then)

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
        StoreError: a store is away, or takes none of the credentials.
    """
    read: list[KnownFile] = []

    async def remember(file: KnownFile) -> None:
        read.append(file)

    surveyor = Surveyor(manifest, profile, known, remember)

    async def one(video: Video) -> LockedVideo:
        if video.skip is not None:
            return locked_video(video, outcome=Outcome.SKIPPED)
        return found_video(await surveyor.survey(video))

    videos = await asyncio.gather(*map(one, manifest.videos))
    return tuple(videos), tuple(read)


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


def withheld(outcomes: Sequence[VideoOutcome]) -> tuple[VideoOutcome, ...]:
    """The outcomes of a locked run that publishes nothing: what is staged only is not committed."""
    return tuple(
        replace(video, outcome=Outcome.PENDING, rows=0, reasons=(_WITHHELD,))
        if video.entry is not None and video.entry.state is State.STAGED
        else video
        for video in outcomes
    )
