"""Facts against the published limits."""

from __future__ import annotations

from dataclasses import asdict, replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from batchembed import resources
from batchembed.core.model import Facts, Parameters
from batchembed.core.problems import Reason
from batchembed.media.limits import breaches, profile

MARENGO = "Marengo-retrieval-2.7"

LEGAL = Facts(
    width=1280,
    height=720,
    aspect_ratio=16 / 9,
    rotation=0,
    duration_sec=30.0,
    size_bytes=1_000_000,
    frame_rate=25.0,
    format_name="mov,mp4,m4a,3gp,3g2,mj2",
    video_codec="h264",
    audio_codec=None,
)
WHOLE = Parameters(model_name=MARENGO, video_clip_length=6, video_embedding_scope=("clip",))


def broken(facts: Facts, name: str = MARENGO) -> tuple[Reason, ...]:
    return breaches(facts, WHOLE, None, name)


@pytest.mark.parametrize("name", resources.model_names())
def test_a_plain_video_is_legal_for_every_model(name: str) -> None:
    assert broken(LEGAL, name) == ()


@pytest.mark.parametrize("name", resources.model_names())
def test_every_profile_can_be_read(name: str) -> None:
    assert profile(name).name == name
    assert profile(name).audio_options <= set(profile(name).embedding_options)


def test_a_model_without_a_profile_is_an_error_of_the_caller() -> None:
    with pytest.raises(FileNotFoundError):
        broken(LEGAL, "no-such-model")


@pytest.mark.parametrize(
    "facts",
    [
        replace(LEGAL, duration_sec=4.0),
        replace(LEGAL, duration_sec=7200.0),
        replace(LEGAL, size_bytes=2_000_000_000),
        replace(LEGAL, width=360, height=360, aspect_ratio=1.0),
        replace(LEGAL, width=3840, height=2160),
        replace(LEGAL, width=2160, height=3840, aspect_ratio=9 / 16),
        replace(LEGAL, aspect_ratio=1.0),
        replace(LEGAL, aspect_ratio=4 / 3),
        replace(LEGAL, aspect_ratio=4 / 5),
        replace(LEGAL, aspect_ratio=5 / 4),
        replace(LEGAL, aspect_ratio=17 / 9),
        replace(LEGAL, width=854, height=480, aspect_ratio=854 / 480),
    ],
)
def test_a_value_on_its_limit_is_legal(facts: Facts) -> None:
    assert broken(facts) == ()


@pytest.mark.parametrize(
    ("facts", "code", "message"),
    [
        (
            replace(LEGAL, duration_sec=3.0),
            "video_duration_too_short",
            "duration 3.0 s is below the limit of 4 s",
        ),
        (
            replace(LEGAL, duration_sec=7200.001),
            "video_duration_too_long",
            "duration 7,200.001 s is above the limit of 7,200 s",
        ),
        (
            replace(LEGAL, size_bytes=2_000_000_001),
            "video_filesize_too_large",
            "file size 2,000,000,001 bytes is above the limit of 2,000,000,000 bytes",
        ),
        (
            replace(LEGAL, width=638, height=359),
            "video_resolution_too_low",
            "resolution 638x359: the shorter side, 359 px, is below the limit of 360 px",
        ),
        (
            replace(LEGAL, width=2160, height=3841, aspect_ratio=9 / 16),
            "video_resolution_too_high",
            "resolution 2160x3841: the longer side, 3,841 px, is above the limit of 3,840 px",
        ),
        (
            replace(LEGAL, aspect_ratio=2.35),
            "video_resolution_invalid_aspect_ratio",
            "aspect ratio 2.35 is none of 1:1, 4:3, 4:5, 5:4, 16:9, 9:16, 17:9",
        ),
    ],
)
def test_a_breach_says_the_value_and_the_limit(facts: Facts, code: str, message: str) -> None:
    [reason] = broken(facts)
    assert (reason.code, reason.message) == (code, message)
    assert reason.value in asdict(facts).values()
    assert reason.limit is not None
    assert reason.hint


def test_the_wider_model_says_its_own_range_of_shapes() -> None:
    [reason] = broken(replace(LEGAL, width=1920, height=720, aspect_ratio=2.667), "marengo3.0")
    assert reason.code == "video_resolution_invalid_aspect_ratio"
    assert reason.message == "aspect ratio 2.667 is outside 1:2.4 to 2.4:1"


def test_all_that_is_wrong_is_said_at_once() -> None:
    reasons = broken(replace(LEGAL, width=640, height=272, aspect_ratio=2.35, duration_sec=3.0))
    assert [reason.code for reason in reasons] == [
        "video_resolution_too_low",
        "video_resolution_invalid_aspect_ratio",
        "video_duration_too_short",
    ]


def test_a_window_past_the_end_is_a_breach_of_its_own_field() -> None:
    window = replace(WHOLE, video_start_offset_sec=2.0, video_end_offset_sec=31.0)
    [reason] = breaches(LEGAL, window, None, MARENGO)
    assert (reason.code, reason.field) == ("parameter_invalid", "video_end_offset_sec")


def test_only_audio_of_a_video_without_sound_is_rejected_before_it_is_paid_for() -> None:
    [reason] = breaches(LEGAL, WHOLE, ("audio",), MARENGO)
    assert (reason.code, reason.field) == ("embed_no_embeddings_found", "embedding_option")
    assert reason.value == "audio"


def test_every_option_made_of_sound_counts_as_audio() -> None:
    [reason] = breaches(LEGAL, WHOLE, ("audio", "transcription"), "marengo3.0")
    assert reason.message == "the video has no sound, and only audio, transcription is wanted of it"


@pytest.mark.parametrize("wanted", [None, ("visual-text",), ("visual-text", "audio")])
def test_a_video_without_sound_is_legal_if_its_pictures_are_wanted(
    wanted: tuple[str, ...] | None,
) -> None:
    assert breaches(LEGAL, WHOLE, wanted, MARENGO) == ()


def test_audio_alone_of_a_video_with_sound_is_legal() -> None:
    assert breaches(replace(LEGAL, audio_codec="aac"), WHOLE, ("audio",), MARENGO) == ()


#: The document's list, as numbers.
SHAPES = (1 / 1, 4 / 3, 4 / 5, 5 / 4, 16 / 9, 9 / 16, 17 / 9)


@given(
    width=st.integers(300, 4000),
    height=st.integers(300, 4000) | st.sampled_from([360, 720, 1080, 2160]),
    aspect_ratio=st.sampled_from(
        [shape * near for shape in SHAPES for near in (0.98, 0.995, 1.02)]
    ),
    duration_sec=st.sampled_from([0.001, 3.999, 4.0, 7200.0, 7200.001]),
    size_bytes=st.sampled_from([1, 2_000_000_000, 2_000_000_001]),
)
def test_what_passes_is_what_the_document_says_in_words(
    width: int, height: int, aspect_ratio: float, duration_sec: float, size_bytes: int
) -> None:
    legal = (
        min(width, height) >= 360
        and max(width, height) <= 3840
        and min(width, height) <= 2160
        and any(abs(aspect_ratio / shape - 1) <= 0.01 for shape in SHAPES)
        and 4 <= duration_sec <= 7200
        and size_bytes <= 2_000_000_000
    )
    found = replace(
        LEGAL,
        width=width,
        height=height,
        aspect_ratio=aspect_ratio,
        duration_sec=duration_sec,
        size_bytes=size_bytes,
    )
    assert (broken(found) == ()) is legal


def test_a_video_is_judged_once_however_often_a_run_asks() -> None:
    square = replace(LEGAL, width=359, height=359, aspect_ratio=1.0)

    first, again = broken(square), broken(replace(square))

    assert first
    assert all(one is other for one, other in zip(first, again, strict=True))
