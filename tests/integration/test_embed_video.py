"""Real files through decoding and pooling, with a model small enough to reckon with."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from batchembed.engine.encoders.local_v1.encoder import LocalV1
from batchembed.engine.video.embed import Embedded, EmbedFailed, EmbedPlan, embed
from tests.support.encoders import FakeEncoder
from tests.support.media import damage, make_video, truncate

SIX = EmbedPlan(clip_length_sec=6, scopes=("clip", "video"))
TWO = EmbedPlan(clip_length_sec=2, scopes=("clip",))


def _embed(path: Path, plan: EmbedPlan = SIX) -> Embedded:
    with path.open("rb") as file:
        return embed(file, plan, FakeEncoder())


def _rows(result: Embedded) -> list[tuple[str, str, int, int]]:
    return [
        (row.embedding_option, row.embedding_scope, row.start_ms, row.end_ms)
        for row in result.segments
    ]


class _Seen(FakeEncoder):
    """Keeps the frames that it was shown."""

    def __init__(self) -> None:
        self.frames: list[NDArray[np.uint8]] = []

    def frame_size(self, aspect_ratio: float) -> tuple[int, int]:
        return (96, 96) if aspect_ratio == 1 else super().frame_size(aspect_ratio)

    def frame_features(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.frames.extend(frames)
        return super().frame_features(frames)


def _frames(path: Path, plan: EmbedPlan = TWO) -> NDArray[np.uint8]:
    seen = _Seen()
    with path.open("rb") as file:
        embed(file, plan, seen)
    return np.stack(seen.frames)


def test_rows_come_by_option_then_clips_in_time_then_the_whole_window(tmp_path: Path) -> None:
    result = _embed(make_video(tmp_path / "a.mp4", seconds=14.5, audio=True))
    assert _rows(result) == [
        ("visual-text", "clip", 0, 6_000),
        ("visual-text", "clip", 6_000, 12_000),
        ("visual-text", "clip", 12_000, 14_500),
        ("visual-text", "video", 0, 14_500),
        ("audio", "clip", 0, 6_000),
        ("audio", "clip", 6_000, 12_000),
        ("audio", "clip", 12_000, 14_500),
        ("audio", "video", 0, 14_500),
    ]
    assert result.vectors.shape == (8, 4)
    assert result.warnings == ()


def test_a_last_segment_shorter_than_two_seconds_is_dropped(tmp_path: Path) -> None:
    result = _embed(make_video(tmp_path / "a.mp4", seconds=7.9))
    assert _rows(result) == [
        ("visual-text", "clip", 0, 6_000),
        ("visual-text", "video", 0, 7_900),
    ]


def test_a_video_without_sound_has_no_audio_rows(tmp_path: Path) -> None:
    result = _embed(make_video(tmp_path / "a.mp4", seconds=4))
    assert {row.embedding_option for row in result.segments} == {"visual-text"}


def test_silence_is_sound(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=4, audio="silence")
    with path.open("rb") as file:
        result = embed(file, SIX, LocalV1())
    assert (result.vectors[-1] == np.float32(1 / 32)).all()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".webm"])
def test_offsets_choose_the_same_frames_as_the_whole_video_has_there(
    tmp_path: Path, suffix: str
) -> None:
    path = make_video(tmp_path / f"a{suffix}", seconds=8.2, audio=True)
    part = EmbedPlan(clip_length_sec=2, scopes=("clip",), start_offset_sec=4, end_offset_sec=8)
    np.testing.assert_array_equal(_frames(path, part), _frames(path)[8:16])
    assert [row[2:] for row in _rows(_embed(path, part))] == [(4_000, 6_000), (6_000, 8_000)] * 2


def test_the_frame_on_screen_is_the_last_that_began(tmp_path: Path) -> None:
    """At one frame a second, both samples of a half-second grid show the same frame."""
    frames = _frames(make_video(tmp_path / "a.mp4", seconds=4, fps=1))
    assert len(frames) == 8
    for first in range(0, 8, 2):
        np.testing.assert_array_equal(frames[first], frames[first + 1])
        assert (frames[first] != frames[first - 1]).any()


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path: Path, degrees: int) -> None:
    stored, turned = (
        _frames(make_video(tmp_path / name, width=96, height=96, seconds=2, rotation=rotation))
        for name, rotation in (("a.mp4", 0), ("b.mp4", degrees))
    )
    np.testing.assert_array_equal(turned, np.rot90(stored, degrees // 90, axes=(1, 2)))


def test_the_display_aspect_chooses_the_size_of_frames(tmp_path: Path) -> None:
    tall = make_video(tmp_path / "a.mp4", width=360, height=640, seconds=2)
    squeezed = make_video(tmp_path / "b.mp4", width=360, height=640, sar=(4, 1), seconds=2)
    lying = make_video(tmp_path / "c.mp4", width=640, height=360, rotation=90, seconds=2)
    assert [_frames(path).shape[1:3] for path in (tall, squeezed, lying)] == [
        (64, 32),
        (32, 64),
        (64, 32),
    ]


def test_the_whole_video_is_the_mean_of_all_its_frames(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=9)
    encoder = FakeEncoder()
    features = encoder.frame_features(_frames(path, SIX)).astype(np.float64)
    expected = encoder.visual_vector(features.mean(axis=0))
    np.testing.assert_allclose(_embed(path).vectors[-1], expected, atol=1e-6)


def test_the_sound_of_the_whole_is_weighted_by_the_clips_lengths(tmp_path: Path) -> None:
    result = _embed(make_video(tmp_path / "a.mp4", seconds=8.5, audio=True))
    first, second, whole = result.vectors[-3:].astype(np.float64)
    mean = 6_000 * first + 2_500 * second
    np.testing.assert_allclose(whole, mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_that_was_cut_off_fails_with_how_much_was_decoded(
    tmp_path: Path, suffix: str
) -> None:
    path = truncate(make_video(tmp_path / f"a{suffix}", seconds=10), 0.5)
    with pytest.raises(EmbedFailed, match=r"decoded up to \d\.\d\d s of 10\.") as failure:
        _embed(path)
    assert failure.value.reason.code in {"video_truncated", "video_damaged"}
    assert 2 < float(failure.value.reason.value or 0) < 9


def test_the_part_before_the_damage_can_still_be_embedded(tmp_path: Path) -> None:
    path = truncate(make_video(tmp_path / "a.mkv", seconds=10), 0.5)
    part = EmbedPlan(clip_length_sec=2, scopes=("clip",), start_offset_sec=0, end_offset_sec=2)
    assert len(_embed(path, part).segments) == 1


def test_noise_in_the_middle_fails_the_video(tmp_path: Path) -> None:
    path = damage(make_video(tmp_path / "a.mp4", seconds=10), start=0.4, stop=0.6)
    with pytest.raises(EmbedFailed, match="decoded up to") as failure:
        _embed(path)
    assert failure.value.reason.code == "video_damaged"


def test_something_else_than_a_video_fails_as_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("#EXTM3U\nhttp://127.0.0.1/a.ts\n", encoding="utf-8")
    with pytest.raises(EmbedFailed) as failure:
        _embed(path)
    assert failure.value.reason.code == "video_file_broken"


def test_a_window_that_the_video_does_not_have_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=4)
    late = EmbedPlan(clip_length_sec=2, scopes=("clip",), start_offset_sec=8, end_offset_sec=8)
    with pytest.raises(EmbedFailed, match="can't be cut") as failure:
        _embed(path, late)
    assert failure.value.reason.code == "parameter_invalid"


def test_a_header_that_claims_years_is_refused_before_they_are_cut(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", seconds=3.0)
    data = path.read_bytes()
    duration = data.index(b"\x44\x89\x88") + 3  # Matroska's Duration, a float of 8 bytes
    path.write_bytes(data[:duration] + struct.pack(">d", 1e11) + data[duration + 8 :])

    with pytest.raises(EmbedFailed) as caught:
        _embed(path, TWO)

    assert caught.value.reason.code == "video_duration_too_long"


def test_features_do_not_depend_on_the_batch() -> None:
    random = np.random.Generator(np.random.PCG64(5))
    frames = random.integers(0, 256, (6, 160, 288, 3), np.uint8)
    encoder = LocalV1()
    together = encoder.frame_features(frames)
    alone = [encoder.frame_features(frames[i : i + 1]) for i in range(6)]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    np.testing.assert_array_equal(together, LocalV1().frame_features(frames))


def test_frames_give_the_numbers_that_local_v1_names() -> None:
    """Close, not equal: the last bits belong to the kind of CPU."""
    at = np.arange(2 * 96 * 96 * 3, dtype=np.int64)
    frames = ((at * at // 96 + at * 7) % 251).astype(np.uint8).reshape(2, 96, 96, 3)
    encoder = LocalV1()
    features = encoder.frame_features(frames).astype(np.float64)
    vector = encoder.visual_vector((features[0] + features[1]) / 2)
    np.testing.assert_allclose(vector[::128], FRAMES, atol=1e-5)


FRAMES = [
    -0.0081111,
    0.0316151,
    -0.0155243,
    0.0164537,
    -0.0420808,
    0.0042086,
    -0.0167606,
    0.0191431,
]
