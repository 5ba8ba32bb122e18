"""What publishing a dataset takes, beside the bare writing and reading of the same parts.

    python -m benchmarks.publish [--videos 100] [--rounds 3]

Each video has 500 vectors of 1,024 numbers, 2 MB; they wait in staging, as a run leaves them, for
one group after the other. Beside it stands, with the tables in memory already, `write_table` with
the same encoding, fsync, sha256 and `read_table` with page checksums. Each pass is a process of its
own. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from batchembed.core.model import JobKey, VideoId
from batchembed.dataset.folder import Folder
from batchembed.dataset.parts import part_writer
from batchembed.dataset.publish import Dataset, DatasetIdentity
from batchembed.dataset.record import RowSpec
from batchembed.dataset.row_group import ROW_GROUP_ROWS
from batchembed.dataset.rows import CheckedRows, rows_table
from batchembed.dataset.schema import dataset_schema
from batchembed.dataset.staging import write_staged
from benchmarks.memory import peak_of

TARGET_RATIO = 0.8
TARGET_PEAK_BYTES = 512 << 20
_DIMENSION = 1024
_OPTIONS = ("audio", "visual-text")
_ROWS = 250  #: of each option
_MODEL = "local-v1"


def stage(staging: Path, videos: int) -> list[RowSpec]:
    """So many videos as a run stages them."""
    staging.mkdir()
    drawn = np.random.default_rng(0)
    return [_staged(staging, f"video-{number:06d}", drawn) for number in range(videos)]


def _staged(staging: Path, video_id: str, drawn: np.random.Generator) -> RowSpec:
    vectors = drawn.standard_normal((2 * _ROWS, _DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    starts = np.tile(np.arange(_ROWS) * 6.0, 2)
    table = rows_table(
        [option for option in _OPTIONS for _ in range(_ROWS)],
        ["clip"] * len(vectors),
        starts,
        starts + 6.0,
        vectors,
    )
    key = JobKey(hashlib.sha256(video_id.encode()).hexdigest())
    staged = write_staged(CheckedRows(table=table, warnings=()), staging, key)
    return RowSpec(
        video_id=VideoId(video_id),
        source=f"videos/{video_id}.mp4",
        source_sha256=key,
        job_key=key,
        rows_sha256=staged.sha256,
        rows=staged.rows,
        options=None,
        duration_sec=6.0 * _ROWS,
        width=1280,
        height=720,
        metadata={},
    )


def publish(folder: Path, videos: int) -> tuple[float, int]:
    """Publish them once. Seconds, and the peak of memory above what was there before."""
    specs = stage(folder / "staging", videos)
    os.sync()  # what was staged is not to be written out in the middle of it
    identity = DatasetIdentity(model_name=_MODEL, dimension=_DIMENSION, engine={})
    dataset = Dataset.open_or_create(
        Folder(folder / "out"), identity=identity, new_id=lambda: "0" * 32
    )
    schema = dataset_schema([], ["embedding_option"], _DIMENSION, normalised=True)

    def work() -> float:
        begin = time.perf_counter()
        dataset.publish(specs, (), schema=schema, staging=folder / "staging", side_files={})
        return time.perf_counter() - begin

    return peak_of(work)


def write_bare(folder: Path) -> float:
    """Seconds to write the dataset's parts again, one table after the other, and to read them back."""
    total = 0.0
    for part in sorted((folder / "out").rglob("*.parquet")):
        table = pq.read_table(part, partitioning=None)
        copy = folder / "copy.parquet"
        begin = time.perf_counter()
        with copy.open("wb") as file:
            with part_writer(file, table.schema) as writer:
                writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            file.flush()
            os.fsync(file.fileno())
        with copy.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        pq.read_table(copy, page_checksum_verification=True, partitioning=None)
        total += time.perf_counter() - begin
        copy.unlink()
    return total


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish")
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(argv)
    megabytes = asked.videos * 2 * _ROWS * _DIMENSION * 4 / 1e6
    rates, beside, peaks = [], [], []
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            spawn = multiprocessing.get_context("spawn")
            with spawn.Pool(1, maxtasksperchild=1) as process:
                seconds, peak = process.apply(publish, (folder, asked.videos))
                shutil.rmtree(folder / "staging")
                beside.append(megabytes / process.apply(write_bare, (folder,)))
        rates.append(megabytes / seconds)
        peaks.append(peak)
    ratio = statistics.median(ours / bare for ours, bare in zip(rates, beside, strict=True))
    print(
        f"{megabytes:.0f} MB of vectors published: {statistics.median(rates):.0f} MB/s; bare "
        f"{statistics.median(beside):.0f} MB/s, ratio {ratio:.2f}; peak memory "
        f"{max(peaks) / 1e6:.0f} MB above what was there before"
    )
    return int(ratio < TARGET_RATIO or max(peaks) > TARGET_PEAK_BYTES)


if __name__ == "__main__":
    sys.exit(main())
