"""Datasets with a history, changed by somebody who knows how every sha256 is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batchembed.core.verification import Verification
from batchembed.dataset.folder import Folder
from batchembed.dataset.parts import part_writer
from batchembed.dataset.record import (
    Part,
    Record,
    encode_record,
    last_record,
    part_path,
    record_key,
)
from batchembed.dataset.row_group import ROW_GROUP_ROWS
from batchembed.dataset.verification.verify import verify
from tests.support.dataset import PARTITION_BY, open_here, publish, stage


def silent(_done: int, _total: int) -> None:
    """Shows no progress."""


def verified(root: Path) -> Verification:
    """What `verify` finds in a folder."""
    return verify(Folder(root), silent).verification


def codes(root: Path) -> list[str]:
    """The code of each fault, in order."""
    return [fault.code for fault in verified(root).faults]


def a_dataset(folder: Path, *, partition_by: tuple[str, ...] = PARTITION_BY) -> Path:
    """Three records: videos come, one changes its folder, one goes."""
    (folder / "staging").mkdir(parents=True)
    places = {"a": "bridge", "b": "bridge", "c": "harbour"}
    for shown in (("a",), ("a", "b", "c"), ("b", "c")):
        specs = [
            stage(folder / "staging", name, metadata={"place": places[name], "floor": 1})
            for name in shown
        ]
        publish(
            open_here(folder / "out"),
            folder / "staging",
            specs,
            partition_by=partition_by,
            side_files=sides(shown),
        )
    return folder / "out"


def sides(shown: tuple[str, ...]) -> Mapping[str, bytes]:
    """Side files that say which videos there are."""
    listed = "".join(f'{{"video_id":"{name}"}}\n' for name in shown).encode()
    return {"videos.jsonl": listed, "tasks.jsonl": listed + b'{"task_id":"t"}\n'}


def the_record(root: Path) -> Record:
    """The last one."""
    record = last_record(Folder(root))
    assert record is not None
    return record


def write_record(root: Path, record: Record) -> None:
    """Put a record in the place of the one of its number, sealed as it should be."""
    (root / record_key(record.number)).write_bytes(encode_record(record))


def rewrite(
    root: Path,
    alter: Callable[[pa.Table], pa.Table],
    *,
    number: int = 0,
    row_group_rows: int = ROW_GROUP_ROWS,
    rows: int | None = None,
) -> Part:
    """Alter the rows of a part, and make the record name what came of it. The part as it is then."""
    record = the_record(root)
    old = record.parts[number]
    table = alter(pq.ParquetFile(root / old.path).read())
    temporary = root.parent / "altered.tmp"
    with temporary.open("wb") as file, part_writer(file, table.schema) as writer:
        writer.write_table(table, row_group_size=row_group_rows)
    sha256 = hashlib.sha256(temporary.read_bytes()).hexdigest()
    new = replace(
        old,
        rows=old.rows if rows is None else rows,
        bytes=temporary.stat().st_size,
        sha256=sha256,
    )
    new = replace(new, path=part_path(new.partition, new.sha256))
    (root / old.path).unlink()
    temporary.rename(root / new.path)
    groups = tuple(
        replace(group, parts=tuple(new if part == old else part for part in group.parts))
        for group in record.groups
    )
    write_record(root, replace(record, groups=groups))
    return new


def with_column(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    """The table with other values in one column."""
    at = table.schema.get_field_index(name)
    column = pa.array(values, table.schema.field(at).type)
    return table.set_column(at, table.schema.field(at), column)
