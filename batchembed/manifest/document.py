"""A manifest's text as values, each with the place where it was written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from batchembed.core.problems import Place, Problem

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
Path: TypeAlias = tuple[str | int, ...]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Each begins with what is rare in text: a pattern that begins with letters is tried at every letter.
_URL = re.compile(r"://[^\s\"']+")
_SECRET = re.compile(r"(?<=://)[^\s/?#\"']+(?=@)|(?<=[?#])[^\s\"']+")
#: As TwelveLabs' keys begin.
_API_KEY = re.compile(r"\btlk_\w+")
#: A key that was put where the name of its variable belongs.
_MISPLACED_KEY = re.compile(
    r"(?<=api_key_env)([\"']?\s*:\s*[\"']?)(?![A-Z_][A-Z0-9_]{0,63}(?![^\s\"',}]))([^\s\"',}]+)"
)
#: Credentials of a store, which have no place in a manifest.
_STORE_KEY = re.compile(
    r"((?:access_key|secret_key|session_token)\w*[\"']?\s*:\s*[\"']?)([^\s\"',}]+)", re.IGNORECASE
)
_LONGEST_KEY = 40

#: The name of the file in a place on the command line.
OVERRIDE = "--set"


class Mark(NamedTuple):
    """A position in the text, counted from 1; line 0 stands for the command line."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The tree of a manifest, with marks. `problems` are those that did not end the reading.

    `blind` names values that could not be read and stand as None: what is said about them
    would mislead.
    """

    file: str
    lines: tuple[str, ...]  #: redacted
    value: Value
    marks: Mapping[Path, Mark]  #: of each value
    keys: Mapping[Path, Mark]  #: of each key, by the path of its value
    problems: tuple[Problem, ...] = ()
    blind: frozenset[Path] = frozenset()
    partial: frozenset[Path] = frozenset()  #: mappings of which a key could not be read

    def at(self, path: Path) -> Value:
        """The value at `path`, or None if there is none."""
        value = self.value
        for step in path:
            if isinstance(step, str) and isinstance(value, dict):
                value = value.get(step)
            elif isinstance(step, int) and isinstance(value, list) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Where the value at `path` (or its key) was written, or the nearest thing around it."""
        shown = show(path)
        mark = self.keys.get(path) if key else None
        while mark is None:
            mark = self.marks.get(path, Mark(1, 1) if not path else None)
            path = path[:-1]
        if mark.line == 0:
            return Place(file=OVERRIDE, line=0, column=0, path=shown)
        return Place(file=self.file, line=mark.line, column=mark.column, path=shown)

    def problem(
        self, path: Path, message: str, *, code: str, hint: str | None = None, key: bool = False
    ) -> Problem:
        """A problem at the value at `path`, or at its key, with the line as written."""
        return self.problem_at(self.place(path, key=key), message, code=code, hint=hint)

    def problem_at(
        self, place: Place, message: str, *, code: str, hint: str | None = None
    ) -> Problem:
        """A problem at `place`, which may lie in a table or on the command line."""
        excerpt = None
        if place.file == self.file and 0 < place.line <= len(self.lines):
            excerpt = self.lines[place.line - 1]
        return Problem(place=place, message=message, code=code, hint=hint, excerpt=excerpt)

    def sees(self, path: Path) -> bool:
        """Whether the value at `path` was read."""
        return not self.blind or not any(path[:end] in self.blind for end in range(len(path) + 1))


def redacted(text: str) -> str:
    """The text with users and signatures of URLs, and API keys, starred out character by character."""
    without_urls = _URL.sub(lambda url: _SECRET.sub(_stars, url.group()), text)
    without_keys = _MISPLACED_KEY.sub(lambda key: key[1] + "*" * len(key[2]), without_urls)
    without_keys = _STORE_KEY.sub(lambda key: key[1] + "*" * len(key[2]), without_keys)
    return _API_KEY.sub(_stars, without_keys)


def _stars(found: re.Match[str]) -> str:
    return "*" * len(found.group())


def show(path: Sequence[str | int]) -> str:
    """The path as `$.videos[3].id`."""
    words = ["$"]
    for step in path:
        if isinstance(step, int):
            words.append(f"[{step}]")
        elif _NAME.fullmatch(step) and len(step) <= _LONGEST_KEY:
            words.append(f".{step}")
        else:
            short = step if len(step) <= _LONGEST_KEY else f"{step[:_LONGEST_KEY]}..."
            words.append(f"[{short!r}]")
    return "".join(words)


def describe(value: object) -> str:
    """The value in a few words, for a message."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f'the text "{word(redacted(value))}"'
        case list():
            words = ", ".join(word(item) for item in value[:4])
            return f"the list [{words}{', ...' if len(value) > 4 else ''}]"
        case _:
            return "a mapping"


def word(value: object) -> str:
    """The value as one would write it, cut short."""
    match value:
        case str():
            return value if len(value) <= _LONGEST_KEY else f"{value[:_LONGEST_KEY]}..."
        case bool() | None:
            return describe(value)
        case int() | float():
            return str(value)
        case list():
            return "[...]"
        case _:
            return "{...}"
