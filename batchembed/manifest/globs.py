"""Files by pattern: what `glob` and `exclude` mean."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from batchembed.core.model import StoreOptions
from batchembed.stores.location import Location

_WILD = re.compile(r"[*?\[]")
_ANY_FOLDERS = "**"

OnError = Callable[[OSError], None]


def matches(folder: str, pattern: str, on_error: OnError) -> list[str]:
    """Files under `folder` that the pattern names, as paths like the pattern, sorted by bytes.

    `*` and `?` stay within a name; `**` is any number of folders. Hidden names match only where the
    pattern writes the dot. Linked folders are entered once. `on_error` hears of folders that
    can't be read.
    """
    start, wild = _split(pattern)
    walk = _Walk(deep=_ANY_FOLDERS in wild, levels=len(wild), on_error=on_error)
    hidden = any(segment.startswith(".") for segment in wild)
    found = [
        posixpath.join(start, *names)
        for names in walk.files(posixpath.join(folder, start), hidden=hidden)
        if _fits(names, wild)
    ]
    return sorted(found, key=os.fsencode)


def missing_folder(folder: str, pattern: str) -> str | None:
    """The folder that the pattern begins in, as it is written there, if there is no such folder."""
    start, _ = _split(pattern)
    return None if os.path.isdir(posixpath.join(folder, start) or os.curdir) else start  # noqa: PTH112  a str, as scandir takes


def object_matches(pattern: Location, stores: StoreOptions) -> list[Location]:
    """Objects that the key of a pattern names, sorted by bytes; stars mean what they do in `matches`.

    Only what is under the part without stars is listed.

    Raises:
        StoreError: the store can't be listed.
    """
    from batchembed.stores.listing import names_under  # noqa: PLC0415  pyarrow is slow to import

    parts = tuple(pattern.key.split("/"))
    plain = _plain(parts)
    start, wild = replace(pattern, key="/".join(parts[:plain])), parts[plain:]
    deep = len(wild) > 1 or _ANY_FOLDERS in wild
    found = [
        start.child("/".join(names))
        for names in names_under(start, stores, deep=deep)
        if _fits(names, wild)
    ]
    return sorted(found, key=lambda each: each.key.encode())


def _split(pattern: str) -> tuple[str, tuple[str, ...]]:
    """The folder that the pattern begins in, and what it asks of the names below."""
    parts = PurePosixPath(pattern).parts
    plain = _plain(parts)
    return posixpath.join("", *parts[:plain]), parts[plain:]


def _plain(parts: Sequence[str]) -> int:
    """How many of the parts have no stars; of a pattern without any, all but the last."""
    return next((at for at, part in enumerate(parts) if _WILD.search(part)), len(parts) - 1)


def excluded(name: str, exclude: Sequence[str]) -> bool:
    """Whether one of the patterns of `exclude` leaves the file out."""
    return any(_excludes(pattern, name) for pattern in exclude)


def _fits(names: Sequence[str], segments: Sequence[str]) -> bool:
    if not segments:
        return not names
    head, rest = segments[0], segments[1:]
    if head == _ANY_FOLDERS:
        if not rest:
            return bool(names) and not any(name.startswith(".") for name in names)
        return _fits(names, rest) or (
            len(names) > 1 and not names[0].startswith(".") and _fits(names[1:], segments)
        )
    if not names or (names[0].startswith(".") and not head.startswith(".")):
        return False
    return fnmatch.fnmatchcase(names[0], head) and _fits(names[1:], rest)


def _excludes(pattern: str, name: str) -> bool:
    """Whether `exclude` refuses the file: by its name, or by its path if the pattern has a slash."""
    parts = PurePosixPath(name).parts
    wanted = PurePosixPath(pattern).parts
    return _fits(parts, wanted) if "/" in pattern else fnmatch.fnmatchcase(parts[-1], pattern)


class _Walk:
    """Lists the files of a folder and of those below it, each linked folder once."""

    def __init__(self, *, deep: bool, levels: int, on_error: OnError) -> None:
        self._deep = deep
        self._levels = levels
        self._on_error = on_error
        self._seen: set[tuple[int, int]] = set()

    def files(
        self, folder: str, *, hidden: bool, above: tuple[str, ...] = ()
    ) -> Iterator[tuple[str, ...]]:
        try:
            with os.scandir(folder or os.curdir) as entries:
                found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
                status = os.stat(folder or os.curdir)  # noqa: PTH116  a str, as scandir takes
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._on_error(error)
            return
        if (status.st_dev, status.st_ino) in self._seen:
            return
        self._seen.add((status.st_dev, status.st_ino))
        enter = self._deep or len(above) + 1 < self._levels
        for entry in found:
            names = (*above, entry.name)
            if entry.name.startswith(".") and not hidden:
                continue
            if _is_folder(entry):
                if enter:
                    yield from self.files(entry.path, hidden=hidden, above=names)
            elif _may_be_file(entry):
                yield names


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a loop of symbolic links
        return False


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    """A file, or what can't be told: the probe then rejects that video alone, with its reason."""
    try:
        return entry.is_file()
    except OSError:
        return True
