"""What an unquoted word of YAML means: the YAML 1.2 core schema, and nothing more.

YAML 1.1 reads `NO` as false, `1:30` as 90 and `0123` as 83. Here these stay text, as do dates.
Table cells are read by the same rule.
"""

from __future__ import annotations

import math
import re

from batchembed.core.problems import Scalar

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_OCTAL = re.compile(r"0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LONGEST_INT = 40

#: What no text may hold: controls other than a tab or a line's end, and halves of characters.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
INT64 = range(-(2**63), 2**63)


class ScalarError(ValueError):
    """A word that is a number for YAML, and that no column of numbers can hold."""


def plain(word: str) -> Scalar | None:
    """The value of an unquoted word.

    Raises:
        ScalarError: a number that is not finite, or an integer beyond 64 bits.
    """
    if word in _NULL:
        return None
    if word in _BOOL:
        return _BOOL[word]
    if _INT.fullmatch(word):
        return _integer(word, 10)
    if _HEX.fullmatch(word):
        return _integer(word[2:], 16)
    if _OCTAL.fullmatch(word):
        return _integer(word[2:], 8)
    if _FLOAT.fullmatch(word):
        number = float(word)
        if math.isfinite(number):
            return number
        raise ScalarError("the number is too large")
    if _NOT_FINITE.fullmatch(word):
        raise ScalarError(f"{word} is not a number that can be used")
    return word


def _integer(digits: str, base: int) -> int:
    # Longer ones are not even converted: Python refuses thousands of digits with an error of its own.
    number = int(digits, base) if len(digits) <= _LONGEST_INT else None
    if number is None or number not in INT64:
        raise ScalarError("the whole number is too large for 64 bits")
    return number


def named(character: str) -> str:
    """A control character as one can read it."""
    return f"the control character U+{ord(character):04X}"


def is_text(word: str) -> bool:
    """Whether the word, unquoted, is text and neither a number nor true, false or nothing."""
    try:
        return isinstance(plain(word), str)
    except ScalarError:
        return False
