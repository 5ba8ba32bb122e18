"""How near the pool of workers comes to what the machine can do, and whether memory stays flat.

    python benchmarks/engine.py [FOLDER]

Embeds eight videos, from a folder or made for it, with two workers, and compares the wall time with
the largest of three floors measured beside it by the same libraries: decoding alone, inference
alone (two processes each), and half of the processor time of both together. Then it compares the
peak memory of a worker after a video of 30 s and after one of 10 min.

Exit code 1 where a ratio is above its target.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from batchembed.core.problems import Reason
from batchembed.core.segments import cut, window
from batchembed.engine.encoders.local_v1.encoder import LocalV1
from batchembed.engine.video.embed import EmbedPlan
from batchembed.engine.video.frames import sample_times
from batchembed.engine.workers.pool import WorkerPool
from batchembed.media.container import audio_stream, open_container, video_stream
from batchembed.media.probe import probe
from tests.support.media import make_video

WORKERS = 2
VIDEOS = 8
#: Of the pool's times the best counts: what else runs on the machine only adds to them.
REPEATS = 3
SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".webm"})
WARM_UP = EmbedPlan(clip_length_sec=2, scopes=("clip",), start_offset_sec=0, end_offset_sec=2)
PLAN = EmbedPlan(clip_length_sec=6, scopes=("clip", "video"))
LARGEST_TIME_RATIO = 1.25
LARGEST_MEMORY_RATIO = 1.20
DEADLINE_S = 3600.0


def decode_only(path: str) -> None:
    """Decode every packet, on one thread, and look at nothing."""
    with Path(path).open("rb") as file, open_container(file) as container:
        video = video_stream(container)
        video.thread_type, video.codec_context.thread_count = "NONE", 1
        streams = [stream for stream in (video, audio_stream(container)) if stream is not None]
        for packet in container.demux(streams):
            packet.decode()


def frames_of(path: str, encoder: LocalV1) -> list[NDArray[np.uint8]]:
    """Empty frames, as many and as large as each segment of the video would give."""
    facts = probe(path)
    if isinstance(facts, Reason):
        raise SystemExit(f"{path}: {facts.message}")
    width, height = encoder.frame_size(facts.aspect_ratio)
    spans = cut(window(facts.duration_sec, None, None), PLAN.clip_length_sec)
    counts = [len(sample_times(span, encoder.frames_per_second)) for span in spans]
    return [np.zeros((count, height, width, 3), np.uint8) for count in counts]


def part(name: str, path: str) -> None:
    """One measurement in a process of its own: prints wall and processor seconds.

    Imports and first allocations are done before, since a pool does them once and not each time.
    """
    encoder = LocalV1()
    segments = frames_of(path, encoder)
    encoder.frame_features(segments[0])
    started, used = time.perf_counter(), time.process_time()
    if name == "decode":
        decode_only(path)
    else:
        for frames in segments:
            encoder.frame_features(frames)
    print(f"{time.perf_counter() - started:.4f} {time.process_time() - used:.4f}")


def floor(name: str, paths: Sequence[str]) -> tuple[float, float]:
    """Wall and processor seconds of one part over all videos, as two processes would share them."""

    def measure(path: str) -> tuple[float, float]:
        command = [sys.executable, __file__, f"--part={name}", path]
        words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        return float(words[0]), float(words[1])

    with ThreadPoolExecutor(WORKERS) as threads:
        measured = list(threads.map(measure, paths))
    return sum(wall for wall, _ in measured) / WORKERS, sum(cpu for _, cpu in measured)


def pool_seconds(paths: Sequence[str]) -> tuple[float, float]:
    """Seconds until two workers have started, and then wall seconds of the pool over all videos.

    The floors leave out imports and first allocations too: like is compared with like.
    """
    with WorkerPool(WORKERS) as pool:
        started = time.perf_counter()
        warming = [pool.submit(paths[0], WARM_UP, deadline_s=DEADLINE_S) for _ in range(WORKERS)]
        for future in warming:
            future.result()
        warm = time.perf_counter()
        for future in [pool.submit(path, PLAN, deadline_s=DEADLINE_S) for path in paths]:
            future.result()
        return warm - started, time.perf_counter() - warm


def peak_megabytes(path: str) -> float:
    """Peak resident memory of a worker that embeds this one video."""
    with WorkerPool(1) as pool:
        pool.submit(path, PLAN, deadline_s=DEADLINE_S).result()
        status = Path(f"/proc/{pool.pids()[0]}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def compare_times(paths: Sequence[str]) -> float:
    """Print the pool's time beside the floors; return the ratio to the largest."""
    decode_wall, decode_cpu = floor("decode", paths)
    infer_wall, infer_cpu = floor("infer", paths)
    shared = (decode_cpu + infer_cpu) / 2
    start, took = min((pool_seconds(paths) for _ in range(REPEATS)), key=lambda times: times[1])
    ratio = took / max(decode_wall, infer_wall, shared)
    print(
        f"decode only            {decode_wall:8.2f} s\n"
        f"inference only         {infer_wall:8.2f} s\n"
        f"half of their CPU      {shared:8.2f} s\n"
        f"pool of {WORKERS}              {took:8.2f} s\n"
        f"start of its workers   {start:8.2f} s  (not in the ratio, nor in the floors)\n"
        f"time ratio             {ratio:8.2f}    (at most {LARGEST_TIME_RATIO})"
    )
    return ratio


def compare_memory(folder: Path) -> float:
    """Print a worker's peak memory for a short and a long video; return the ratio."""
    short, long = (
        peak_megabytes(str(make_video(folder / f"{seconds}s.mp4", seconds=seconds, audio=True)))
        for seconds in (30, 600)
    )
    print(
        f"worker's peak, 30 s    {short:8.1f} MB\n"
        f"worker's peak, 10 min  {long:8.1f} MB\n"
        f"memory ratio           {long / short:8.2f}    (at most {LARGEST_MEMORY_RATIO})"
    )
    return long / short


def given(folder: Path) -> list[Path]:
    """Eight videos of a folder, some of them again where it has fewer."""
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not found:
        raise SystemExit(f"{folder} has no video")
    return [found[i % len(found)] for i in range(VIDEOS)]


def made(folder: Path) -> list[Path]:
    """Eight videos of 10 to 45 s."""
    return [
        make_video(
            folder / f"{i}.mp4",
            width=1280,
            height=720,
            seconds=10 + 5 * i,
            fps=25,
            audio=True,
            seed=i,
        )
        for i in range(VIDEOS)
    ]


def main(argv: Sequence[str]) -> int:
    if argv and argv[0].startswith("--part="):
        part(argv[0].removeprefix("--part="), argv[1])
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = given(Path(argv[0])) if argv else made(folder)
        longest_first = sorted(map(str, videos), key=lambda path: -Path(path).stat().st_size)
        times, memory = compare_times(longest_first), compare_memory(folder)
    return 0 if times <= LARGEST_TIME_RATIO and memory <= LARGEST_MEMORY_RATIO else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
