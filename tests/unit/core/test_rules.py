"""Rules between fields, and between fields and facts."""

from __future__ import annotations

import pytest

from batchembed.core.model import Facts, Parameters
from batchembed.core.rules import options_absent, window_breaches, window_breaches_in


def asking(start: float | None, end: float | None, clip: float = 6) -> Parameters:
    return Parameters(
        model_name="local-v1",
        video_clip_length=clip,
        video_embedding_scope=("clip",),
        video_start_offset_sec=start,
        video_end_offset_sec=end,
    )


def facts(duration_sec: float, audio_codec: str | None = None) -> Facts:
    return Facts(
        width=640,
        height=360,
        aspect_ratio=16 / 9,
        rotation=0,
        duration_sec=duration_sec,
        size_bytes=1,
        frame_rate=25.0,
        format_name="mov",
        video_codec="h264",
        audio_codec=audio_codec,
    )


def test_an_end_before_the_start_gets_the_documents_words() -> None:
    (breach,) = window_breaches(asking(10, 10))

    assert breach.field == "video_end_offset_sec"
    assert breach.message.endswith(
        "video_end_offset_sec should be greater than video_start_offset_sec"
    )


@pytest.mark.parametrize(("end", "breaches"), [(8.0, 0), (7.999, 1)])
def test_a_window_holds_at_least_one_clip(end: float, breaches: int) -> None:
    assert len(window_breaches(asking(2, end))) == breaches


@pytest.mark.parametrize(
    ("start", "end", "fields"),
    [
        (0, 10, []),
        (4, 10, []),
        (4.001, 10.001, ["video_start_offset_sec", "video_end_offset_sec"]),
        (0, 10.001, ["video_end_offset_sec"]),
    ],
)
def test_a_window_lies_inside_the_video(start: float, end: float, fields: list[str]) -> None:
    breaches = window_breaches_in(asking(start, end), facts(10))

    assert [breach.field for breach in breaches] == fields


def test_a_video_shorter_than_one_clip_is_not_told_to_start_earlier() -> None:
    (breach,) = window_breaches_in(asking(0, 6), facts(4.004))
    (shorter,) = window_breaches_in(asking(3, 9), facts(4.004))

    assert breach.hint == "shorten video_clip_length to 4.004 s or less, or leave both offsets out"
    assert shorter.hint == "leave both offsets out: the video is shorter than one clip"


def test_a_short_video_without_offsets_breaks_no_rule() -> None:
    assert window_breaches(asking(None, None)) == ()
    assert window_breaches_in(asking(None, None), facts(4.5)) == ()


def test_options_of_sound_are_absent_where_there_is_none() -> None:
    wanted, audio = ("visual-text", "audio"), frozenset({"audio"})

    assert options_absent(wanted, facts(10), audio_options=audio) == ("audio",)
    assert options_absent(wanted, facts(10, "aac"), audio_options=audio) == ()
    assert options_absent(None, facts(10), audio_options=audio) == ()
    assert options_absent(wanted, None, audio_options=audio) == ()
