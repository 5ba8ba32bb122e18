"""A problem as lines for a terminal, or as plain values for JSON."""

from __future__ import annotations

import unicodedata

from batchembed.core.problems import Place, Problem

_WIDTH = 120
_INDENT = "    "
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def problem_lines(problem: Problem) -> list[str]:
    """`file:line:column: $.path: message`, then the line with a caret under the column, then a hint."""
    lines = [f"{escaped(_position(problem.place))}: {escaped(problem.message)}"]
    if problem.excerpt is not None and problem.place.column > 0:
        lines += _excerpt(problem.excerpt, problem.place.column)
    if problem.hint is not None:
        lines.append(f"{_INDENT}hint: {escaped(problem.hint)}")
    return lines


def problem_dict(problem: Problem) -> dict[str, str | int | None]:
    """The problem for JSON; `line` and `column` are 0 where a source has none."""
    place = problem.place
    return {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "path": place.path,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "excerpt": problem.excerpt,
    }


def escaped(text: str) -> str:
    """The text with everything escaped that a terminal would obey or not show."""
    return "".join(
        character
        if unicodedata.category(character) not in _UNSEEN
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _position(place: Place) -> str:
    numbers = [str(number) for number in (place.line, place.column) if number]
    return f"{':'.join([place.file, *numbers])}: {place.path}"


def _excerpt(line: str, column: int) -> list[str]:
    """The part of the line around the column, and a caret under it."""
    at = min(column - 1, len(line))
    start = max(0, at - _WIDTH * 2 // 3) if len(line) > _WIDTH else 0
    before = escaped(line[start:at].replace("\t", " "))
    after = escaped(line[at : start + _WIDTH].replace("\t", " "))
    before = before.lstrip(" ") if start == 0 else f"...{before}"
    end = "..." if start + _WIDTH < len(line) else ""
    return [f"{_INDENT}{before}{after}{end}".rstrip(), f"{_INDENT}{' ' * _columns(before)}^"]


def _columns(text: str) -> int:
    """How many cells of a terminal the text takes."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide
