"""Partition values: text that every reader gives back as the same text."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

from batchembed.core.problems import Reason, Scalar

_LONGEST_VALUE = 128  # bytes of UTF-8
_LONGEST_NAME = 255  # bytes of a folder's name, on the file systems there are
_NUMBER_OR_DATE = re.compile(
    r"[\s+.-]*\d[\d\s+\-.,:/\\_a-f]*([tzx][\d\s+\-.,:/\\_a-fz]*)?|\d{1,4}[-/.\\]\d.*",
    re.IGNORECASE | re.DOTALL,
)
#: Words that some reader takes for a boolean, a number, a date or nothing.
_WORDS = frozenset(
    "true false t f yes no y n on off null none nil na nan inf infinity epoch today now".split()  # noqa: SIM905  a list of words reads best as words
)


def partition_problem(key: str, value: Scalar) -> Reason | None:
    """Why `value` can't name a folder, if it can't: a reader would not give back the same text."""

    def refused(why: str, hint: str) -> Reason:
        return Reason(
            code="partition_invalid",
            field=f"metadata.{key}",
            message=f"{key}: {value!r} {why}",
            value=value,
            hint=hint,
        )

    if not isinstance(value, str):
        return refused("is not text, and a folder's name is", f'write "{key}-{value}"')
    if not value or value != value.strip():
        return refused("is empty, or has space at an end", "write some text")
    if value.casefold() in _WORDS or _NUMBER_OR_DATE.fullmatch(value):
        return refused("would be read as something else than text", f'write "{key}-{value}"')
    if value in {".", "..", "__HIVE_DEFAULT_PARTITION__"}:
        return refused("has a meaning of its own in a path", f'write "{key}-{value}"')
    if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in value):
        return refused("has a control character", "leave it out")
    if unicodedata.normalize("NFC", value) != value:
        return refused("is not in Unicode's composed form (NFC)", "write it with composed letters")
    if len(value.encode()) > _LONGEST_VALUE or len(folder_name(key, value)) > _LONGEST_NAME:
        return refused("is too long for a folder's name", f"at most {_LONGEST_VALUE} bytes")
    return None


def folder_name(key: str, value: str) -> str:
    """`key=value` with everything but ASCII letters, digits, `.`, `_` and `-` percent-encoded."""
    return f"{key}={quote(value, safe='').replace('~', '%7E')}"
