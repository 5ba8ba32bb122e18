"""The documented cutting rule."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchembed.core.segments import SHORTEST_SEGMENT_MS, Span, cut, window


def test_a_last_clip_shorter_than_two_seconds_is_dropped() -> None:
    assert cut(window(30.16, None, None), 6)[-1] == Span(24_000, 30_000)


def test_a_last_clip_of_two_seconds_or_more_is_kept() -> None:
    spans = cut(window(39.85, None, None), 6)

    assert len(spans) == 7
    assert spans[-1] == Span(36_000, 39_850)


def test_a_video_shorter_than_the_clip_length_is_one_segment() -> None:
    assert cut(window(5.312, None, None), 6) == (Span(0, 5_312),)


def test_offsets_are_seconds_of_the_source() -> None:
    assert cut(window(60, 2.5, 14.5), 6) == (Span(2_500, 8_500), Span(8_500, 14_500))


@pytest.mark.parametrize("whole", [Span(5, 5), Span(6, 5)], ids=["empty", "backwards"])
def test_an_empty_window_is_refused(whole: Span) -> None:
    with pytest.raises(ValueError, match="can't cut"):
        cut(whole, 6)


@given(
    start_ms=st.integers(0, 10_000_000),
    length_ms=st.integers(1, 7_200_000),
    clip_ms=st.integers(2_000, 10_000),
)
def test_clips_tile_the_window_up_to_a_dropped_tail(
    start_ms: int, length_ms: int, clip_ms: int
) -> None:
    whole = Span(start_ms, start_ms + length_ms)

    spans = cut(whole, clip_ms / 1000)

    assert spans[0].start_ms == whole.start_ms
    assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(spans))
    assert all(span.end_ms - span.start_ms == clip_ms for span in spans[:-1])
    assert 0 <= whole.end_ms - spans[-1].end_ms < SHORTEST_SEGMENT_MS
