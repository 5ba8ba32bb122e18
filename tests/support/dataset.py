"""Builders of staged rows and datasets, and file systems that break, for tests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from batchembed.core.model import JobKey, VideoId
from batchembed.core.problems import Scalar
from batchembed.dataset.files import Files
from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import Dataset, DatasetIdentity, Published, RowSpec
from batchembed.dataset.rows import CheckedRows, rows_table
from batchembed.dataset.schema import DatasetSchema, dataset_schema
from batchembed.dataset.staging import write_staged

DIMENSION = 4
PARTITION_BY = ("model_name", "embedding_option", "embedding_scope")
IDENTITY = DatasetIdentity(model_name="local-v1", dimension=DIMENSION, engine={"pyav": "18"})


def checked_rows(seed: str, rows: Mapping[str, int], *, dimension: int = DIMENSION) -> CheckedRows:
    """Clips of 2 s, with unit vectors that are a function of `seed`."""
    count = sum(rows.values())
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    vectors = np.random.default_rng(start).standard_normal((count, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    starts = np.concatenate([np.arange(rows[option]) * 2.0 for option in sorted(rows)])
    options = [option for option in sorted(rows) for _ in range(rows[option])]
    table = rows_table(options, ["clip"] * count, starts, starts + 2.0, vectors)
    return CheckedRows(table=table, warnings=())


def stage(
    staging: Path,
    video_id: str,
    *,
    rows: Mapping[str, int] | None = None,
    options: tuple[str, ...] | None = None,
    metadata: Mapping[str, Scalar] | None = None,
    job: str | None = None,
) -> RowSpec:
    """Stage the rows of a video's job, and say how to publish them."""
    key = JobKey(hashlib.sha256((job or video_id).encode()).hexdigest())
    found = checked_rows(job or video_id, rows or {"audio": 2, "visual-text": 3})
    staged = write_staged(found, staging, key)
    return RowSpec(
        video_id=VideoId(video_id),
        source=f"videos/{video_id}.mp4",
        source_sha256=hashlib.sha256(b"bytes").hexdigest(),
        job_key=key,
        rows_sha256=staged.sha256,
        rows=staged.rows,
        options=options,
        duration_sec=6.0,
        width=640,
        height=360,
        metadata=metadata or {},
    )


def open_here(root: Path, *, files: Files | None = None) -> Dataset:
    """The dataset in `root`, as a run opens it."""
    dataset = Dataset.open_or_create(
        Folder(root, files), identity=IDENTITY, new_id=lambda: "d" * 32
    )
    dataset.finish_interrupted(root.parent / "staging")
    return dataset


def schema_of(
    specs: Sequence[RowSpec], partition_by: Sequence[str] = PARTITION_BY
) -> DatasetSchema:
    return dataset_schema(
        [spec.metadata for spec in specs], partition_by, DIMENSION, normalised=True
    )


def publish(
    dataset: Dataset,
    staging: Path,
    listed: Sequence[RowSpec],
    kept: Sequence[RowSpec] = (),
    *,
    partition_by: Sequence[str] = PARTITION_BY,
    side_files: Mapping[str, bytes] | None = None,
) -> Published:
    return dataset.publish(
        listed,
        kept,
        schema=schema_of(listed, partition_by),
        staging=staging,
        side_files={"videos.jsonl": b"{}\n"} if side_files is None else side_files,
    )


def parts_on_disk(root: Path) -> dict[str, bytes]:
    """Every Parquet file below `root`, by its path there."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.parquet")
    }


class CrashError(BaseException):
    """The process is killed."""


class BreakingFiles(Files):
    """Breaks at the n-th operation that changes a disk, counted from 0.

    A crash leaves what was written so far (half a file, where it was writing), and nothing can be
    done after it. A disk error is told as an OSError, once.
    """

    def __init__(self, at: int, *, crash: bool) -> None:
        self._at = at
        self._crash = crash
        self.operations = 0

    @property
    def broke(self) -> bool:
        return self.operations > self._at

    def _step(self) -> None:
        self.operations += 1
        if self._crash and self.broke:
            raise CrashError
        if self.operations == self._at + 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    @contextlib.contextmanager
    def create(self, path: Path) -> Iterator[BinaryIO]:
        self._step()
        with super().create(path) as file:
            yield file

    def write(self, path: Path, content: bytes) -> None:
        with self.create(path) as file:
            file.write(content[: len(content) // 2])
            self._step()
            file.write(content[len(content) // 2 :])

    def sync(self, file: BinaryIO) -> None:
        self._step()

    def sync_folder(self, path: Path) -> None:
        self._step()

    def make_folder(self, path: Path) -> None:
        self._step()
        super().make_folder(path)

    def rename(self, old: Path, new: Path) -> None:
        self._step()
        super().rename(old, new)

    def link(self, old: Path, new: Path) -> None:
        self._step()
        super().link(old, new)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)

    def remove_folder(self, path: Path) -> None:
        self._step()
        super().remove_folder(path)
