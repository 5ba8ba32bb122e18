"""Staged files on a real disk."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batchembed.core.model import JobKey
from batchembed.dataset.files import Files
from batchembed.dataset.rows import rows_sha256
from batchembed.dataset.staging import (
    StagedDamagedError,
    StagedFiles,
    read_staged,
    write_staged,
)
from batchembed.errors import StorageError
from tests.support.dataset import BreakingFiles, checked_rows

KEY = JobKey("a" * 64)

#: What another version of Arrow might choose.
OTHER_IPC = {
    "compressed": pa.ipc.IpcWriteOptions(compression="zstd"),
    "older": pa.ipc.IpcWriteOptions(metadata_version=pa.ipc.MetadataVersion.V4),
}


def written_otherwise(
    path: Path, table: pa.Table, options: pa.ipc.IpcWriteOptions | None = None, rows: int = 9_999
) -> bytes:
    """The bytes of a staged file, as something else writes the same rows."""
    with pa.ipc.new_file(str(path), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path.read_bytes()


def test_staged_rows_are_read_back(tmp_path: Path) -> None:
    rows = checked_rows("a", {"visual-text": 3, "audio": 2})
    staged = write_staged(rows, tmp_path, KEY)
    assert staged.file == f"{KEY}.arrow"
    assert staged.rows == (("audio", 2), ("visual-text", 3))
    assert read_staged(tmp_path, staged).equals(rows.table)
    assert [path.name for path in tmp_path.iterdir()] == [staged.file]


def test_the_sha256_is_that_of_the_rows_in_whatever_pieces(tmp_path: Path) -> None:
    rows = checked_rows("a", {"audio": 9000})
    first = write_staged(rows, tmp_path, KEY)
    assert first.sha256 == rows_sha256(rows.table)
    table = pa.concat_tables([rows.table.slice(0, 4000), rows.table.slice(4000)])
    assert write_staged(dataclasses.replace(rows, table=table), tmp_path, KEY) == first
    assert read_staged(tmp_path, first).equals(rows.table)


@pytest.mark.parametrize("options", OTHER_IPC.values(), ids=OTHER_IPC)
def test_the_same_rows_are_right_whatever_wrote_them(
    options: pa.ipc.IpcWriteOptions, tmp_path: Path
) -> None:
    rows = checked_rows("a", {"audio": 2, "visual-text": 3})
    staged = write_staged(rows, tmp_path, KEY)
    path = tmp_path / staged.file
    before = path.read_bytes()
    table = rows.table.replace_schema_metadata({"written by": "another version"})
    for rows_a_batch in (1, 5):
        assert written_otherwise(path, table, options, rows_a_batch) != before
        assert read_staged(tmp_path, staged).equals(rows.table)
        assert StagedFiles(tmp_path).is_right(staged.file, staged.sha256)


def test_a_file_that_an_earlier_version_named_by_its_bytes_is_right(tmp_path: Path) -> None:
    rows = checked_rows("a", {"audio": 2})
    staged = write_staged(rows, tmp_path, KEY)
    content = (tmp_path / staged.file).read_bytes()
    earlier = dataclasses.replace(staged, sha256=hashlib.sha256(content).hexdigest())
    assert earlier != staged
    assert read_staged(tmp_path, earlier).equals(rows.table)


def test_rows_of_another_retrieval_are_told(tmp_path: Path) -> None:
    staged = write_staged(checked_rows("a", {"audio": 2}), tmp_path, KEY)
    assert write_staged(checked_rows("b", {"audio": 2}), tmp_path, KEY).sha256 != staged.sha256
    with pytest.raises(StagedDamagedError, match="is damaged"):
        read_staged(tmp_path, staged)


def vector_at(path: Path) -> int:
    """Where the vectors of a staged file are."""
    content = path.read_bytes()
    return content.index(bytes(buffer_of(pa.ipc.open_file(content).read_all(), "embedding")))


def buffer_of(table: pa.Table, name: str) -> pa.Buffer:
    """The values of a column that is one piece."""
    chunk: Any = table[name].chunk(0)
    buffer: pa.Buffer = getattr(chunk, "values", chunk).buffers()[-1]
    return buffer


def flip(path: Path, bit: int) -> None:
    """Flip a bit of a file, in place."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (old,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([old ^ 1 << bit % 8]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [pa.ipc.IpcWriteOptions(), pa.ipc.IpcWriteOptions(compression="lz4")],
    ids=["plain", "compressed"],
)
def test_a_flipped_bit_is_found_or_changes_no_row(
    options: pa.ipc.IpcWriteOptions, tmp_path: Path
) -> None:
    rows = checked_rows("a", {"audio": 1, "visual-text": 2}, dimension=3)
    staged = write_staged(rows, tmp_path, KEY)
    path = tmp_path / staged.file
    content = written_otherwise(path, rows.table, options)
    found = 0
    for bit in range(len(content) * 8):
        flip(path, bit)
        try:
            assert read_staged(tmp_path, staged).equals(rows.table), bit
        except StagedDamagedError:
            found += 1
        flip(path, bit)
    assert path.read_bytes() == content
    assert found > len(content)


def test_every_flipped_bit_of_a_row_is_found(tmp_path: Path) -> None:
    rows = checked_rows("a", {"audio": 1, "visual-text": 2}, dimension=3)
    staged = write_staged(rows, tmp_path, KEY)
    path = tmp_path / staged.file
    content = path.read_bytes()
    for name in rows.table.column_names:
        buffer = buffer_of(rows.table, name)
        assert content.count(bytes(buffer)) == 1
        first = content.index(bytes(buffer))
        for bit in range(first * 8, (first + buffer.size) * 8):
            flip(path, bit)
            with pytest.raises(StagedDamagedError):
                read_staged(tmp_path, staged)
            flip(path, bit)


def test_a_file_that_was_cut_short_is_told(tmp_path: Path) -> None:
    staged = write_staged(checked_rows("a", {"audio": 2}), tmp_path, KEY)
    path = tmp_path / staged.file
    for size in reversed(range(path.stat().st_size)):
        os.truncate(path, size)
        with pytest.raises(StagedDamagedError):
            read_staged(tmp_path, staged)


NO_SEGMENTS = {
    "no columns": lambda table: table.select([]),
    "other columns": lambda table: table.rename_columns([*"abcd", "embedding"]),
    "other numbers": lambda table: table.set_column(
        2, "start_offset_sec", table["start_offset_sec"].cast(pa.float32())
    ),
    "nulls": lambda table: pa.table(
        [*table.columns[:2], pa.nulls(len(table), pa.float64()), *table.columns[3:]],
        schema=table.schema,
    ),
    "null in a vector": lambda table: pa.table(
        [
            *table.columns[:4],
            pa.FixedSizeListArray.from_arrays(
                pa.array([None] * 4 * len(table), pa.float32()),
                type=table.schema.field("embedding").type,
            ),
        ],
        schema=table.schema,
    ),
}


@pytest.mark.parametrize("change", NO_SEGMENTS.values(), ids=NO_SEGMENTS)
def test_arrow_that_is_no_rows_of_segments_is_told(
    change: Callable[[pa.Table], pa.Table], tmp_path: Path
) -> None:
    rows = checked_rows("a", {"audio": 2})
    staged = write_staged(rows, tmp_path, KEY)
    content = written_otherwise(tmp_path / staged.file, change(rows.table))
    told = dataclasses.replace(staged, sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(StagedDamagedError, match="has no rows of segments"):
        read_staged(tmp_path, told)


def test_a_damaged_staged_file_is_told(tmp_path: Path) -> None:
    staged = write_staged(checked_rows("a", {"audio": 2}), tmp_path, KEY)
    path = tmp_path / staged.file
    flip(path, vector_at(path) * 8)
    with pytest.raises(StagedDamagedError, match="is damaged"):
        read_staged(tmp_path, staged)


def test_a_missing_staged_file_is_told(tmp_path: Path) -> None:
    staged = write_staged(checked_rows("a", {"audio": 2}), tmp_path, KEY)
    (tmp_path / staged.file).unlink()
    with pytest.raises(StagedDamagedError, match="can't be read"):
        read_staged(tmp_path, staged)


def test_a_file_that_was_never_arrow_is_told(tmp_path: Path) -> None:
    staged = write_staged(checked_rows("a", {"audio": 2}), tmp_path, KEY)
    (tmp_path / staged.file).write_bytes(b"text")
    told = dataclasses.replace(staged, sha256=hashlib.sha256(b"text").hexdigest())
    with pytest.raises(StagedDamagedError, match="is no Arrow file"):
        read_staged(tmp_path, told)
    assert not StagedFiles(tmp_path).is_right(told.file, told.sha256)


@pytest.mark.parametrize("at", range(3))
def test_a_full_disk_leaves_the_staged_file_that_was_there(at: int, tmp_path: Path) -> None:
    staged = write_staged(checked_rows("a", {"audio": 2}), tmp_path, KEY)
    with pytest.raises(StorageError, match="No space left on device"):
        write_staged(
            checked_rows("b", {"audio": 2}),
            tmp_path,
            KEY,
            files=BreakingFiles(at, crash=False),
        )
    assert read_staged(tmp_path, staged).num_rows == 2


def test_a_disk_that_loses_some_of_it_is_found_out(tmp_path: Path) -> None:
    class LosingFiles(Files):
        def rename(self, old: Path, new: Path) -> None:
            old.write_bytes(old.read_bytes()[:-1])
            super().rename(old, new)

    staged = write_staged(checked_rows("a", {"audio": 2}), tmp_path, KEY, files=LosingFiles())
    with pytest.raises(StagedDamagedError, match="is no Arrow file"):
        read_staged(tmp_path, staged)


def test_a_file_that_changed_since_it_was_read_is_not_taken_for_right(tmp_path: Path) -> None:
    staged = write_staged(checked_rows("a", {"audio": 2}), tmp_path, KEY)
    files = StagedFiles(tmp_path)
    path = tmp_path / staged.file
    found = path.stat()
    assert files.read(staged).num_rows == 2
    assert files.is_right(staged.file, staged.sha256)
    assert not files.is_right(staged.file, "0" * 64)
    flip(path, vector_at(path) * 8)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert not files.is_right(staged.file, staged.sha256)
    with pytest.raises(StagedDamagedError, match="is damaged"):
        files.read(staged)


def test_a_staging_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert StagedFiles(tmp_path / "none").names() == frozenset()
    assert not StagedFiles(tmp_path / "none").is_right("a.arrow", "0" * 64)
