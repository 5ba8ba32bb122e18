"""Secrets that a service repeats are cut from its words."""

from __future__ import annotations

import pytest

from batchembed.core.redact import redacted, redacted_body


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


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"input_url": "https://e.com/a?s=SIG"}', b'{"input_url": "https://e.com/a"}'),
        (rb'["https:\/\/e.com\/a?s=SIG&t=\u0053IG"]', b'["https://e.com/a"]'),
        (rb'{"u":"\u0068ttps://\u00e9.com/a?b=SIG"}', '{"u":"https://é.com/a"}'.encode()),
        (rb'{"cut": "https:\/\/e.com\/a?s=SIG', b'{"cut": "(cut)"'),
        (b'{"cut": "https://e.com/a?s=SIG', b'{"cut": "https://e.com/a'),
        (b"<html>https://e.com/a?s=SIG</html>", b"<html>https://e.com/a</html>"),
    ],
)
def test_a_body_loses_what_signs_a_url_however_it_is_written(body: bytes, kept: bytes) -> None:
    assert redacted_body(body) == kept


@pytest.mark.parametrize(
    "body", [b"[", b'{"a": 1.50, "b": "\\u00e9 \\" x"}', b'\xff\x00"', b'"\xff"']
)
def test_a_body_without_a_url_stays_as_it_came(body: bytes) -> None:
    assert redacted_body(bytearray(body)) == body
