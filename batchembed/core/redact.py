"""What a service says may repeat what it was sent: signed URLs, even the key. Cut before it is kept."""

from __future__ import annotations

import json
import re

from batchembed.core.model import public_url

_URL = re.compile(r"https?://[^\s\"'<>\\)\]}]+", re.IGNORECASE)

#: As JSON writes it; the last one may be cut off.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\Z)', re.DOTALL)


def redacted(words: str, *secrets: str) -> str:
    """The words without user, query and fragment of any URL, and without these secrets."""
    for secret in secrets:
        words = words.replace(secret, "(key)")
    return _URL.sub(_public, words)


def redacted_body(body: bytes | bytearray) -> bytes:
    """An answer without what signs a URL, also where it is no JSON; else byte for byte."""
    text = _STRING.sub(_redacted_string, body).decode("utf-8", "surrogateescape")
    return redacted(text).encode("utf-8", "surrogateescape")


def _redacted_string(found: re.Match[bytes]) -> bytes:
    """JSON may escape any character of a URL."""
    try:
        words = json.loads(found[0])
    except ValueError:
        return b'"(cut)"' if b"\\" in found[0] else found[0]
    public = redacted(words)
    return found[0] if public == words else json.dumps(public, ensure_ascii=False).encode()


def _public(found: re.Match[str]) -> str:
    try:
        return public_url(found[0])
    except ValueError:  # no URL after all, such as one with a broken port or address
        return "(url)"
