from __future__ import annotations

from fractions import Fraction

import pytest

from batchembed.core.segments import Span
from batchembed.engine.video.decode import _matroska_duration
from batchembed.engine.video.frames import sample_times


def test_samples_stand_in_the_middle_of_equal_parts() -> None:
    assert sample_times(Span(6_000, 8_000), 2.0) == (
        Fraction("6.25"),
        Fraction("6.75"),
        Fraction("7.25"),
        Fraction("7.75"),
    )


@pytest.mark.parametrize(("length_ms", "count"), [(6_000, 12), (6_001, 13), (300, 2), (2_000, 4)])
def test_two_samples_a_second_are_taken_and_two_at_least(length_ms: int, count: int) -> None:
    assert len(sample_times(Span(0, length_ms), 2.0)) == count


def test_a_matroska_duration_is_read_from_its_tag() -> None:
    assert _matroska_duration("01:02:03.500000000") == Fraction("3723.5")
    assert _matroska_duration("soon") is None
