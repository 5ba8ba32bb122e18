"""Staged files on a real disk."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import pytest

from batchembed.core.model import JobKey
from batchembed.dataset.files import Files
from batchembed.dataset.staging import (
    StagedDamagedError,
    StagedFiles,
    read_staged,
    write_staged,
)
from batchembed.errors import StorageError
from tests.support.dataset import BreakingFiles, checked_rows

KEY = JobKey("a" * 64)


def test_staged_rows_are_read_back(tmp_path: Path) -> None:
    rows = checked_rows("a", {"visual-text": 3, "audio": 2})
    staged = write_staged(rows, tmp_path, KEY)
    assert staged.file == f"{KEY}.arrow"
    assert staged.rows == (("audio", 2), ("visual-text", 3))
    assert read_staged(tmp_path, staged).equals(rows.table)
    assert [path.name for path in tmp_path.iterdir()] == [staged.file]


def test_the_sha256_is_that_of_the_bytes_and_the_same_for_the_same_rows(tmp_path: Path) -> None:
    first = write_staged(checked_rows("a", {"audio": 9000}), tmp_path, KEY)
    content = (tmp_path / first.file).read_bytes()
    assert first.sha256 == hashlib.sha256(content).hexdigest()
    rows = checked_rows("a", {"audio": 9000})
    pieces = dataclasses.replace(rows, table=rows.table.slice(0, 9000))
    assert write_staged(pieces, tmp_path, KEY) == first


def test_a_damaged_staged_file_is_told(tmp_path: Path) -> None:
    staged = write_staged(checked_rows("a", {"audio": 2}), tmp_path, KEY)
    path = tmp_path / staged.file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
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
    with pytest.raises(StagedDamagedError, match="is damaged"):
        read_staged(tmp_path, staged)


def test_a_file_that_changed_since_it_was_read_is_not_taken_for_right(tmp_path: Path) -> None:
    staged = write_staged(checked_rows("a", {"audio": 2}), tmp_path, KEY)
    files = StagedFiles(tmp_path)
    path = tmp_path / staged.file
    found = path.stat()
    assert files.read(staged).num_rows == 2
    assert files.is_right(staged.file, staged.sha256)
    assert not files.is_right(staged.file, "0" * 64)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert not files.is_right(staged.file, staged.sha256)
    with pytest.raises(StagedDamagedError, match="is damaged"):
        files.read(staged)


def test_a_staging_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert StagedFiles(tmp_path / "none").names() == frozenset()
