"""Others' readers of a dataset, each as its users write it; stores are found by the usual variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import duckdb
import pandas as pd  # type: ignore[import-untyped]  # its stubs are a package of their own
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
from fsspec.implementations.arrow import (  # type: ignore[import-untyped]  # it ships no types
    ArrowFSWrapper,
)
from pyarrow import fs

import batchembed

#: The metadata column of the datasets that are read here.
KEY = "place"


class Read(NamedTuple):
    """What a reader sees."""

    length: int
    rows: Callable[[], list[dict[str, Any]]]
    types: dict[str, str]  #: of columns, in the reader's own words


class Reader(NamedTuple):
    """`read` takes a dataset's location, and the one place to read rows of; None is all."""

    title: str  #: in `docs/reading.md`
    read: Callable[[str, str | None], Read]
    text: str  #: its type of a partition column
    vectors: str  #: its type of the embeddings, of four numbers
    fetched: str  #: from a store, of parts that hold nothing it was asked for

    def __repr__(self) -> str:
        return self.title.replace("`", "").replace(", in ", "-")


def opened(location: str) -> ds.FileSystemDataset:
    """The last record's parts, as pyarrow's."""
    found: ds.FileSystemDataset = batchembed.open_dataset(location)
    return found


def _of_arrow(table: pa.Table) -> Read:
    types = {field.name: str(field.type) for field in table.schema}
    return Read(table.num_rows, table.to_pylist, types)


def _where(place: str | None) -> Any:
    return None if place is None else ds.field(KEY) == place


def _with_pyarrow(location: str, place: str | None) -> Read:
    return _of_arrow(ds.dataset(location, partitioning="hive").to_table(filter=_where(place)))


def _with_open_dataset(location: str, place: str | None) -> Read:
    return _of_arrow(opened(location).to_table(filter=_where(place)))


def _of_pandas(frame: Any) -> Read:
    types = {name: str(kind) for name, kind in frame.dtypes.items()}
    return Read(len(frame), lambda: frame.astype({KEY: object}).to_dict("records"), types)


def _with_pandas(location: str, place: str | None) -> Read:
    filters = None if place is None else [(KEY, "==", place)]
    return _of_pandas(pd.read_parquet(location, filters=filters))


def _with_pandas_of_it(location: str, place: str | None) -> Read:
    return _of_pandas(opened(location).to_table(filter=_where(place)).to_pandas())


def _of_duckdb(connection: duckdb.DuckDBPyConnection, source: str, place: str | None) -> Read:
    query = f"select * from {source}"  # noqa: S608  the test's own
    found = (
        connection.sql(query)
        if place is None
        else connection.sql(f"{query} where {KEY} = ?", params=[place])
    )
    types = {name: str(kind) for name, kind in zip(found.columns, found.types, strict=True)}
    return _of_arrow(found.to_arrow_table())._replace(types=types)


def _with_duckdb(location: str, place: str | None) -> Read:
    with duckdb.connect() as connection:
        if location.startswith("s3://"):
            store, _ = fs.FileSystem.from_uri(location)
            connection.register_filesystem(ArrowFSWrapper(store))
        source = f"read_parquet('{location}/**/*.parquet', hive_partitioning = true)"
        return _of_duckdb(connection, source, place)


def _with_duckdb_of_it(location: str, place: str | None) -> Read:
    with duckdb.connect() as connection:
        connection.register("segments", opened(location))
        return _of_duckdb(connection, "segments", place)


def _of_polars(frame: pl.LazyFrame, place: str | None) -> Read:
    if place is not None:
        frame = frame.filter(pl.col(KEY) == place)
    found = frame.collect()
    types = {name: str(kind) for name, kind in found.schema.items()}
    return Read(len(found), found.to_dicts, types)


def _with_polars(location: str, place: str | None) -> Read:
    return _of_polars(pl.scan_parquet(f"{location}/**/*.parquet", hive_partitioning=True), place)


def _with_polars_of_it(location: str, place: str | None) -> Read:
    return _of_polars(pl.scan_pyarrow_dataset(opened(location)), place)


def _with_daft(location: str, place: str | None) -> Read:
    import daft  # noqa: PLC0415  half a second, and it phones home where it is not told otherwise

    frame = daft.read_parquet(f"{location}/**/*.parquet", hive_partitioning=True)
    if place is not None:
        key: Any = daft.col(KEY)  # whose == is told as a bool
        frame = frame.where(key == place)
    frame = frame.collect()
    types = {field.name: str(field.dtype) for field in frame.schema()}
    return Read(len(frame), frame.to_pylist, types)


_ARROW = "fixed_size_list<element: float not null>[4]"

_POLARS = "Array(Float32, shape=(4,))"

_ONE, _ALL = "one footer", "every footer"

PYARROW = Reader("pyarrow", _with_pyarrow, "string", _ARROW, _ONE)
DUCKDB = Reader("DuckDB", _with_duckdb, "VARCHAR", "FLOAT[]", _ONE)
POLARS = Reader("Polars", _with_polars, "String", _POLARS, _ALL)
PANDAS = Reader("pandas", _with_pandas, "category", "object", _ONE)
DAFT = Reader("Daft", _with_daft, "String", "List[Float32; 4]", _ONE)

#: Those that find parts by themselves.
PLAIN = (PYARROW, DUCKDB, POLARS, PANDAS, DAFT)
#: Those that are given the parts of the last record.
SNAPSHOTS = (
    Reader("`open_dataset`", _with_open_dataset, "string", _ARROW, "nothing"),
    Reader("`open_dataset`, in DuckDB", _with_duckdb_of_it, "VARCHAR", "FLOAT[4]", "nothing"),
    Reader("`open_dataset`, in Polars", _with_polars_of_it, "String", _POLARS, "nothing"),
    Reader("`open_dataset`, in pandas", _with_pandas_of_it, "str", "object", "nothing"),
)
ALL = (*SNAPSHOTS, *PLAIN)

#: What they raise of a damaged part.
DAMAGE = (OSError, ValueError, duckdb.Error, pl.exceptions.PolarsError)
