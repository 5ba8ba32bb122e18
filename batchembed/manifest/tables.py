"""Videos listed in a table: CSV, JSON Lines or Parquet, read row by row."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import msgspec

from batchembed.core.model import StoreOptions
from batchembed.core.problems import Scalar
from batchembed.errors import StoreMissingError
from batchembed.manifest.document import Value, describe
from batchembed.manifest.explain import Fault, explain
from batchembed.manifest.scalars import CONTROL, INT64, ScalarError, named, plain
from batchembed.manifest.schema import PARAMETERS, row_validator
from batchembed.stores.location import is_uri, location_of

_TEXTS = ("video_file", "video_url", "id", "skip")
_LISTS = ("video_embedding_scope", "embedding_option")
KEYS = (*_TEXTS, *PARAMETERS)
#: Of each request to a store.
_BUFFER_BYTES = 8 << 20

_Cells: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A table, and which of its columns mean what; `columns` has those not named like their key."""

    path: str  #: or URI
    shown: str
    columns: Mapping[str, str]
    metadata: tuple[str, ...]
    stores: StoreOptions

    def open(self) -> BinaryIO:
        """The table's file or object.

        Raises:
            OSError: a file can't be opened.
            StoreError: an object can't.
        """
        if not is_uri(self.path):
            return Path(self.path).open("rb")
        from batchembed.stores.file import ObjectFile  # noqa: PLC0415  pyarrow, as below

        return io.BufferedReader(ObjectFile(location_of(self.path), self.stores), _BUFFER_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One video. `line` counts as an editor does, or rows from 1 in Parquet.

    `unread` names the keys whose cells have a fault, and which are not among the values.
    """

    line: int
    values: Mapping[str, Value]
    metadata: Mapping[str, Value]
    unread: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFault:
    """What is wrong with a row, in its column `key` if in one."""

    line: int
    key: str | None
    message: str
    code: str
    hint: str | None = None


#: A table's columns, and its rows by line.
_Table: TypeAlias = tuple[Sequence[str], Iterable[tuple[int, "_Cells | RowFault"]]]


class TableError(Exception):
    """The table can't be read; the message says why."""

    def __init__(self, message: str, *, code: str = "table_unreadable", hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def read_table(spec: TableSpec) -> Iterator[Row | RowFault | str]:
    """The table's rows, what is wrong with some, and in the end a note if columns are not used.

    Raises:
        TableError: it is missing, broken, of another format, or lacks a column that it should have.
        StoreError: its store can't be read.
    """
    suffix = spec.path.rpartition(".")[2].lower()
    readers = {"csv": _csv, "jsonl": _jsonl, "ndjson": _jsonl, "parquet": _parquet}
    if suffix not in readers:
        message = f"{spec.shown} is not a table that can be read"
        raise TableError(message, code="table_format", hint="use .csv, .jsonl or .parquet")
    try:
        columns, rows = readers[suffix](spec)
        if columns:
            _require(spec, columns)
        for line, cells in rows:
            if isinstance(cells, RowFault):
                yield cells
            else:
                yield from _row(spec, line, cells)
    except OSError as error:
        hint = "check the path; it is relative to the manifest's folder"
        raise TableError(
            f"{spec.shown} can't be read: {error.strerror or error}", hint=hint
        ) from error
    except StoreMissingError as error:
        raise TableError(str(error), hint="list what is there, and name that") from error
    except UnicodeDecodeError as error:
        raise TableError(
            f"{spec.shown} is broken: {error}", hint="save it as UTF-8 text"
        ) from error
    yield from _unused(spec, columns)


def _require(spec: TableSpec, columns: Sequence[str]) -> None:
    """Look for the columns that the manifest asks for, once instead of in every row.

    Raises:
        TableError: one is not there.
    """
    separator = next((mark for mark in ";\t|" if len(columns) == 1 and mark in columns[0]), None)
    if separator is not None:
        name = {";": "semicolons", "\t": "tabs"}.get(separator, "bars")
        message = f"{spec.shown} has its cells separated by {name}"
        raise TableError(message, code="table_column", hint="save it with commas")
    hint = f"its columns are {', '.join(columns)}"
    missing = [name for name in (*spec.columns.values(), *spec.metadata) if name not in columns]
    if missing:
        message = f"{spec.shown} has no column {', '.join(missing)}"
        raise TableError(message, code="table_column", hint=hint)
    sources = {spec.columns.get(key, key) for key in ("video_file", "video_url")}
    if sources.isdisjoint(columns):
        message = f"{spec.shown} has no column video_file or video_url"
        hint = f"say `columns: {{video_file: <its column>}}`; {hint}"
        raise TableError(message, code="table_column", hint=hint)


def _unused(spec: TableSpec, columns: Iterable[str]) -> Iterator[str]:
    """A note on columns that nothing asks for."""
    asked = [*spec.columns.values(), *spec.metadata]
    used = {*asked, *(key for key in KEYS if key not in spec.columns)}
    others = [name for name in columns if name not in used]
    if others:
        yield f"{spec.shown}: not used: {', '.join(others)}"


# -- one row


def _row(spec: TableSpec, line: int, cells: _Cells) -> Iterator[Row | RowFault]:
    values: dict[str, Value] = {}
    faults: list[Fault] = []
    for key in KEYS:
        cell = cells.get(spec.columns.get(key, key))
        if cell is not None:
            values[key] = _value(key, cell)
    metadata: dict[str, Value] = {}
    for key in spec.metadata:
        cell = cells.get(key)
        if cell is None:
            continue
        if not isinstance(cell, bool | int | float | str) or _out_of_range(cell):
            message = f"metadata is text, a number, true or false, and this is {describe(cell)}"
            faults.append(Fault((key,), message, "type"))
        else:
            metadata[key] = cell
    faults += _value_faults(values)
    faults += _control_faults({**values, **metadata})
    if ("video_file" in values) == ("video_url" in values):
        both = "both video_file and video_url" if "video_file" in values else "no video"
        hint = "fill one of the two, or say `columns: {video_file: <its column>}` in the manifest"
        faults.append(Fault((), f"the row names {both}", "missing_key", hint))
    for fault in faults:
        column = str(fault.path[0]) if fault.path else None
        yield RowFault(
            line=line, key=column, message=fault.message, code=fault.code, hint=fault.hint
        )
    unread = frozenset(
        str(key) for fault in faults for key in fault.path[:1] or ("video_file", "video_url")
    )
    known = {key: value for key, value in values.items() if key not in unread}
    if "video_file" in known or "video_url" in known:
        kept = {key: value for key, value in metadata.items() if key not in unread}
        yield Row(line=line, values=known, metadata=kept, unread=unread)


def _value(key: str, cell: object) -> Value:
    if key == "id" and isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)  # a column of numbers makes good ids
    if isinstance(cell, tuple | list):
        return list(cell)
    if cell is None or isinstance(cell, bool | int | float | str):
        return cell
    return str(cell)


def _out_of_range(cell: Scalar) -> bool:
    if isinstance(cell, float):
        return cell - cell != 0  # inf and nan
    return isinstance(cell, int) and cell not in INT64


def _value_faults(values: Mapping[str, Value]) -> list[Fault]:
    texts = {key: values[key] for key in _TEXTS if key in values}
    others = {key: values[key] for key in PARAMETERS if key in values}
    faults = list(_parameter_faults(json.dumps(others, default=str)))
    if not all(
        isinstance(text, str) and 0 < len(text) <= 1024 and text[0] != "~"
        for text in texts.values()
    ):
        faults += explain(row_validator().iter_errors(texts))
    return faults


@functools.lru_cache(maxsize=4096)
def _parameter_faults(values: str) -> tuple[Fault, ...]:
    """Faults of type of parameters as JSON; rows share few sets, so each is looked at once."""
    return tuple(explain(row_validator().iter_errors(json.loads(values))))


def _control_faults(values: Mapping[str, Value]) -> Iterator[Fault]:
    for key, value in values.items():
        bad = CONTROL.search(value) if isinstance(value, str) else None
        if bad is not None:
            yield Fault((key,), f"the text contains {named(bad.group())}", "control_character")


# -- formats


def _csv(spec: TableSpec) -> _Table:
    with io.TextIOWrapper(spec.open(), encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        header = next(_quoted(spec, reader, lambda: reader.line_num), [])
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            hint = "give each column a name of its own"
            raise TableError(f"{spec.shown} names the column {twice[0]} twice", hint=hint)
        rows: list[tuple[int, dict[str, str]]] = []
        faulty: list[tuple[int, RowFault]] = []
        line = reader.line_num + 1
        for cells in _quoted(spec, reader, lambda: reader.line_num):
            if len(cells) > len(header):
                message = f"the row has {len(cells)} cells under {len(header)} columns"
                hint = "quote cells that contain a comma"
                fault = RowFault(line=line, key=None, message=message, code="table_row", hint=hint)
                faulty.append((line, fault))
            elif cells:
                rows.append((line, {n: c for n, c in zip(header, cells, strict=False) if c != ""}))
            line = reader.line_num + 1
    kinds = {key: _kind(row[key] for _, row in rows if key in row) for key in spec.metadata}
    keys = {spec.columns.get(key, key): key for key in PARAMETERS}
    typed = (
        (line, {name: _cell(text, keys.get(name), kinds.get(name)) for name, text in texts.items()})
        for line, texts in rows
    )
    return header, itertools.chain(faulty, typed)


def _quoted(
    spec: TableSpec, reader: Iterator[list[str]], lines: Callable[[], int]
) -> Iterator[list[str]]:
    """The rows, as long as their quotes are closed.

    Raises:
        TableError: the row that begins after so many lines is not as CSV is written.
    """
    line = lines() + 1
    try:
        for cells in reader:
            yield cells
            line = lines() + 1
    except csv.Error as error:
        message = f"{spec.shown} is broken in the row of line {line}: {error}"
        hint = 'close the quote in that row, and write a quote within a cell as ""'
        raise TableError(message, hint=hint) from error


def _kind(cells: Iterable[str]) -> type[Scalar]:
    """The type of a column of texts: what all of its cells can be read as, else text."""
    kinds = {type(_plain_or_text(cell)) for cell in cells}
    if kinds and kinds <= {int, float}:
        return int if kinds == {int} else float
    return bool if kinds == {bool} else str


def _plain_or_text(cell: str) -> Scalar | None:
    try:
        return plain(cell)
    except ScalarError:
        return cell


def _cell(text: str, key: str | None, kind: type[Scalar] | None) -> Value:
    if key in _LISTS:
        return [word.strip(" \"'") for word in text.strip("[] ").replace(",", " ").split()]
    if key is not None:
        return _plain_or_text(text)
    if kind is None or kind is str:
        return text
    value = plain(text)
    return float(value) if kind is float and isinstance(value, int) else value


def _jsonl(spec: TableSpec) -> _Table:
    rows = list(_json_rows(spec))
    columns = dict.fromkeys(name for _, row in rows if isinstance(row, dict) for name in row)
    return list(columns), rows


def _json_rows(spec: TableSpec) -> Iterator[tuple[int, _Cells | RowFault]]:
    with spec.open() as stream:
        for line, text in enumerate(stream, start=1):
            if not text.strip():
                continue
            try:
                row = msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError) as error:
                message = f"this is not JSON: {error}"
                yield line, RowFault(line=line, key=None, message=message, code="table_row")
                continue
            if isinstance(row, dict):
                yield line, row
            else:
                message = f"a row is an object, and this is {describe(row)}"
                yield line, RowFault(line=line, key=None, message=message, code="table_row")


def _parquet(spec: TableSpec) -> _Table:
    import pyarrow as pa  # noqa: PLC0415  a third of a second, which other manifests need not wait
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with spec.open() as stream:
            columns = pq.read_schema(stream).names
    except pa.ArrowException as error:
        raise _broken(spec, error) from error
    return columns, _parquet_rows(spec)


def _parquet_rows(spec: TableSpec) -> Iterator[tuple[int, _Cells]]:
    import pyarrow as pa  # noqa: PLC0415  as above
    import pyarrow.parquet as pq  # noqa: PLC0415

    wanted = {*(spec.columns.get(key, key) for key in KEYS), *spec.metadata}
    line = 0
    try:
        with spec.open() as stream, pq.ParquetFile(stream) as file:
            columns = [name for name in file.schema_arrow.names if name in wanted]
            for batch in file.iter_batches(columns=columns):
                for row in batch.to_pylist():
                    line += 1
                    yield line, row
    except pa.ArrowException as error:
        raise _broken(spec, error) from error


def _broken(spec: TableSpec, error: Exception) -> TableError:
    message = f"{spec.shown} is broken: {str(error).splitlines()[0]}"
    return TableError(message, hint="write the table again")
