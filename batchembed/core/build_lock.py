"""The lock of a build: what went into a dataset, and what came of it.

A lock is of the build that a manifest gives from nothing. What only steers a run (where the output
is, concurrency, quota, budget, waits) is not in it, nor are rows that `on_removed: keep` keeps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from batchembed.core.keys import Json, digest, unsigned_url
from batchembed.core.model import (
    Content,
    Facts,
    JobKey,
    Manifest,
    Parameters,
    UrlSource,
    Video,
    VideoId,
)
from batchembed.core.outcome import Outcome, VideoOutcome
from batchembed.core.problems import Scalar

#: Of the lock file.
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedManifest:
    """A manifest's name, and the digest of what it asks for."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedEngine:
    """Who computed, and with what; None where that is not known or does not count."""

    kind: str
    base_url: str | None
    processor: str | None
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedParameters:
    """What is asked of the engine for one video, and which options of it are published."""

    video_clip_length: float
    video_embedding_scope: tuple[str, ...]
    video_start_offset_sec: float | None
    video_end_offset_sec: float | None
    embedding_option: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedVideo:
    """One video of the manifest.

    `source_sha256` is of the file's bytes; a source whose bytes are not hashed has a
    `weak_identity` instead, and one that is rejected or skipped neither. `outcome` is None as long
    as it is not known: the video is still to be sent.
    """

    video_id: VideoId
    source: str  #: as shown: never with a signature
    source_sha256: str | None
    weak_identity: str | None
    facts: Facts | None
    parameters: LockedParameters
    metadata: Mapping[str, Scalar]
    job_key: JobKey | None
    outcome: Outcome | None
    rows: int = 0
    code: str | None = None  #: of the first reason of what was rejected or failed


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPart:
    """One Parquet file. `path` is relative to the dataset, with `/`."""

    path: str
    rows: int
    bytes: int
    sha256: str

    def __str__(self) -> str:
        name = self.path.rpartition("/")[2]
        return f"{name} ({self.rows:,} rows, {self.bytes:,} bytes, sha256 {self.sha256})"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildLock:
    """A build, as the lock file has it. Videos are in the manifest's order, parts in the record's."""

    format: int
    manifest: LockedManifest
    model_name: str
    engine: LockedEngine
    dimension: int | None
    partition_by: tuple[str, ...]
    videos: tuple[LockedVideo, ...]
    parts: tuple[LockedPart, ...]

    @property
    def rows(self) -> int:
        """Of all its videos."""
        return sum(video.rows for video in self.videos)


def manifest_digest(manifest: Manifest) -> str:
    """sha256 of what a manifest asks for after defaults and overrides, without comments and layout.

    Whatever changes the rows of a build from nothing changes it.
    """
    return digest(
        {
            "engine": {"kind": manifest.engine.kind, "base_url": manifest.engine.base_url},
            "model_name": manifest.model_name,
            "profile": manifest.profile,
            "on_limit_violation": manifest.on_limit_violation,
            "partition_by": manifest.output.partition_by,
            "videos": [_asked(video) for video in manifest.videos],
        }
    )


def _asked(video: Video) -> Mapping[str, Json]:
    source = video.source
    return {
        "video_id": video.video_id,
        "source": unsigned_url(source.url) if isinstance(source, UrlSource) else source.shown,
        "parameters": asdict(video.parameters),
        "embedding_option": video.embedding_option,
        # As text: a column of doubles is another than one of integers, and 1.0 is 1 in a digest.
        "metadata": {key: json.dumps(value) for key, value in video.metadata.items()},
        "skip": video.skip is not None,
    }


def locked_video(
    video: Video,
    *,
    content: Content | None = None,
    facts: Facts | None = None,
    job_key: JobKey | None = None,
    outcome: Outcome | None = None,
    code: str | None = None,
) -> LockedVideo:
    """A video as a lock has it, from what the manifest says and its source told."""
    sha256 = None if content is None else content.source_sha256
    weak = content is not None and sha256 is None
    return LockedVideo(
        video_id=video.video_id,
        source=video.source.shown,
        source_sha256=sha256,
        weak_identity=f"{content.kind}:{content.digest}" if content is not None and weak else None,
        facts=facts,
        parameters=_parameters(video.parameters, video.embedding_option),
        metadata=video.metadata,
        job_key=job_key,
        outcome=outcome,
        code=code,
    )


def _parameters(asked: Parameters, options: tuple[str, ...] | None) -> LockedParameters:
    return LockedParameters(
        video_clip_length=float(asked.video_clip_length),
        video_embedding_scope=asked.video_embedding_scope,
        video_start_offset_sec=asked.video_start_offset_sec,
        video_end_offset_sec=asked.video_end_offset_sec,
        embedding_option=options,
    )


def ended_video(ended: VideoOutcome) -> LockedVideo:
    """A video at the end of a run. One whose work is left has no outcome yet."""
    left_out = ended.outcome in {Outcome.REJECTED, Outcome.FAILED} and ended.reasons
    video = locked_video(
        ended.video,
        content=ended.content,
        facts=ended.facts,
        job_key=ended.job_key,
        outcome=None if ended.outcome is Outcome.PENDING else ended.outcome,
        code=ended.reasons[0].code if left_out else None,
    )
    return replace(video, rows=ended.rows)


def leading_parts(parts: Sequence[LockedPart], rows: int) -> tuple[LockedPart, ...]:
    """The first parts that hold so many rows: those of a manifest's own videos.

    Kept rows stand in groups of their own after these.
    """
    taken = 0
    for count, part in enumerate(parts):
        if taken >= rows:
            return tuple(parts[:count])
        taken += part.rows
    return tuple(parts)
