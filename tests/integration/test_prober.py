"""Probing in processes of their own: the same answers, and reasons where a process ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from batchembed.core.model import Facts
from batchembed.core.problems import Reason
from batchembed.engine.workers import prober, worker
from batchembed.engine.workers.pool import PoolClosedError
from batchembed.engine.workers.prober import Prober
from batchembed.engine.workers.sandbox import offered
from batchembed.media.probe import probe, probe_file
from tests.support.media import make_video

BAD = (sys.executable, "-P", "-m", "tests.integration.test_prober")
PATIENCE_S = 30.0


def misbehave(file: BinaryIO, size_bytes: int) -> Facts:
    """Do to a file what its first word says, as a broken decoder would; probe any other."""
    asked = file.read(8)
    file.seek(0)
    match asked:
        case b"segfault":
            ctypes.string_at(0)
        case b"stuck...":
            signal.pause()
        case b"greedy..":
            bytearray(1 << 40)
        case b"unicode.":
            b"\xff".decode()
        case b"infinite":
            return facts_of(float("inf"))
        case _:
            pass
    return probe_file(file, size_bytes)


def facts_of(duration_sec: float) -> Facts:
    return Facts(
        width=640,
        height=360,
        aspect_ratio=16 / 9,
        rotation=0,
        duration_sec=duration_sec,
        size_bytes=1,
        frame_rate=None,
        format_name="avi",
        video_codec="h264",
        audio_codec=None,
    )


def _file(folder: Path, word: str) -> str:
    path = folder / word
    path.write_text(word)
    return str(path)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_video(tmp_path_factory.mktemp("videos") / "a.mp4", seconds=2, audio=True))


def test_the_facts_are_those_of_the_probe_in_this_process(tmp_path: Path) -> None:
    with Prober() as prober:
        for suffix in (".mp4", ".mkv", ".avi", ".ts", ".webm"):
            path = str(make_video(tmp_path / f"a{suffix}", seconds=1, audio=True))
            assert prober.probe(path) == probe(path)


def test_a_reason_costs_no_process(tmp_path: Path, video: str) -> None:
    with Prober() as prober:
        prober.probe(video)
        pids = prober.pids()
        text = _file(tmp_path, "this is no video")
        assert prober.probe(text) == probe(text)
        assert prober.probe(str(tmp_path / "no.mp4")) == probe(str(tmp_path / "no.mp4"))
        assert isinstance(prober.probe(video), Facts)
        assert prober.pids() == pids


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("segfault", "died by SIGSEGV"),
        ("stuck...", "ended after 0.5 s"),
        ("greedy..", "more memory than the 1536 MiB"),
        ("unicode.", "UnicodeDecodeError"),
        ("infinite", "not finite"),
    ],
)
def test_a_process_that_a_video_ends_says_that_the_video_is_broken(
    tmp_path: Path, video: str, word: str, words: str
) -> None:
    with Prober(1, deadline_s=0.5, command=BAD) as prober:
        assert isinstance(prober.probe(video), Facts)
        pids = prober.pids()
        reason = prober.probe(_file(tmp_path, word))
        assert isinstance(reason, Reason)
        assert reason.code == "video_file_broken"
        assert words in reason.message
        assert isinstance(prober.probe(video), Facts)
        assert prober.pids() != pids


def test_a_process_that_died_idle_costs_no_video_its_facts(video: str) -> None:
    with Prober(command=BAD) as prober:
        prober.probe(video)
        (pid,) = prober.pids()
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert isinstance(prober.probe(video), Facts)


def test_a_process_that_cannot_start_is_not_blamed_on_the_video(video: str) -> None:
    with Prober(command=("/nonexistent/python",)) as prober:
        reason = prober.probe(video)
    assert isinstance(reason, Reason)
    assert reason.code == "worker_start"
    with Prober(command=(sys.executable, "-c", "raise SystemExit('no codecs here')")) as prober:
        reason = prober.probe(video)
    assert isinstance(reason, Reason)
    assert (reason.code, "no codecs here" in reason.message) == ("worker_crashed", True)


def test_threads_share_it(video: str) -> None:
    with Prober(2) as prober, ThreadPoolExecutor(8) as threads:
        together = list(threads.map(prober.probe, [video] * 40))
        assert len(prober.pids()) == 2
    assert together == [probe(video)] * 40


def test_closing_ends_what_is_asked_and_what_waits(tmp_path: Path, video: str) -> None:
    stuck = _file(tmp_path, "stuck...")
    prober = Prober(1, command=BAD)
    prober.probe(video)
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(prober.probe, stuck) for _ in range(3)]
        while not all(future.running() for future in asked):
            pass
        prober.close()
        assert all(isinstance(future.exception(5), PoolClosedError) for future in asked)
    assert prober.pids() == ()
    with pytest.raises(PoolClosedError):
        prober.probe(video)
    prober.close()


def test_an_unused_one_starts_nothing() -> None:
    before = threading.active_count()
    with Prober() as prober:
        assert (prober.pids(), threading.active_count()) == ((), before)


def test_it_tells_how_its_processes_are_confined(video: str) -> None:
    with Prober() as prober:
        assert prober.confinement is None
        prober.probe(video)
        assert prober.confinement == offered()


def test_a_process_that_probes_carries_no_model(video: str) -> None:
    with Prober() as prober:
        prober.probe(video)
        maps = Path(f"/proc/{prober.pids()[0]}/maps").read_text()
    assert "libav" in maps
    assert "onnxruntime" not in maps


if __name__ == "__main__":
    raise SystemExit(worker.main(sys.argv[1:], lambda: prober.prober(misbehave)))
