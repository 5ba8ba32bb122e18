"""Strict YAML to a `Document`, in one pass over the parser's events.

Nothing is built by PyYAML: its constructors raise half a dozen kinds of errors on bad input, its
composer overruns the C stack on deep input, and merge keys grow a few hundred bytes into seconds.
The events are taken one by one, and reading stops at the first that is too deep.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path as FilePath

import yaml

from batchembed.core.problems import ManifestError, Place, Problem
from batchembed.errors import InputMissingError
from batchembed.manifest.document import Document, Mark, Path, Value, describe, redacted, show
from batchembed.manifest.render import escaped
from batchembed.manifest.scalars import CONTROL, ScalarError, named, plain

MAX_BYTES = 8 * 2**20
MAX_DEPTH = 32

# What libyaml counts as the end of a line.
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_QUOTED = frozenset({"'", '"', "|", ">"})
_START = Mark(1, 1)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WRITE_OUT = "write the value out in each place; what videos share goes under `defaults`"
_FIRST_LINES = "it begins with `version: 1`; then come engine, videos and output"
_HINTS = {
    "mapping values are not allowed": "check the indentation, or quote text that has a colon and a space in it",
    "found character that cannot start any token": "quote the text",
    "found unexpected end of stream": "close the quote",
    "did not find expected ',' or ']'": "close the list with ]",
    "did not find expected ',' or '}'": "close the mapping with }",
    "did not find expected key": "check the indentation: keys of one mapping stand in one column",
    "could not find expected ':'": "write `key: value`",
    "did not find expected '-' indicator": "check the indentation: items of one list stand in one column",
}


def load(path: str | FilePath) -> Document:
    """Read the manifest at `path`.

    Raises:
        InputMissingError: it is not there, or can't be read.
        ManifestError: it is not YAML as a manifest is written, with all that could be said.
    """
    file = str(path)
    if any("\ud800" <= letter <= "\udfff" for letter in os.path.abspath(file)):  # noqa: PTH100  links stay
        message = f"{escaped(file)}: the path is not UTF-8; rename the folder or the file"
        raise InputMissingError(message)
    return load_text(_decode(_read(file), file), file)


def load_text(text: str, file: str) -> Document:
    """Read a manifest's text; `file` names it in messages.

    Raises:
        ManifestError: as for `load`.
    """
    text = text.removeprefix("\ufeff")
    lines = tuple(_BREAK.split(redacted(text)))
    return _Reader(file, text, lines).read()


def _read(file: str) -> bytes:
    try:
        with FilePath(file).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InputMissingError(f"{file}: there is no such file; check the path") from error
    except IsADirectoryError as error:
        raise InputMissingError(f"{file}: is a folder; name the manifest in it") from error
    except OSError as error:
        raise InputMissingError(f"{file}: can't be read: {error.strerror}") from error
    except ValueError as error:  # a NUL in the path
        raise InputMissingError(f"{file!r}: can't be read: {error}") from error
    if len(data) > MAX_BYTES:
        message = f"the manifest is larger than {MAX_BYTES // 2**20} MiB"
        raise _refusal(file, message, "too_large", hint="put the list of videos into a table")
    return data


def _decode(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        mark = _mark_after(before.removeprefix("\ufeff"))
        raise _refusal(
            file, message, "encoding", mark=mark, hint="save the file as UTF-8"
        ) from None


def _mark_after(text: str) -> Mark:
    lines = _BREAK.split(text)
    return Mark(len(lines), len(lines[-1]) + 1)


def _refusal(
    file: str, message: str, code: str, *, mark: Mark = _START, hint: str | None = None
) -> ManifestError:
    place = Place(file=file, line=mark.line, column=mark.column, path="$")
    return ManifestError([Problem(place=place, message=message, code=code, hint=hint)])


class _Stop(Exception):  # noqa: N818  ends the reading; its problem is in the list already
    """Nothing more can be read."""


class _Reader:
    """Builds one document from events; used once. Recursion goes as deep as `MAX_DEPTH`."""

    def __init__(self, file: str, text: str, lines: tuple[str, ...]) -> None:
        self._file = file
        self._text = text
        self._lines = lines
        self._problems: list[Problem] = []
        self._marks: dict[Path, Mark] = {}
        self._keys: dict[Path, Mark] = {}
        self._blind: set[Path] = set()
        self._partial: set[Path] = set()
        self._events: Iterator[yaml.Event] = iter(())

    def read(self) -> Document:
        if (bad := _FORBIDDEN.search(self._text)) is not None:
            mark = _mark_after(self._text[: bad.start()])
            self._say((), mark, f"{named(bad.group())} is not allowed here", "control_character")
            raise ManifestError(self._problems)
        try:
            self._events = iter(yaml.parse(self._text, Loader=_Loader))
            value = self._document()
        except yaml.MarkedYAMLError as error:
            self._say_syntax(error)
            raise ManifestError(self._problems) from None
        except _Stop:
            raise ManifestError(self._problems) from None
        return Document(
            file=self._file,
            lines=self._lines,
            value=value,
            marks=self._marks,
            keys=self._keys,
            problems=tuple(self._problems),
            blind=frozenset(self._blind),
            partial=frozenset(self._partial),
        )

    def _document(self) -> Value:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            self._say((), _START, "the manifest is empty", "empty", _FIRST_LINES)
            raise _Stop
        value = self._node(next(self._events), (), 1)
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            message = "a second document begins here"
            self._say((), _mark(after), message, "documents", "one file holds one manifest")
            raise _Stop
        return value

    def _node(self, event: yaml.Event, path: Path, depth: int) -> Value:
        mark = _mark(event)
        self._marks[path] = mark
        self._refuse_features(event, path)
        match event:
            case yaml.ScalarEvent():
                return self._scalar(event, path)
            case yaml.SequenceStartEvent():
                self._check_depth(mark, path, depth)
                return self._list(path, depth)
            case yaml.MappingStartEvent():
                self._check_depth(mark, path, depth)
                return self._mapping(path, depth)
            case _:
                self._blind.add(path)
                return None

    def _list(self, path: Path, depth: int) -> list[Value]:
        items: list[Value] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), depth + 1))
        return items

    def _mapping(self, path: Path, depth: int) -> dict[str, Value]:
        mapping: dict[str, Value] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path, depth)
            if key is None:
                self._partial.add(path)
            elif key in mapping:
                first = self._keys[(*path, key)].line
                message = f"the key `{key}` is written twice; first in line {first}"
                self._say(
                    (*path, key), _mark(event), message, "duplicate_key", "keep one of the two"
                )
                key = None
            following = next(self._events)
            if key is None:
                self._discard(following, path, depth + 1)
                continue
            self._keys[(*path, key)] = _mark(event)
            mapping[key] = self._node(following, (*path, key), depth + 1)
        return mapping

    def _key(self, event: yaml.Event, path: Path, depth: int) -> str | None:
        """The key, or None with a problem said."""
        self._refuse_features(event, path)
        if isinstance(event, yaml.AliasEvent):
            return None
        if not isinstance(event, yaml.ScalarEvent):
            self._say(path, _mark(event), "a key must be text", "key", "write `key: value`")
            self._discard(event, path, depth + 1)
            return None
        if event.style not in _QUOTED and event.value == "<<":
            self._unsupported(event, path, "merge key <<")
            return None
        problems = len(self._problems)
        key = self._scalar(event, path, key=True)
        if isinstance(key, str):
            return key
        if len(self._problems) == problems:
            message = f"a key must be text, and this is {describe(key)}"
            self._say(path, _mark(event), message, "key", "put it in quotes")
        return None

    def _scalar(self, event: yaml.ScalarEvent, path: Path, *, key: bool = False) -> Value:
        try:
            value = event.value if event.style in _QUOTED else plain(event.value)
        except ScalarError as error:
            self._say(path, _mark(event), str(error), "number", "quote it if it is meant as text")
        else:
            bad = CONTROL.search(value) if isinstance(value, str) else None
            if bad is None:
                return value
            message = f"the text contains {named(bad.group())}"
            self._say(path, _mark(event), message, "control_character", "take it out")
        if not key:
            self._blind.add(path)
        return None

    def _discard(self, event: yaml.Event, path: Path, depth: int) -> None:
        """Pass over a node that has no place in the document."""
        opened = 0
        while True:
            if isinstance(event, yaml.CollectionStartEvent):
                self._check_depth(_mark(event), path, depth + opened)
                opened += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                opened -= 1
            if not opened:
                return
            event = next(self._events)

    # -- problems

    def _check_depth(self, mark: Mark, path: Path, depth: int) -> None:
        if depth > MAX_DEPTH:
            self._say_too_deep(path, mark)
            raise _Stop

    def _say_too_deep(self, path: Path, mark: Mark) -> None:
        message = f"lists and mappings are nested more than {MAX_DEPTH} deep"
        self._say(path, mark, message, "too_deep", "a manifest needs six levels")

    def _refuse_features(self, event: yaml.Event, path: Path) -> None:
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            self._unsupported(event, path, f"alias *{anchor}")
        elif anchor is not None:
            self._unsupported(event, path, f"anchor &{anchor}")
        tag = getattr(event, "tag", None)
        if tag is not None:
            name = tag.replace("tag:yaml.org,2002:", "!!")
            hint = "take the tag out; quote the value if it is meant as text"
            self._unsupported(event, path, f"tag {name}", hint)

    def _unsupported(
        self, event: yaml.Event, path: Path, what: str, hint: str = _WRITE_OUT
    ) -> None:
        self._say(path, _mark(event), f"the {what} is not supported", "yaml_feature", hint)

    def _say_syntax(self, error: yaml.MarkedYAMLError) -> None:
        line, column = self._within(error.problem_mark, error.context_mark)
        text = self._lines[line]
        what = (error.problem or "not YAML").removesuffix(" in this context")
        if "nesting depth" in what:  # libyaml has a limit of its own since PyYAML 6.0.4
            self._say_too_deep((), Mark(line + 1, column + 1))
            return
        hint = _HINTS.get(what)
        if text[column : column + 1] == "\t":
            what, hint = "a tab can't indent or separate here", "use spaces"
        elif text[column : column + 1] in {"@", "`", "%"}:
            what = f"text can't begin with {text[column]} unless it is quoted"
        message = f"{what} ({error.context})" if error.context else what
        self._say((), Mark(line + 1, column + 1), message, "yaml", hint)

    def _within(self, *marks: yaml.Mark | None) -> tuple[int, int]:
        """The first mark that lies inside the text: what is not closed is found at its end."""
        for mark in marks:
            if mark is not None and mark.line < len(self._lines):
                line = self._lines[mark.line]
                if mark.column < len(line) or mark.line < len(self._lines) - 1:
                    return mark.line, min(mark.column, len(line))
        return 0, 0

    def _say(
        self, path: Path, mark: Mark, message: str, code: str, hint: str | None = None
    ) -> None:
        place = Place(file=self._file, line=mark.line, column=mark.column, path=show(path))
        line = self._lines[min(mark.line, len(self._lines)) - 1]
        self._problems.append(
            Problem(place=place, message=message, code=code, hint=hint, excerpt=line)
        )


def _mark(event: yaml.Event) -> Mark:
    mark = event.start_mark
    return _START if mark is None else Mark(mark.line + 1, mark.column + 1)
