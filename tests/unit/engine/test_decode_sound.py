from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import av.audio.frame
import numpy as np

from batchembed.core.segments import Span
from batchembed.engine.video.sound import SAMPLE_RATE, SegmentSound, Sound

SECONDS = (Span(0, 1_000), Span(1_000, 2_000), Span(2_000, 3_000))


def _frame(
    start: float, seconds: float, value: float = 0.5, rate: int = SAMPLE_RATE
) -> av.audio.frame.AudioFrame:
    samples = np.full((1, round(seconds * rate)), value, np.float32)
    frame = av.audio.frame.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
    frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
    frame.pts = round(start * rate)
    return frame


def _segments(
    frames: Iterable[av.audio.frame.AudioFrame], zero: Fraction = Fraction(0)
) -> list[SegmentSound]:
    sound = Sound(SECONDS, zero)
    given = [segment for frame in frames for segment in sound.take(frame)]
    given.extend(sound.finish())
    assert sound.complete
    return given


def test_sound_is_cut_where_segments_are() -> None:
    frames = [_frame(at / 10, 0.1, value=at / 100) for at in range(30)]
    segments = _segments(frames)
    assert [segment.span for segment in segments] == list(SECONDS)
    assert [len(segment.samples) for segment in segments] == [SAMPLE_RATE] * 3
    np.testing.assert_allclose([s.samples.max() for s in segments], [0.09, 0.19, 0.29], rtol=1e-6)


def test_a_track_that_ends_early_is_followed_by_silence() -> None:
    segments = _segments([_frame(0, 1.5)])
    assert [float(segment.samples.mean()) for segment in segments] == [0.5, 0.25, 0.0]


def test_a_track_that_begins_late_is_preceded_by_silence() -> None:
    segments = _segments([_frame(1.25, 1.75)])
    assert [float(segment.samples.mean()) for segment in segments] == [0.0, 0.375, 0.5]


def test_a_hole_in_a_track_is_silent_and_what_follows_keeps_its_time() -> None:
    segments = _segments([_frame(0, 0.5), _frame(2.5, 0.5)])
    assert [float(segment.samples.mean()) for segment in segments] == [0.25, 0.0, 0.25]
    assert segments[2].samples[: SAMPLE_RATE // 2].max() == 0.0


def test_small_gaps_between_frames_are_closed() -> None:
    segments = _segments([_frame(at / 10 + 0.001 * (at % 2), 0.1) for at in range(30)])
    assert [float(segment.samples.min()) for segment in segments] == [0.5, 0.5, 0.5]


def test_times_count_from_the_start_of_the_video() -> None:
    segments = _segments([_frame(11, 3)], zero=Fraction(11))
    assert [float(segment.samples.mean()) for segment in segments] == [0.5, 0.5, 0.5]


def test_a_track_may_change_its_sampling_rate() -> None:
    segments = _segments([_frame(0, 1.5), _frame(1.5, 1.5, rate=48_000)])
    assert all(abs(float(segment.samples.mean()) - 0.5) < 0.01 for segment in segments)


def test_a_video_without_sound_has_no_segments_of_sound() -> None:
    sound = Sound((), Fraction(0))
    assert sound.complete
    assert list(sound.finish()) == []
