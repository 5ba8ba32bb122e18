"""Builders of build locks for tests: every field has a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchembed.core.build_lock import (
    FORMAT,
    BuildLock,
    LockedEngine,
    LockedManifest,
    LockedParameters,
    LockedPart,
    LockedVideo,
)
from batchembed.core.model import Facts, JobKey, VideoId
from batchembed.core.outcome import Outcome
from batchembed.core.problems import Scalar

ENGINE = LockedEngine(
    kind="local",
    base_url=None,
    processor="x86_64 avx2",
    versions={"pyav": "18.1.0", "pyarrow": "25.0.1"},
)
FACTS = Facts(
    width=640,
    height=360,
    aspect_ratio=16 / 9,
    rotation=0,
    duration_sec=7.0,
    size_bytes=75_360,
    frame_rate=5.0,
    format_name="mp4",
    video_codec="h264",
    audio_codec=None,
)
PARAMETERS = LockedParameters(
    video_clip_length=6.0,
    video_embedding_scope=("clip",),
    video_start_offset_sec=None,
    video_end_offset_sec=None,
    embedding_option=None,
)


def a_locked_video(
    name: str, *, metadata: Mapping[str, Scalar] | None = None, **more: Any
) -> LockedVideo:
    """A committed video of two rows; `more` are fields that are otherwise."""
    plain: dict[str, Any] = {
        "source_sha256": "1" * 64,
        "weak_identity": None,
        "facts": FACTS,
        "parameters": PARAMETERS,
        "job_key": JobKey("2" * 64),
        "outcome": Outcome.COMMITTED,
        "rows": 2,
        "code": None,
    }
    return LockedVideo(
        video_id=VideoId(name),
        source=f"v/{name}.mp4",
        metadata=metadata or {},
        **{**plain, **more},
    )


def a_part(name: str, *, rows: int = 2, folder: str = "model_name=local-v1") -> LockedPart:
    """A part whose sha256 begins with its name."""
    return LockedPart(
        path=f"{folder}/part-{name}.parquet", rows=rows, bytes=6000, sha256=name.ljust(64, "0")
    )


def a_lock(*videos: LockedVideo, parts: tuple[LockedPart, ...] = (), **more: Any) -> BuildLock:
    """A build of the embedded engine."""
    plain: dict[str, Any] = {
        "manifest": LockedManifest(name="m", sha256="3" * 64),
        "model_name": "local-v1",
        "engine": ENGINE,
        "dimension": 1024,
        "partition_by": ("model_name",),
    }
    return BuildLock(format=FORMAT, videos=videos, parts=parts, **{**plain, **more})
