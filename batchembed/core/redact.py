"""What a service says may repeat what it was sent: signed URLs, even the key. Cut before it is kept."""

from __future__ import annotations

import re

from batchembed.core.model import public_url

_URL = re.compile(r"https?://[^\s\"'<>\\)\]}]+", re.IGNORECASE)


def redacted(words: str, *secrets: str) -> str:
    """The words without user, query and fragment of any URL, and without these secrets."""
    for secret in secrets:
        words = words.replace(secret, "(key)")
    return _URL.sub(_public, words)


def _public(found: re.Match[str]) -> str:
    try:
        return public_url(found[0])
    except ValueError:  # no URL after all, such as one with a broken port or address
        return "(url)"
