"""What `verify` finds in rows, where whoever changed them made every sha256 anew."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batchembed.dataset.rows import vector_array
from tests.support.tampering import (
    a_dataset,
    codes,
    rewrite,
    the_record,
    verified,
    with_column,
    write_record,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return a_dataset(tmp_path)


def altered(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[pa.Table], pa.Table]:
    return lambda table: with_column(table, name, change(table[name].to_pylist()))


def vectors(change: Callable[[Any], None]) -> Callable[[pa.Table], pa.Table]:
    def alter(table: pa.Table) -> pa.Table:
        values = np.array(table["embedding"].to_pylist(), np.float32)
        change(values)
        at = table.schema.get_field_index("embedding")
        return table.set_column(at, table.schema.field(at), vector_array(values))

    return alter


def put(row: int, value: float) -> Callable[[Any], None]:
    def change(values: Any) -> None:
        values[row] = value

    return change


#: What is done to the first part, which has two rows of audio of each of b and c; the code, row and
#: video that are told.
CASES: dict[str, tuple[Callable[[pa.Table], pa.Table], str, int, str]] = {
    "source": (altered("source", lambda old: [*old[:-1], "x"]), "row_differs", 3, "c"),
    "null": (altered("source_sha256", lambda old: [None, *old[1:]]), "row_differs", 0, "b"),
    "job": (altered("job_key", lambda old: [*old[:1], "k", *old[2:]]), "row_differs", 1, "b"),
    "width": (altered("width", lambda old: [*old[:3], 1]), "row_differs", 3, "c"),
    "metadata": (altered("floor", lambda old: [*old[:3], 2]), "row_differs", 3, "c"),
    "index": (altered("segment_index", lambda _: [0, 1, 0, 2]), "row_differs", 3, "c"),
    "stranger": (altered("video_id", lambda _: ["b", "b", "c", "x"]), "row_unexpected", 3, "x"),
    "again": (altered("video_id", lambda _: ["b", "c", "b", "c"]), "row_twice", 2, "b"),
    "order": (altered("video_id", lambda _: ["c", "c", "b", "b"]), "row_unsorted", 2, "b"),
    "twice": (altered("start_offset_sec", lambda _: [0, 0, 0, 2]), "segment_twice", 1, "b"),
    "overlap": (altered("start_offset_sec", lambda _: [0, 1.5, 0, 2]), "segment_overlaps", 1, "b"),
    "early": (altered("start_offset_sec", lambda _: [-1, 2, 0, 2]), "segment_empty", 0, "b"),
    "fraction": (altered("start_offset_sec", lambda _: [0, 2.0001, 0, 2]), "segment_time", 1, "b"),
    "no time": (altered("end_offset_sec", lambda _: [2, math.nan, 2, 4]), "segment_time", 1, "b"),
    "late": (altered("end_offset_sec", lambda _: [2, 4, 2, 6.051]), "segment_outside", 3, "c"),
    "infinite": (vectors(put(2, math.inf)), "embedding_not_finite", 2, "c"),
    "nan": (vectors(put(1, math.nan)), "embedding_not_finite", 1, "b"),
    "zero": (vectors(put(0, 0.0)), "embedding_zero", 0, "b"),
    "long": (vectors(put(3, 0.51)), "embedding_not_unit", 3, "c"),
    "square of infinite length": (vectors(put(3, 3e38)), "embedding_not_unit", 3, "c"),
    "square of no length": (vectors(put(3, 1e-30)), "embedding_not_unit", 3, "c"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_row_that_is_not_what_it_must_be_is_located(root: Path, case: str) -> None:
    alter, code, row, video_id = CASES[case]
    part = rewrite(root, alter)
    faults = [(f.code, f.file, f.row, f.video_id) for f in verified(root).faults]
    assert (code, part.path, row, video_id) in faults


@pytest.mark.parametrize(
    ("name", "values", "code", "row"),
    [
        ("start_offset_sec", [0, 2.5, 0, 2], "segment_gap", 1),
        ("end_offset_sec", [2, 5, 2, 4], "segment_uneven", 1),
        ("end_offset_sec", [2, 4, 2, 3.5], "segment_short", 3),
    ],
)
def test_another_cut_than_the_rule_is_a_notice_as_when_it_was_staged(
    root: Path, name: str, values: list[Any], code: str, row: int
) -> None:
    rewrite(root, altered(name, lambda _: values))
    found = verified(root)
    assert found.faults == ()
    assert (code, row) in [(each.code, each.row) for each in found.notices]


def test_rows_that_come_twice_or_not_at_all_are_told(root: Path) -> None:
    rewrite(root, lambda table: pa.concat_tables([table, table.slice(2)]), rows=6)
    assert set(codes(root)) == {"group_differs", "row_differs", "segment_overlaps", "rows_missing"}
    rewrite(root, lambda table: table.slice(0, 2), rows=2)
    assert codes(root) == ["group_differs", "rows_missing"]


@pytest.mark.parametrize(
    ("alter", "code"),
    [
        (lambda table: table.drop_columns(["floor"]), "part_schema"),
        (lambda table: table.select([*reversed(table.column_names)]), "part_schema"),
        (
            lambda table: table.replace_schema_metadata(
                {**table.schema.metadata, b"batchembed.dimension": b"8"}
            ),
            "part_footer",
        ),
    ],
    ids=["lacks a column", "another order", "another dimension"],
)
def test_a_part_of_other_columns_or_another_footer_is_told(
    root: Path, alter: Callable[[pa.Table], pa.Table], code: str
) -> None:
    part = rewrite(root, alter)
    assert [(f.code, f.file) for f in verified(root).faults] == [(code, part.path)]


def test_row_groups_of_another_size_are_told(root: Path) -> None:
    rewrite(root, lambda table: table, row_group_rows=3)
    assert codes(root) == ["part_row_groups"]


def test_a_part_in_the_folder_of_other_rows_is_told(tmp_path: Path) -> None:
    root = a_dataset(tmp_path, partition_by=("place",))
    record = the_record(root)
    (group,) = record.groups
    one, other = group.parts
    names = [replace(one, partition=other.partition), replace(other, partition=one.partition)]
    moved = [
        replace(part, path=f"place={part.partition[0][1]}/{Path(part.path).name}") for part in names
    ]
    content = [(root / part.path).read_bytes() for part in (one, other)]
    for old, new, each in zip((one, other), moved, content, strict=True):
        (root / old.path).unlink()
        (root / new.path).write_bytes(each)
    write_record(root, replace(record, groups=(replace(group, parts=tuple(moved)),)))
    assert set(codes(root)) == {"row_unexpected"}


def test_a_group_file_that_contradicts_the_record_is_told(root: Path) -> None:
    record = the_record(root)
    (group,) = record.groups
    key = root / "_batchembed" / "groups" / group.file
    content = key.read_bytes().replace(b'"width":640', b'"width":641')
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"group-{sha256[:16]}.json"
    key.with_name(name).write_bytes(content)
    key.unlink()
    write_record(root, replace(record, groups=(replace(group, file=name, sha256=sha256),)))
    assert codes(root)[0] == "group_differs"
    assert set(codes(root)) == {"group_differs", "row_differs"}
