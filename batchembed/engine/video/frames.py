"""The frames to embed of each segment, chosen and scaled from a stream of decoded frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av.video.frame
import av.video.stream
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from batchembed.core.segments import Span
from batchembed.media.container import display_aspect, quarter_turns

_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFrames:
    """The sampled frames of one segment: upright RGB, uint8 [n, height, width, 3]."""

    span: Span
    frames: Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How frames are sampled: how many a second, and the size for a display aspect ratio."""

    frames_per_second: float
    frame_size: Callable[[float], tuple[int, int]]


def sample_times(span: Span, frames_per_second: float) -> tuple[Fraction, ...]:
    """Seconds at which a segment is sampled: the middles of equal parts, two parts at least."""
    length = Fraction(span.end_ms - span.start_ms, 1000)
    count = max(2, math.ceil(length * Fraction(frames_per_second)))
    start = Fraction(span.start_ms, 1000)
    return tuple(start + length * Fraction(2 * i + 1, 2 * count) for i in range(count))


class Frames:
    """Takes a stream's frames, in order, and gives each segment's samples when it has them all.

    A sample is the frame on screen at its time: the last one that began by then.
    """

    def __init__(
        self, spans: Sequence[Span], sampling: Sampling, stream: av.video.stream.VideoStream
    ) -> None:
        self._sampling = sampling
        self._stream = stream
        self._reformatter = VideoReformatter()  # kept: setting up the scaling is what costs
        self._size: tuple[int, int] | None = None
        self._on_screen: av.video.frame.VideoFrame | None = None
        self._image: Image | None = None  # of the frame on screen, once a sample asked for it
        self._segments = iter(
            [(span, sample_times(span, sampling.frames_per_second)) for span in spans]
        )
        self._segment = next(self._segments, None)
        self._samples: list[Image] = []

    def take(self, frame: av.video.frame.VideoFrame, seconds: Fraction) -> Iterator[SegmentFrames]:
        """The segments that are complete, now that this frame appears at `seconds`."""
        if self._on_screen is None:
            self._on_screen = frame  # before its first frame a video shows that one
        yield from self._sample(until=seconds)
        self._on_screen, self._image = frame, None

    def finish(self) -> Iterator[SegmentFrames]:
        """The segments that are left: the last frame stays on screen."""
        if self._on_screen is not None:
            yield from self._sample(until=None)

    def _sample(self, until: Fraction | None) -> Iterator[SegmentFrames]:
        while self._segment is not None:
            span, times = self._segment
            if until is not None and times[len(self._samples)] >= until:
                return
            self._samples.append(self._shown())
            if len(self._samples) == len(times):
                yield SegmentFrames(span=span, frames=np.stack(self._samples))
                self._segment, self._samples = next(self._segments, None), []

    def _shown(self) -> Image:
        assert self._on_screen is not None  # noqa: S101  narrows the type: a frame was taken
        if self._image is None:
            self._image = self._scale(self._on_screen)
        return self._image

    def _scale(self, frame: av.video.frame.VideoFrame) -> Image:
        turns = quarter_turns(frame)
        if self._size is None:
            self._size = self._sampling.frame_size(float(display_aspect(frame, self._stream)))
        width, height = self._size if turns % 2 == 0 else self._size[::-1]
        scaled = self._reformatter.reformat(
            frame, width, height, format="rgb24", interpolation=_SCALING, threads=1
        )
        return np.rot90(scaled.to_ndarray(), turns)
