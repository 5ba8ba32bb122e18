"""Secrets that a service repeats are cut from its words."""

from __future__ import annotations

import pytest

from batchembed.core.redact import redacted


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (
            "can't read https://u:p@e.com/a.mp4?X-Amz-Signature=s#f, sorry",
            "can't read https://e.com/a.mp4 sorry",
        ),
        ("HTTP://e.com/a?sig=1", "http://e.com/a"),
        ("the key tlk_1 is refused", "the key (key) is refused"),
        ("https://[broken?sig=1", "(url)"),
        ("duration 3 s is below 4 s", "duration 3 s is below 4 s"),
    ],
)
def test_urls_lose_what_signs_them_and_the_key_is_gone(words: str, kept: str) -> None:
    assert redacted(words, "tlk_1") == kept
