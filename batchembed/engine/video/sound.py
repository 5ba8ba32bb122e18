"""The sound of each segment, cut from a stream of audio frames: 16 kHz, mono, -1..1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av.audio.frame
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from batchembed.core.segments import Span

SAMPLE_RATE = 16_000
_PER_MS = SAMPLE_RATE // 1000
#: Frames whose times are further than this from where they should be are put where they say.
_TOLERATED_DRIFT = Fraction(1, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSound:
    """The sound of one segment: float32 [samples], as long as the segment. Holes are silent."""

    span: Span
    samples: NDArray[np.float32]


class Sound:
    """Takes the frames of one audio stream and gives each segment's sound when it is complete.

    Segments are `spans`, in order and without overlap; `zero` is the stream time, in seconds, at
    which the video starts.
    """

    def __init__(self, spans: Sequence[Span], zero: Fraction) -> None:
        self._spans = iter(spans)
        self._zero = zero
        self._span: Span | None = None
        self._samples = np.zeros(0, np.float32)
        self._next_span()
        self._resampler: AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None
        self._position = 0  # of the next sample, counted from the video's start
        self._expected = Fraction(0)  # seconds at which the next frame should begin

    @property
    def complete(self) -> bool:
        """Whether every segment has been given."""
        return self._span is None

    def take(self, frame: av.audio.frame.AudioFrame) -> Iterator[SegmentSound]:
        """The segments that this frame completes."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        at = self._expected
        if frame.pts is not None and frame.time_base is not None:
            at = frame.pts * frame.time_base - self._zero
        if kind != self._kind or abs(at - self._expected) > _TOLERATED_DRIFT:
            yield from self._drain()
            self._resampler = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            self._kind = kind
            self._position, self._expected = round(at * SAMPLE_RATE), at
        self._expected += Fraction(frame.samples, frame.sample_rate)
        yield from self._resample(frame)

    def finish(self) -> Iterator[SegmentSound]:
        """The segments that are left, silent where the stream ended before them."""
        yield from self._drain()
        while self._span is not None:
            yield self._give()

    def _drain(self) -> Iterator[SegmentSound]:
        if self._resampler is not None:
            yield from self._resample(None)
            self._resampler = None

    def _resample(self, frame: av.audio.frame.AudioFrame | None) -> Iterator[SegmentSound]:
        if self._resampler is None:
            return
        for resampled in self._resampler.resample(frame):
            yield from self._place(resampled.to_ndarray()[0])

    def _place(self, samples: NDArray[np.float32]) -> Iterator[SegmentSound]:
        """Write samples where they belong, and give each segment that they reach the end of."""
        start, end = self._position, self._position + len(samples)
        self._position = end
        while self._span is not None:
            first, last = self._span.start_ms * _PER_MS, self._span.end_ms * _PER_MS
            low, high = max(start, first), min(end, last)
            if low < high:
                self._samples[low - first : high - first] = samples[low - start : high - start]
            if end < last:
                return
            yield self._give()

    def _give(self) -> SegmentSound:
        assert self._span is not None  # noqa: S101  narrows the type: callers have looked
        segment = SegmentSound(span=self._span, samples=self._samples)
        self._next_span()
        return segment

    def _next_span(self) -> None:
        self._span = next(self._spans, None)
        if self._span is not None:
            length = (self._span.end_ms - self._span.start_ms) * _PER_MS
            self._samples = np.zeros(length, np.float32)
