"""What verifying a dataset takes, beside the bare hashing and reading of the same parts.

    python -m benchmarks.verify [--videos 200] [--rounds 3]

Each video has 500 vectors of 1,024 numbers, 2 MB: 1,000 videos are 2 GB. Beside it stand
`sha256sum` and, part by part, `read_table` with page checksums and all threads. The files are in
the page cache for both. Each pass is a process of its own. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from batchembed.dataset.folder import Folder
from batchembed.dataset.verification.verify import verify
from benchmarks.memory import peak_of
from benchmarks.publish import publish

TARGET_RATIO = 0.7
TARGET_PEAK_BYTES = 512 << 20


def verify_once(folder: Path) -> tuple[float, int]:
    """Seconds, and the peak of memory above what was there before."""

    def work() -> float:
        begin = time.perf_counter()
        found = verify(Folder(folder), lambda _done, _total: None).verification
        if found.findings:
            raise AssertionError(found.findings)
        return time.perf_counter() - begin

    return peak_of(work)


def read_bare(folder: Path) -> float:
    """Seconds to hash the parts and to read them, one after the other."""
    parts = sorted(folder.rglob("*.parquet"))
    begin = time.perf_counter()
    subprocess.run(["sha256sum", *parts], check=True, stdout=subprocess.DEVNULL)  # noqa: S607  the one that there is
    for part in parts:
        pq.read_table(part, page_checksum_verification=True, partitioning=None)
    return time.perf_counter() - begin


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verify")
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(argv)
    ours, beside, peaks = [], [], []
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        with spawn.Pool(1, maxtasksperchild=1) as process:
            process.apply(publish, (Path(name), asked.videos))
        folder = Path(name) / "out"
        megabytes = sum(part.stat().st_size for part in folder.rglob("*.parquet")) / 1e6
        with spawn.Pool(1, maxtasksperchild=1) as process:
            process.apply(read_bare, (folder,))  # into the page cache
            for _ in range(asked.rounds):
                seconds, peak = process.apply(verify_once, (folder,))
                ours.append(seconds)
                peaks.append(peak)
                beside.append(process.apply(read_bare, (folder,)))
    ratio = statistics.median(bare / own for own, bare in zip(ours, beside, strict=True))
    print(
        f"{megabytes:.0f} MB of parts verified: {megabytes / statistics.median(ours):.0f} MB/s; bare "
        f"{megabytes / statistics.median(beside):.0f} MB/s, ratio {ratio:.2f}; peak memory "
        f"{max(peaks) / 1e6:.0f} MB above what was there before"
    )
    return int(ratio < TARGET_RATIO or max(peaks) > TARGET_PEAK_BYTES)


if __name__ == "__main__":
    sys.exit(main())
