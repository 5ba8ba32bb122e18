"""Words of YAML 1.2's core schema."""

from __future__ import annotations

import pytest

from batchembed.manifest.scalars import ScalarError, is_text, plain


@pytest.mark.parametrize(
    "word", ["NO", "yes", "1:30", "0123", "2024-01-01", "1_000", "+", ".", "e3"]
)
def test_words_that_yaml_1_1_would_change_stay_text(word: str) -> None:
    assert plain(word) == word
    assert is_text(word)


@pytest.mark.parametrize(
    ("word", "value"),
    [("6", 6), ("-1", -1), ("0x1F", 31), ("0o17", 15), ("1e3", 1000.0), (".5", 0.5), ("6.", 6.0)],
)
def test_numbers_are_read(word: str, value: float) -> None:
    assert plain(word) == value
    assert not is_text(word)


@pytest.mark.parametrize("word", ["", "~", "null"])
def test_nothing_is_read_as_none(word: str) -> None:
    assert plain(word) is None


@pytest.mark.parametrize("word", [".nan", "-.inf", "1e400", "9" * 5000, str(2**63)])
def test_numbers_that_no_column_holds_are_refused(word: str) -> None:
    with pytest.raises(ScalarError):
        plain(word)


def test_the_ends_of_64_bits_are_read() -> None:
    assert plain(str(2**63 - 1)) == 2**63 - 1
    assert plain(str(-(2**63))) == -(2**63)
