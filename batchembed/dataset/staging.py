"""The staged file of a job: checked rows on disk, waiting to be published.

It holds every row of the job, whatever options a video wants of it. Its bytes are a function of
the rows alone, so that its sha256 names them.
"""

from __future__ import annotations

from io import IOBase
from pathlib import Path
from typing import cast

import pyarrow as pa

from batchembed.core.model import JobKey
from batchembed.core.states import Staged
from batchembed.dataset.checks import BrokenAnswerError, check_rows
from batchembed.dataset.files import Files, sha256_of
from batchembed.dataset.rows import CheckedRows
from batchembed.errors import DatasetError, StorageError

__all__ = [
    "BrokenAnswerError",
    "StagedDamagedError",
    "check_rows",
    "read_staged",
    "staged_name",
    "write_staged",
]

_BATCH_ROWS = 8_192


class StagedDamagedError(DatasetError):
    """A staged file is missing, or not the one that was written: its rows must be fetched again."""


def staged_name(job_key: JobKey) -> str:
    """The name of a job's file in the staging folder."""
    return f"{job_key}.arrow"


def write_staged(
    rows: CheckedRows, folder: Path, job_key: JobKey, *, files: Files | None = None
) -> Staged:
    """Write rows to the staging folder; they are on disk when this returns.

    Raises:
        StorageError: they can't be written.
    """
    files = files or Files()
    final = folder / staged_name(job_key)
    temporary = folder / f"{final.name}.tmp"
    try:
        with (
            files.create(temporary) as file,
            pa.ipc.new_file(cast("IOBase", file), rows.table.schema) as writer,
        ):
            writer.write_table(rows.table, max_chunksize=_BATCH_ROWS)
        sha256 = sha256_of(temporary)
        files.rename(temporary, final)
        files.sync_folder(folder)
    except OSError as error:
        raise StorageError(
            f"{final} can't be written: {error}; what is committed stays, run again once it can"
        ) from error
    return Staged(file=final.name, rows=rows.rows, sha256=sha256)


def read_staged(folder: Path, staged: Staged) -> pa.Table:
    """The rows of a staged file, once its sha256 is seen to be right.

    Raises:
        StagedDamagedError: it is missing or damaged.
    """
    path = folder / staged.file
    try:
        found = sha256_of(path)
        if found != staged.sha256:
            raise StagedDamagedError(f"{path} is damaged: its rows are fetched again")
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()
    except OSError as error:
        raise StagedDamagedError(
            f"{path} can't be read: {error}; its rows are fetched again"
        ) from error
    except pa.ArrowInvalid as error:
        raise StagedDamagedError(f"{path} is no Arrow file: {error}") from error
