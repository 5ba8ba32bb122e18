"""How a window of a video is cut into segments: the documented rule, in integer milliseconds.

A float rule is wrong in 0.6 % of a grid of 0.1 s; hence whole milliseconds, and seconds only at
the edges.
"""

from __future__ import annotations

from typing import NamedTuple

#: "The platform automatically truncates video segments shorter than 2 seconds" (the document).
SHORTEST_SEGMENT_MS = 2_000


class Span(NamedTuple):
    """`[start_ms, end_ms)` of the source."""

    start_ms: int
    end_ms: int

    @property
    def start_offset_sec(self) -> float:
        return self.start_ms / 1000

    @property
    def end_offset_sec(self) -> float:
        return self.end_ms / 1000


def to_ms(seconds: float) -> int:
    """Seconds as whole milliseconds."""
    return round(seconds * 1000)


def window(
    duration_sec: float, start_offset_sec: float | None, end_offset_sec: float | None
) -> Span:
    """The part of the video that is embedded: between the offsets, or all of it."""
    start = 0 if start_offset_sec is None else to_ms(start_offset_sec)
    end = to_ms(duration_sec) if end_offset_sec is None else to_ms(end_offset_sec)
    return Span(start, end)


def cut(whole: Span, clip_length_sec: float) -> tuple[Span, ...]:
    """Cut `whole` into clips; a last one shorter than 2 s is dropped, unless it is the only one.

    Raises:
        ValueError: an empty window, or a clip length that is not positive.
    """
    clip = to_ms(clip_length_sec)
    if clip <= 0 or whole.end_ms <= whole.start_ms:
        msg = f"can't cut {whole} into clips of {clip_length_sec} s"
        raise ValueError(msg)
    spans = [
        Span(start, min(start + clip, whole.end_ms))
        for start in range(whole.start_ms, whole.end_ms, clip)
    ]
    last = spans[-1]
    if len(spans) > 1 and last.end_ms - last.start_ms < SHORTEST_SEGMENT_MS:
        spans.pop()
    return tuple(spans)
