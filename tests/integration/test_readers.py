"""What others see: pyarrow, pandas, DuckDB and Polars read the folder as one table."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # its stubs are a package of their own
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import batchembed
from batchembed.dataset.parts import check_part
from batchembed.errors import DatasetError
from tests.support.dataset import open_here, publish, stage

KEYS = ("model_name", "embedding_option", "embedding_scope", "place")
#: Values that some encoding would break.
PLACES = ("bridge", "two words", "50%/50% = fair", "Zürich", "a+b&c?d#e", "7th-street")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readers")
    (folder / "staging").mkdir()
    specs = [
        stage(folder / "staging", f"v{n}", metadata={"place": place, "floor": n})
        for n, place in enumerate(PLACES)
    ]
    publish(open_here(folder / "out"), folder / "staging", specs, partition_by=KEYS)
    return folder / "out"


def with_pyarrow(root: Path) -> list[dict[str, Any]]:
    table = ds.dataset(root, partitioning="hive").to_table()
    assert all(pa.types.is_string(table.schema.field(key).type) for key in KEYS)
    return table.to_pylist()


def with_parquet(root: Path) -> list[dict[str, Any]]:
    return pq.read_table(root).to_pylist()


def with_pandas(root: Path) -> list[dict[str, Any]]:
    frame = pd.read_parquet(root)
    return cast(
        "list[dict[str, Any]]", frame.astype(dict.fromkeys(KEYS, object)).to_dict("records")
    )


def with_duckdb(root: Path) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        found = connection.execute(
            "select * from read_parquet(?, hive_partitioning = true)", [f"{root}/**/*.parquet"]
        )
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def with_polars(root: Path) -> list[dict[str, Any]]:
    frame = pl.scan_parquet(
        f"{root}/**/*.parquet", hive_partitioning=True, try_parse_hive_dates=True
    ).collect()
    assert all(frame.schema[key] == pl.String for key in KEYS)
    return frame.to_dicts()


def with_batchembed(root: Path) -> list[dict[str, Any]]:
    dataset = cast("Callable[[Path], ds.Dataset]", batchembed.open_dataset)(root)
    return dataset.to_table().to_pylist()


READERS = [with_pyarrow, with_parquet, with_pandas, with_duckdb, with_polars, with_batchembed]


@pytest.mark.parametrize("read", READERS)
def test_a_reader_sees_every_row_and_the_partitions_as_the_texts_they_are(
    read: Callable[[Path], list[dict[str, Any]]], root: Path
) -> None:
    rows = read(root)
    assert len(rows) == 5 * len(PLACES)
    assert all(isinstance(row[key], str) for row in rows for key in KEYS)
    assert {(row["video_id"], row["place"]) for row in rows} == {
        (f"v{n}", place) for n, place in enumerate(PLACES)
    }
    assert {(row["embedding_option"], row["segment_index"]) for row in rows} == {
        ("audio", 0),
        ("audio", 1),
        ("visual-text", 0),
        ("visual-text", 1),
        ("visual-text", 2),
    }
    for row in rows:
        assert len(row["embedding"]) == 4
        assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-6)


def test_open_dataset_filters_by_partition_and_column(root: Path) -> None:
    dataset = cast("Callable[[Path], ds.Dataset]", batchembed.open_dataset)(root)
    chosen = (ds.field("place") == "Zürich") & (ds.field("floor") == 3)
    assert dataset.to_table(columns=["video_id"], filter=chosen).to_pydict() == {
        "video_id": ["v3"] * 5
    }


def test_open_dataset_reads_what_the_record_names_and_nothing_else(root: Path) -> None:
    part = next(root.rglob("*.parquet"))
    stray = part.with_name(f"part-{'0' * 16}.parquet")
    stray.write_bytes(part.read_bytes())
    dataset = cast("Callable[[Path], ds.Dataset]", batchembed.open_dataset)(root)
    assert dataset.count_rows() == 5 * len(PLACES)
    stray.unlink()


def test_a_plain_glob_finds_parts_and_nothing_else(root: Path) -> None:
    record = open_here(root).last()
    assert record is not None
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.parquet")}
    assert found == {part.path for part in record.parts}


def test_a_flipped_bit_is_found(root: Path, tmp_path: Path) -> None:
    part = next(root.rglob("*.parquet"))
    whole, columns = part.read_bytes(), pq.read_schema(part)
    rows = pq.read_metadata(part).num_rows
    damaged = tmp_path / "damaged.parquet"
    chosen = random.Random(1)  # noqa: S311  a choice of bits is no secret
    unseen = 0
    for _ in range(100):
        place = chosen.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << chosen.randrange(8)
        damaged.write_bytes(flipped)
        try:
            check_part(damaged, rows=rows, columns=columns)
        except DatasetError:
            continue
        # The footer has no checksum: a flip there may change a statistic, but no row.
        unseen += not pq.read_table(damaged).equals(pq.read_table(part))
    assert unseen == 0
