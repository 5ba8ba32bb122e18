"""The one call that embeds a video, and its values: the seam for scale.

`embed` runs in a worker today and could run anywhere: what goes in and comes out are plain values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from batchembed.core.problems import Reason
from batchembed.core.segments import Span, cut, window
from batchembed.engine.encoders import Encoder
from batchembed.engine.video.decode import Cutting, Finished, Opened, UndecodableError, decode
from batchembed.engine.video.frames import Sampling, SegmentFrames
from batchembed.engine.video.sound import SegmentSound
from batchembed.media.unreadable import UnreadableVideoError

VISUAL, AUDIO = "visual-text", "audio"
CLIP, VIDEO = "clip", "video"
#: A forged header can claim years, and the list of their segments would fill the memory.
_LONGEST_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedPlan:
    """What is asked of one video. Both offsets are set, or neither."""

    clip_length_sec: float
    scopes: tuple[str, ...]
    start_offset_sec: float | None = None
    end_offset_sec: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSegment:
    """What one vector describes."""

    start_ms: int
    end_ms: int
    embedding_option: str
    embedding_scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """An embedded video: `vectors` is float32 [segments, dimension], each row of length one.

    Ordered by option, visual-text first; then clips in time; then the row of scope `video`.
    """

    duration_sec: float
    segments: tuple[EmbeddedSegment, ...]
    vectors: NDArray[np.float32]
    warnings: tuple[Reason, ...]


class EmbedFailed(Exception):  # noqa: N818  a video's failure is a result that the engine expects
    """The video can't be embedded, as `reason` says. It fails that video alone."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.message)


Row = tuple[EmbeddedSegment, NDArray[np.float32]]


class _Visual:
    """Pools features: summed in float64 in the order of frames, over each clip and over all."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._clips: list[tuple[Span, NDArray[np.float32]]] = []
        self._total: NDArray[np.float64] | None = None
        self._frames = 0

    def take(self, segment: SegmentFrames) -> None:
        features = self._encoder.frame_features(segment.frames).astype(np.float64)
        # Row after row: a sum over an axis may be grouped differently by another NumPy.
        pooled = features[0].copy()
        for row in features[1:]:
            pooled += row
        self._clips.append((segment.span, self._encoder.visual_vector(pooled / len(features))))
        self._total = pooled if self._total is None else self._total + pooled
        self._frames += len(features)

    def rows(self, whole: Span, scopes: Sequence[str]) -> Iterable[Row]:
        if self._total is None:
            return
        if CLIP in scopes:
            yield from (_row(span, VISUAL, CLIP, vector) for span, vector in self._clips)
        if VIDEO in scopes:
            vector = self._encoder.visual_vector(self._total / self._frames)
            yield _row(whole, VISUAL, VIDEO, vector)


class _Audio:
    """Keeps the vectors of sound; the whole is their mean, weighted by length."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._clips: list[tuple[Span, NDArray[np.float32]]] = []

    def take(self, segment: SegmentSound) -> None:
        self._clips.append((segment.span, self._encoder.audio_vector(segment.samples)))

    def rows(self, whole: Span, scopes: Sequence[str]) -> Iterable[Row]:
        if CLIP in scopes:
            yield from (_row(span, AUDIO, CLIP, vector) for span, vector in self._clips)
        if VIDEO in scopes and self._clips:
            yield _row(whole, AUDIO, VIDEO, _weighted_mean(self._clips))


def _weighted_mean(clips: Sequence[tuple[Span, NDArray[np.float32]]]) -> NDArray[np.float32]:
    total = np.zeros(clips[0][1].shape, np.float64)
    for span, vector in clips:
        total += vector.astype(np.float64) * (span.end_ms - span.start_ms)
    length = math.sqrt(math.fsum((total * total).tolist()))
    return (total / length).astype(np.float32)


def _row(span: Span, option: str, scope: str, vector: NDArray[np.float32]) -> Row:
    segment = EmbeddedSegment(
        start_ms=span.start_ms, end_ms=span.end_ms, embedding_option=option, embedding_scope=scope
    )
    return segment, vector


def embed(file: BinaryIO, plan: EmbedPlan, encoder: Encoder) -> Embedded:
    """Embed the video in an open binary file, positioned at its start.

    A video without sound has no segments of sound.

    Raises:
        EmbedFailed: it can't be read, or decoded as far as the plan asks, or the window is empty.
    """
    visual, audio = _Visual(encoder), _Audio(encoder)
    opened: Opened | None = None
    warnings: tuple[Reason, ...] = ()
    sampling = Sampling(frames_per_second=encoder.frames_per_second, frame_size=encoder.frame_size)
    try:
        for part in decode(file, lambda duration: _cutting(plan, duration), sampling):
            match part:
                case Opened():
                    opened = part
                case SegmentFrames():
                    visual.take(part)
                case SegmentSound():
                    audio.take(part)
                case Finished():
                    warnings = part.warnings
    except (UnreadableVideoError, UndecodableError) as error:
        raise EmbedFailed(error.reason) from error
    assert opened is not None  # noqa: S101  narrows the type: it comes first
    whole = opened.cutting.whole
    rows = [*visual.rows(whole, plan.scopes), *audio.rows(whole, plan.scopes)]
    return Embedded(
        duration_sec=opened.duration_sec,
        segments=tuple(segment for segment, _ in rows),
        vectors=np.stack([vector for _, vector in rows]),
        warnings=warnings,
    )


def _cutting(plan: EmbedPlan, duration_sec: float) -> Cutting:
    """The plan's window and clips in a video of this duration."""
    whole = window(duration_sec, plan.start_offset_sec, plan.end_offset_sec)
    if whole.end_ms - whole.start_ms > _LONGEST_MS:
        raise EmbedFailed(
            Reason(
                code="video_duration_too_long",
                message=f"{(whole.end_ms - whole.start_ms) / 1000:,} s are more than the "
                f"{_LONGEST_MS // 1000:,} s that are embedded at most",
                value=duration_sec,
                limit=_LONGEST_MS / 1000,
                hint="embed it in windows; if it is not so long, its header is wrong: remux it",
            )
        )
    try:
        return Cutting(whole=whole, clips=cut(whole, plan.clip_length_sec))
    except ValueError as error:
        raise EmbedFailed(
            Reason(
                code="parameter_invalid",
                message=f"the window {whole.start_offset_sec}..{whole.end_offset_sec} s of a video "
                f"of {duration_sec} s can't be cut into clips of {plan.clip_length_sec} s",
                field="video_start_offset_sec",
                hint="correct the offsets",
            )
        ) from error
