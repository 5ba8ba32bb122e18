"""What the entries of a manifest name: files, URLs, globs and tables, as one list of videos."""

from __future__ import annotations

import dataclasses
import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from batchembed.core.model import (
    FileSource,
    ObjectSource,
    ReadSource,
    Source,
    StoreOptions,
    UrlSource,
    address,
    public_url,
)
from batchembed.core.problems import Place, Problem
from batchembed.errors import StoreMissingError
from batchembed.manifest.document import Document, Path, Value
from batchembed.manifest.globs import excluded, matches, missing_folder, object_matches
from batchembed.manifest.render import escaped
from batchembed.manifest.schema import PARAMETERS
from batchembed.manifest.tables import Row, RowFault, TableError, TableSpec, read_table
from batchembed.manifest.uris import location_fault, url_fault
from batchembed.stores.location import is_uri, location_of

_HOLDER = re.compile(r"\$\.(defaults|videos\[\d+\])(?:\.(\w+))?")

#: The keys of an entry that a video inherits.
GIVEN = (*PARAMETERS, "metadata", "skip")
#: What makes a row of a table a video of its own, whatever else names its file.
_OWN = frozenset({"id", *PARAMETERS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One video that the manifest names, before defaults.

    `given` has the parameters, `metadata` and `skip` as far as they are written for it; `places`
    says where, by key, with `metadata.<key>` for metadata. `unread` names keys that are written and
    had a problem: of these nothing is known, and nothing follows from their absence.
    """

    source: Source
    video_id: str
    given: Mapping[str, Value]
    place: Place
    places: Mapping[str, Place]
    unread: frozenset[str] = frozenset()


class Note(NamedTuple):
    """Something a person may want to know, and that is not wrong."""

    text: str


Found: TypeAlias = Listed | Problem | Note


def listed(
    document: Document,
    folder: str,
    problems: Sequence[Problem] = (),
    *,
    stores: StoreOptions,
    asks_stores: bool = True,
) -> Iterator[Found]:
    """Every video of the manifest, in order, with the problems and notes met on the way.

    The document must have the manifest's shape; `problems` are those of values that were taken out
    of it for that. Relative paths are taken from `folder`. A file named by `video_file` is left out
    of every glob, and of tables where its row has neither id nor parameters (docs/adr/0013). Where
    `asks_stores` is not set, those on stores are left out.

    Raises:
        StoreError: a glob or a table is on a store that can't be read.
    """
    entries = document.at(("videos",))
    if not isinstance(entries, list):
        return
    files = [entry.get("video_file") for entry in entries if isinstance(entry, dict)]
    named = frozenset(
        path if is_uri(path) else absolute(folder, path) for path in files if isinstance(path, str)
    )
    scene = _Scene(document, folder, stores, asks_stores, named)
    unread = _unread(problems)
    shared = unread.get("defaults", frozenset())
    for at, entry in enumerate(entries):
        if not isinstance(entry, dict):
            continue
        own = unread.get(f"videos[{at}]", frozenset()) | (shared - entry.keys())
        yield from _Entry(scene, ("videos", at), entry, own).videos()


def _unread(problems: Sequence[Problem]) -> dict[str, frozenset[str]]:
    """The keys with problems, by what they stand in; "" for a problem of the whole."""
    found: dict[str, frozenset[str]] = {}
    for problem in problems:
        if (where := _HOLDER.match(problem.place.path)) is not None:
            holder, key = where.groups(default="")
            found[holder] = found.get(holder, frozenset()) | {key}
    return found


def absolute(folder: str, path: str) -> str:
    """The path from `folder` on, without resolving links; `..` is kept for the system to resolve."""
    whole = posixpath.join(folder, path)
    return whole if ".." in path.split("/") else posixpath.normpath(whole)


def path_id(folder: str, path: str) -> str:
    """The id of a file without one: its path relative to the manifest's folder."""
    return unicodedata.normalize("NFC", posixpath.relpath(posixpath.join(folder, path), folder))


def given_at(
    document: Document, path: Path, entry: Mapping[str, Value]
) -> tuple[dict[str, Value], dict[str, Place]]:
    """What `entry` says of its videos, and where."""
    given = {key: entry[key] for key in GIVEN if key in entry}
    places = {key: document.place((*path, key)) for key in given}
    metadata = given.get("metadata")
    for key in metadata if isinstance(metadata, dict) else ():
        places[f"metadata.{key}"] = document.place((*path, "metadata", key))
    return given, places


def _all(files: int) -> str:
    return "the only file" if files == 1 else f"all {files} files"


def _left_out(rows: int, table: str) -> str:
    if rows == 1:
        return f"1 row of {table} is left out: its file is"
    return f"{rows:,} rows of {table} are left out: their files are"


def _is_plain(name: str) -> bool:
    """Whether a file's name is UTF-8 without control characters."""
    return not any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in name)


class _Scene(NamedTuple):
    """What all entries of one document share."""

    document: Document
    folder: str
    stores: StoreOptions
    asks_stores: bool
    named: frozenset[str]  #: files and objects with an entry of their own


class _Entry:
    """One entry of `videos`."""

    def __init__(
        self, scene: _Scene, path: Path, entry: Mapping[str, Value], unread: frozenset[str]
    ) -> None:
        self._document, self._folder, self._stores, self._asks_stores, self._named = scene
        self._path = path
        self._entry = entry
        self._unread = unread
        self._may_be_empty = entry.get("allow_empty") is True or "allow_empty" in unread
        self._place = self._document.place(path)
        self._given, self._places = given_at(self._document, path, entry)

    def videos(self) -> Iterator[Found]:
        entry = self._entry
        kind = next((k for k in ("video_file", "video_url", "glob", "table") if k in entry), None)
        value = entry.get(kind) if kind is not None else None
        if kind is None or not isinstance(value, str):
            return
        place = self._document.place((*self._path, kind))
        wrong = None if kind == "video_url" else location_fault(value)
        if wrong is not None:
            yield self._document.problem_at(place, wrong.message, code="uri", hint=wrong.hint)
            return
        match kind:
            case "video_file":
                yield self._video(self._file(value), kind, place)
            case "video_url":
                fault = url_fault(value)
                if fault is None:
                    yield self._video(UrlSource(url=value), kind, place)
                else:
                    hint = "such as https://example.com/a.mp4"
                    yield self._document.problem_at(place, fault, code="url", hint=hint)
            case "glob" | "table" if is_uri(value) and not self._asks_stores:
                return
            case "glob":
                yield from self._glob(value, place)
            case _:
                yield from self._table(value, place)

    def _is_named(self, source: Source) -> bool:
        """Whether an entry of its own names the file or object."""
        return not isinstance(source, UrlSource) and address(source) in self._named

    def _file(self, path: str) -> ReadSource:
        if is_uri(path):
            return ObjectSource(uri=location_of(path).uri, stores=self._stores)
        return FileSource(path=absolute(self._folder, path), shown=path)

    def _video(self, source: Source, kind: str, place: Place) -> Listed:
        places = {**self._places, kind: place}
        video_id = self._entry.get("id")
        if isinstance(video_id, str):
            places["id"] = self._document.place((*self._path, "id"))
        else:
            video_id = self._own_id(source)
        return Listed(
            source=source,
            video_id=video_id,
            given=self._given,
            place=self._place,
            places=places,
            unread=self._unread,
        )

    def _own_id(self, source: Source) -> str:
        if isinstance(source, UrlSource):
            return unicodedata.normalize("NFC", public_url(source.url))
        if isinstance(source, ObjectSource):
            return unicodedata.normalize("NFC", source.uri)
        return path_id(self._folder, source.shown)

    def _glob(self, pattern: str, place: Place) -> Iterator[Found]:
        errors: list[OSError] = []
        exclude = self._entry.get("exclude")
        words = exclude if isinstance(exclude, list) else []
        refused = [word for word in words if isinstance(word, str)]
        try:
            matching = self._matching(pattern, errors.append)
        except StoreMissingError as none:
            yield self._document.problem_at(place, str(none), code="glob_empty")
            return
        found = [name for name in matching if not excluded(name, refused)]
        for error in errors:
            unread = escaped(os.fsdecode(error.filename))
            message = f"the folder {unread} can't be read: {error.strerror}"
            yield self._document.problem_at(place, message, code="glob_unreadable")
        if not found and not errors:
            yield self._nothing(pattern, place, refused=len(matching))
        for name in found:
            if not _is_plain(name) or location_fault(name) is not None:
                shown = name.encode("unicode_escape").decode()
                yield Note(f"left out {shown}: its name can't be written in a dataset; rename it")
            elif not self._is_named(source := self._file(name)):
                yield self._video(source, "glob", place)

    def _nothing(self, pattern: str, place: Place, *, refused: int) -> Problem | Note:
        """What is said of a glob that gives no file; `exclude` took `refused` out."""
        message = f"no file matches {pattern}"
        hint = "patterns are relative to the manifest's folder, and * stays within one folder"
        if is_uri(pattern):
            hint = "a pattern is held against the whole key, and * stays between two slashes"
        if refused:
            message = f"exclude leaves out {_all(refused)} that {pattern} matches"
            hint = "take a pattern out of exclude, or the entry out of the manifest"
        elif "{" in pattern:
            hint = "braces stand for themselves here: write one glob for each"
        if self._may_be_empty:
            absent = None if is_uri(pattern) else missing_folder(self._folder, pattern)
            if absent is None:
                return Note(f"{message}, which allow_empty allows")
            # A disk that is not mounted, or a slip in a name: not an empty folder.
            message = f"there is no folder {absent}"
            hint = "make it, mount it or correct it: allow_empty is for a folder without files"
        return self._document.problem_at(place, message, code="glob_empty", hint=hint)

    def _matching(self, pattern: str, on_error: Callable[[OSError], None]) -> list[str]:
        if not is_uri(pattern):
            return matches(self._folder, pattern, on_error)
        return [each.uri for each in object_matches(location_of(pattern), self._stores)]

    def _table(self, name: str, place: Place) -> Iterator[Found]:
        columns = self._entry.get("columns")
        wanted = self._entry.get("metadata_columns")
        spec = TableSpec(
            path=name if is_uri(name) else absolute(self._folder, name),
            shown=name,
            stores=self._stores,
            columns={key: str(to) for key, to in columns.items()}
            if isinstance(columns, dict)
            else {},
            metadata=tuple(str(key) for key in wanted) if isinstance(wanted, list) else (),
        )
        rows = left_out = 0
        try:
            for row in read_table(spec):
                rows += not isinstance(row, str)
                found = self._row(row, name)
                if isinstance(row, Row) and isinstance(found, Listed) and self._yields(row, found):
                    left_out += 1
                else:
                    yield found
        except TableError as error:
            yield self._document.problem_at(place, str(error), code=error.code, hint=error.hint)
            return
        if left_out:
            yield Note(f"{_left_out(left_out, name)} named by video_file")
        if rows == 0 and self._may_be_empty:
            yield Note(f"{name} lists no video, which allow_empty allows")
        elif rows == 0:
            # Suddenly nothing is more likely a listing that went wrong than one that is meant.
            hint = "list a video in it, or take the entry out of the manifest"
            message = f"{name} lists no video"
            yield self._document.problem_at(place, message, code="table_empty", hint=hint)

    def _yields(self, row: Row, video: Listed) -> bool:
        """Whether the row gives way to an entry that names its file: it says nothing of its own."""
        return self._is_named(video.source) and _OWN.isdisjoint({*row.values, *row.unread})

    def _row(self, row: Row | RowFault | str, table: str) -> Found:
        if isinstance(row, str):
            return Note(row)
        unit = "row" if table.lower().endswith(".parquet") else "line"
        folder = "" if is_uri(table) else posixpath.dirname(self._document.file)
        shown = posixpath.join(folder, table)
        at = Place(file=shown, line=row.line, column=0, path=f"{unit} {row.line}")
        if isinstance(row, RowFault):
            where = self._cell(at, row.key) if row.key else at
            return Problem(place=where, message=row.message, code=row.code, hint=row.hint)
        return self._row_video(row, at)

    def _cell(self, row: Place, key: str) -> Place:
        """The place of a key's cell, by the name of its column."""
        columns = self._entry.get("columns")
        column = columns.get(key, key) if isinstance(columns, dict) else key
        return dataclasses.replace(row, path=f"{row.path}, {column}")

    def _row_video(self, row: Row, at: Place) -> Listed | Problem:
        values = row.values
        source: Source
        if "video_file" in values:
            written = str(values["video_file"])
            wrong = location_fault(written)
            if wrong is not None:
                where = self._cell(at, "video_file")
                return Problem(place=where, message=wrong.message, code="uri", hint=wrong.hint)
            source = self._file(written)
        else:
            url = str(values["video_url"])
            fault = url_fault(url)
            if fault is not None:
                return Problem(place=self._cell(at, "video_url"), message=fault, code="url")
            source = UrlSource(url=url)
        given = {**self._given, **{key: values[key] for key in GIVEN if key in values}}
        shared = self._given.get("metadata")
        own = {**(shared if isinstance(shared, dict) else {}), **row.metadata}
        given["metadata"] = own
        places = dict(self._places)
        for key in values:
            places[key] = self._cell(at, key)
        for key in row.metadata:
            places[f"metadata.{key}"] = dataclasses.replace(at, path=f"{at.path}, {key}")
        video_id = str(values["id"]) if "id" in values else self._own_id(source)
        return Listed(
            source=source,
            video_id=video_id,
            given=given,
            place=at,
            places=places,
            unread=(self._unread - row.values.keys()) | row.unread,
        )
