"""What uploading 1 GB to a loopback server costs, beside `curl -F` doing the same.

    python -m benchmarks.upload [MEGABYTES]

CPU is user and system time of the upload alone, so of curl's whole process; memory is what it adds
to the idle process. Each is run three times in turn, and the medians are compared. Exit code 1 if a
target is missed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import twelvelabs

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.tasks_client import TasksClient
from benchmarks.loopback import serving
from benchmarks.memory import peak_of

TARGET_RATIO = 1.5
TARGET_PEAK_BYTES = 64 << 20
_ROUNDS = 3
_MODEL = "Marengo-retrieval-2.7"


def with_tasks_client(base_url: str, path: str) -> None:
    """Ours, for threads."""
    with TasksClient(base_url=base_url) as client:
        client.create(model_name=_MODEL, video_file=path)


def with_async_tasks_client(base_url: str, path: str) -> None:
    """Ours, in an event loop."""

    async def upload() -> None:
        async with AsyncTasksClient(base_url=base_url) as client:
            await client.create(model_name=_MODEL, video_file=path)

    asyncio.run(upload())


def with_the_sdk(base_url: str, path: str) -> None:
    """The official SDK's."""
    client = twelvelabs.TwelveLabs(api_key="any", base_url=base_url)
    with Path(path).open("rb") as file:
        client.embed.tasks.create(model_name=_MODEL, video_file=file)


def with_the_async_sdk(base_url: str, path: str) -> None:
    """The official SDK's, in an event loop."""

    async def upload() -> None:
        client = twelvelabs.AsyncTwelveLabs(api_key="any", base_url=base_url)
        with Path(path).open("rb") as file:  # noqa: ASYNC230  as its users do
            await client.embed.tasks.create(model_name=_MODEL, video_file=file)

    asyncio.run(upload())


def cost(
    work: Callable[[str, str], None], base_url: str, small: str, path: str
) -> tuple[float, int]:
    """CPU seconds and peak of added memory of one upload, in this process, which did a small one."""
    work(base_url, small)
    before = _cpu_s(resource.RUSAGE_SELF)
    _, peak = peak_of(lambda: work(base_url, path))
    return _cpu_s(resource.RUSAGE_SELF) - before, peak


def curl_cpu_s(base_url: str, path: str) -> float:
    """CPU seconds of curl."""
    before = _cpu_s(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [
            shutil.which("curl") or "curl",
            *("--silent", "--show-error", "--fail", "--output", "/dev/null"),
            *("-F", f"model_name={_MODEL}", "-F", f"video_file=@{path}"),
            f"{base_url}/embed/tasks",
        ],
        check=True,
    )
    return _cpu_s(resource.RUSAGE_CHILDREN) - before


def _cpu_s(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def main(megabytes: int) -> int:
    """Print the figures; 1 if a target is missed."""
    ours = (with_tasks_client, with_async_tasks_client)
    ways = (*ours, with_the_sdk, with_the_async_sdk)
    curl: list[float] = []
    costs: dict[str, list[tuple[float, int]]] = {way.__name__: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder, serving() as base_url:
        small, large = Path(folder) / "small.mp4", Path(folder) / "large.mp4"
        small.write_bytes(b"film")
        with large.open("wb") as file:
            file.truncate(megabytes * 1_000_000)
        for _ in range(_ROUNDS):
            curl.append(curl_cpu_s(base_url, str(large)))
            for way in ways:
                with multiprocessing.get_context("spawn").Pool(1) as process:
                    arguments = (way, base_url, str(small), str(large))
                    costs[way.__name__].append(process.apply(cost, arguments))
    beside = statistics.median(curl)
    print(f"{megabytes} MB: curl -F takes {beside:.2f} s of CPU")
    missed = False
    for name, found in costs.items():
        cpu_s = statistics.median(cpu_s for cpu_s, _ in found)
        peak = max(peak for _, peak in found)
        print(f"{name}: {cpu_s:.2f} s, {cpu_s / beside:.2f} times; {peak >> 20} MiB above idle")
        if name in {way.__name__ for way in ours}:
            missed |= cpu_s > TARGET_RATIO * beside or peak > TARGET_PEAK_BYTES
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
