"""What an answer must be before its rows are staged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from batchembed.core.model import Profile
from batchembed.core.segments import Span
from batchembed.dataset.checks import AnsweredSegment, BrokenAnswerError, check_rows
from batchembed.dataset.rows import CheckedRows
from batchembed.errors import AnswerError

PROFILE = Profile(
    name="local-v1",
    dimension=2,
    embedding_options=("visual-text", "audio"),
    audio_options=frozenset({"audio"}),
    unit_length=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    start_offset_sec: float | None = 0.0
    end_offset_sec: float | None = 6.0
    embedding_option: str | None = "visual-text"
    embedding_scope: str | None = "clip"
    float_: Sequence[float] | None = (0.6, 0.8)


WHOLE = Span(0, 12_000)
SECOND = Segment(start_offset_sec=6.0, end_offset_sec=12.0)


def check(
    *segments: AnsweredSegment,
    profile: Profile = PROFILE,
    dimension: int | None = 2,
    whole: Span | None = WHOLE,
    scopes: tuple[str, ...] = ("clip",),
) -> CheckedRows:
    return check_rows(
        iter(segments),
        profile=profile,
        dimension=dimension,
        whole=whole,
        clip_length_sec=6,
        scopes=scopes,
    )


def code_of(*segments: AnsweredSegment, dimension: int | None = 2) -> str:
    with pytest.raises(BrokenAnswerError) as caught:
        check(*segments, dimension=dimension)
    return caught.value.reason.code


def test_a_right_answer_has_no_warnings() -> None:
    rows = check(Segment(), SECOND)
    assert rows.warnings == ()
    assert rows.rows == (("visual-text", 2),)
    assert rows.dimension == 2
    assert rows.table["embedding"].to_pylist() == [[np.float32(0.6), np.float32(0.8)]] * 2


def test_rows_are_sorted_by_option_scope_and_time() -> None:
    rows = check(
        Segment(),
        SECOND,
        Segment(embedding_scope="video", end_offset_sec=12.0),
        Segment(embedding_option="audio"),
        replace(SECOND, embedding_option="audio"),
        scopes=("clip", "video"),
    )
    told = rows.table.select(
        ["embedding_option", "embedding_scope", "start_offset_sec"]
    ).to_pylist()
    assert [tuple(row.values()) for row in told] == [
        ("audio", "clip", 0.0),
        ("audio", "clip", 6.0),
        ("visual-text", "clip", 0.0),
        ("visual-text", "clip", 6.0),
        ("visual-text", "video", 0.0),
    ]
    assert [warning.message for warning in rows.warnings] == [
        "audio video has 0 segments where 1 were expected"
    ]


def test_times_are_whole_milliseconds() -> None:
    rows = check(replace(SECOND, start_offset_sec=6.0004, end_offset_sec=11.9996))
    assert rows.table["start_offset_sec"].to_pylist() == [6.0]
    assert rows.table["end_offset_sec"].to_pylist() == [12.0]


def test_a_missing_option_is_the_profiles_first_and_a_missing_scope_the_only_one_asked() -> None:
    rows = check(Segment(embedding_option=None, embedding_scope=None), SECOND)
    assert rows.rows == (("visual-text", 2),)


@pytest.mark.parametrize(
    ("segment", "code"),
    [
        (Segment(float_=None), "embedding_missing"),
        (Segment(float_=[]), "embedding_missing"),
        (Segment(float_=[True, False]), "embedding_missing"),
        (Segment(float_=["1", "2"]), "embedding_missing"),  # type: ignore[list-item]
        (Segment(float_=[[1.0], [2.0, 3.0]]), "embedding_missing"),  # type: ignore[list-item]
        (Segment(float_=[[1.0, 2.0]]), "embedding_missing"),  # type: ignore[list-item]
        (Segment(float_=[None, 1.0]), "embedding_missing"),  # type: ignore[list-item]
        (Segment(float_=[10**400, 1]), "embedding_missing"),
        (Segment(float_=[1.0, 0.0, 0.0]), "embedding_dimension"),
        (Segment(float_=[float("nan"), 1.0]), "embedding_not_finite"),
        (Segment(float_=[float("-inf"), 1.0]), "embedding_not_finite"),
        (Segment(float_=[1e39, 0.0]), "embedding_not_finite"),
        (Segment(float_=[0.0, -0.0]), "embedding_zero"),
        (Segment(float_=[1e-60, 0.0]), "embedding_zero"),
        (Segment(start_offset_sec=None), "segment_without_time"),
        (Segment(end_offset_sec=None), "segment_without_time"),
        (Segment(end_offset_sec=float("nan")), "segment_without_time"),
        (Segment(end_offset_sec=float("inf")), "segment_without_time"),
        (Segment(end_offset_sec=0.0), "segment_empty"),
        (Segment(start_offset_sec=-1.0), "segment_empty"),
        (Segment(end_offset_sec=12.051), "segment_outside"),
        (Segment(embedding_option="../x", embedding_scope="."), "segment_unnamed"),
        (Segment(embedding_scope=".."), "segment_unnamed"),
    ],
)
def test_a_segment_that_breaks_a_check_breaks_the_answer(segment: Segment, code: str) -> None:
    assert code_of(segment) == code


@pytest.mark.parametrize("number", [1e-45, 3.4e38], ids=["smallest", "largest"])
def test_every_float32_is_a_number_that_a_vector_may_have(number: float) -> None:
    rows = check(Segment(float_=[number, number]), SECOND)
    assert rows.table["embedding"].to_pylist()[0] == [np.float32(number)] * 2
    assert [warning.code for warning in rows.warnings] == ["embedding_not_unit"]


def test_a_segment_may_end_a_little_past_the_video() -> None:
    rows = check(Segment(), replace(SECOND, end_offset_sec=12.05))
    assert rows.table["end_offset_sec"].to_pylist()[-1] == 12.05


@pytest.mark.parametrize(
    "segments",
    [
        (SECOND, Segment()),
        (Segment(), Segment()),
        (Segment(), replace(SECOND, start_offset_sec=5.999)),
    ],
    ids=["out of order", "twice", "overlapping"],
)
def test_segments_come_one_after_the_other(segments: tuple[Segment, ...]) -> None:
    assert code_of(*segments) == "segment_overlaps"


def test_an_answer_without_segments_is_broken() -> None:
    assert code_of() == "answer_empty"


def test_an_answer_that_breaks_off_is_broken() -> None:
    def segments() -> Iterator[AnsweredSegment]:
        yield Segment()
        raise AnswerError("the answer can't be read")

    with pytest.raises(BrokenAnswerError) as caught:
        check_rows(
            segments(),
            profile=PROFILE,
            dimension=2,
            whole=None,
            clip_length_sec=6,
            scopes=("clip",),
        )
    assert caught.value.reason.code == "answer_unreadable"


def test_an_unknown_dimension_is_the_first_vectors() -> None:
    assert check(Segment(float_=[1.0, 0.0, 0.0]), dimension=None, whole=None).dimension == 3
    assert code_of(Segment(), replace(SECOND, float_=[1.0]), dimension=None) == (
        "embedding_dimension"
    )


def test_another_count_than_the_cutting_rule_gives_is_a_warning() -> None:
    (warning,) = check(Segment()).warnings
    assert (warning.code, warning.value, warning.limit) == ("segment_count", 1, 2)
    assert check(Segment(), whole=None).warnings == ()


def test_a_vector_of_another_length_is_a_warning_where_the_model_promises_one() -> None:
    segments = (replace(Segment(), float_=[3.0, 4.0]), SECOND)
    (warning,) = check(*segments).warnings
    assert warning.code == "embedding_not_unit"
    assert check(*segments, profile=replace(PROFILE, unit_length=False)).warnings == ()


def test_an_option_or_scope_that_nobody_expected_is_kept_with_a_warning() -> None:
    rows = check(Segment(), SECOND, replace(SECOND, embedding_option="lyrics"), whole=None)
    assert [warning.code for warning in rows.warnings] == ["answer_unexpected"]
    assert rows.rows == (("lyrics", 1), ("visual-text", 2))


def test_segments_are_consumed_one_at_a_time() -> None:
    alive = 0

    class Counted(list[float]):
        def __init__(self) -> None:
            nonlocal alive
            alive += 1
            super().__init__([0.6, 0.8])

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def segments() -> Iterator[AnsweredSegment]:
        for number in range(50):
            assert alive <= 2
            yield Segment(
                start_offset_sec=number * 6.0, end_offset_sec=number * 6.0 + 6, float_=Counted()
            )

    rows = check_rows(
        segments(), profile=PROFILE, dimension=2, whole=None, clip_length_sec=6, scopes=("clip",)
    )
    assert rows.table.num_rows == 50
