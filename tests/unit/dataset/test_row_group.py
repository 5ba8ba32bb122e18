"""Row groups, as they are gathered and written."""

from __future__ import annotations

import dataclasses
import io

import pyarrow as pa
import pytest

from batchembed.core.model import JobKey, VideoId
from batchembed.dataset.parts import part_writer
from batchembed.dataset.record import RowSpec
from batchembed.dataset.row_group import ROW_GROUP_ROWS, RowGroup
from batchembed.dataset.schema import dataset_schema
from batchembed.errors import DatasetError
from tests.support.dataset import checked_rows

KIND = ("audio", "clip")
SPEC = RowSpec(
    video_id=VideoId("a"),
    source="a.mp4",
    source_sha256=None,
    job_key=JobKey("a" * 64),
    rows_sha256="",
    rows=(("audio", 1),),
    options=None,
    duration_sec=6.0,
    width=640,
    height=None,
    metadata={"place": "bridge"},
)


def row_group(dimension: int) -> RowGroup:
    return RowGroup(dataset_schema([SPEC.metadata], ["embedding_option"], dimension), "local-v1")


def written(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with part_writer(file, table.schema) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
    return file.getvalue()


@pytest.mark.parametrize("dimension", [1, 3, 96, 200, 512, 1024])
def test_where_a_chunk_ends_does_not_show_in_the_bytes(dimension: int) -> None:
    group = row_group(dimension)
    for n in range(10):
        spec = dataclasses.replace(SPEC, video_id=VideoId(f"v{n}"), metadata={"place": f"p{n % 3}"})
        rows = checked_rows(f"v{n}", {"audio": 700 + n}, dimension=dimension).table
        assert group.take(spec, KIND, rows, 0) == 700 + n
    table = group.table()
    assert table["embedding"].num_chunks > 1
    table.validate(full=True)
    assert written(table) == written(table.combine_chunks())


def test_a_group_takes_what_it_has_room_for_and_the_next_goes_on_there() -> None:
    group = row_group(4)
    rows = checked_rows("a", {"audio": ROW_GROUP_ROWS + 5}).table
    assert group.take(SPEC, KIND, rows, 0) == ROW_GROUP_ROWS
    assert group.is_full
    assert group.take(SPEC, KIND, rows, ROW_GROUP_ROWS) == 0
    group.clear()
    assert group.take(SPEC, KIND, rows, ROW_GROUP_ROWS) == 5
    table = group.table()
    assert table["segment_index"].to_pylist() == [ROW_GROUP_ROWS + n for n in range(5)]
    assert table["embedding"].equals(rows["embedding"].slice(ROW_GROUP_ROWS))
    assert table["height"].null_count == 5


def test_vectors_of_another_dimension_are_refused() -> None:
    rows = checked_rows("a", {"audio": 4}, dimension=2).table
    with pytest.raises(DatasetError, match=r"video a has vectors of 2 numbers.*have 4"):
        row_group(4).take(SPEC, KIND, rows, 0)


@pytest.mark.parametrize("value", [1.5, True, "1"])
def test_metadata_that_would_become_another_value_is_refused(value: float | str) -> None:
    schema = dataset_schema([{"floor": 1}], ["embedding_option"], 4)
    group = RowGroup(schema, "local-v1")
    spec = dataclasses.replace(SPEC, metadata={"floor": value})
    group.take(spec, KIND, checked_rows("a", {"audio": 1}).table, 0)
    with pytest.raises(DatasetError, match=r"video a has floor .* int64"):
        group.table()


def test_the_memory_is_used_again() -> None:
    group = row_group(4)
    first, second = (checked_rows(seed, {"audio": 3}).table["embedding"] for seed in "ab")
    group.take(SPEC, KIND, checked_rows("a", {"audio": 3}).table, 0)
    seen = group.table()["embedding"]
    assert seen.equals(first)
    group.clear()
    group.take(SPEC, KIND, checked_rows("b", {"audio": 3}).table, 0)
    assert seen.equals(second)
