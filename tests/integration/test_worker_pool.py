"""Real processes, ended in every way that a process can end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from batchembed.engine.video.embed import Embedded, EmbedFailed, EmbedPlan
from batchembed.engine.workers.pool import Expected, PoolClosedError, WorkerPool
from batchembed.engine.workers.sandbox import offered
from tests.support import bad_worker
from tests.support.media import make_video, truncate

ROOT = Path(__file__).resolve().parents[2]
BAD = (sys.executable, "-P", "-m", "tests.support.bad_worker")
GOOD = EmbedPlan(clip_length_sec=2, scopes=("clip", "video"))
PATIENCE_S = 30.0


def _plan(clip_length_sec: float) -> EmbedPlan:
    return EmbedPlan(clip_length_sec=clip_length_sec, scopes=("clip",))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("videos")
    return str(make_video(folder / "a.mp4", seconds=4.2, audio=True))


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """Two workers, of which some videos make something else."""
    with WorkerPool(2, command=BAD) as pool:
        yield pool


def _submit(pool: WorkerPool, video: str, plan: EmbedPlan = GOOD) -> Future[Embedded]:
    return pool.submit(video, plan, deadline_s=PATIENCE_S)


def _failure(future: Future[Embedded]) -> EmbedFailed:
    error = future.exception(PATIENCE_S)
    assert isinstance(error, EmbedFailed)
    return error


def _held() -> tuple[int, int, str]:
    """Open descriptors, threads, and the ids of this process's children, zombies included."""
    children = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    open_now = len(list(Path("/proc/self/fd").iterdir()))
    return open_now, threading.active_count(), " ".join(sorted("".join(children).split()))


def _running(pid: int) -> bool:
    """Whether a process is there, zombies included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("clip_length_sec", "how"),
    [
        (bad_worker.SEGFAULT, "died by SIGSEGV while at work"),
        (bad_worker.KILLED, "died by SIGKILL while at work"),
        (bad_worker.MUTE, "ended with exit code 0"),
    ],
)
def test_a_crash_fails_its_own_video_and_no_other(
    pool: WorkerPool, video: str, clip_length_sec: float, how: str
) -> None:
    before = [_submit(pool, video) for _ in range(2)]
    crashed = _submit(pool, video, _plan(clip_length_sec))
    after = [_submit(pool, video) for _ in range(3)]
    failure = _failure(crashed)
    assert failure.reason.code == "worker_crashed"
    assert how in str(failure)
    results = [future.result(PATIENCE_S) for future in (*before, *after)]
    for result in results[1:]:
        np.testing.assert_array_equal(result.vectors, results[0].vectors)


def test_a_process_killed_from_outside_fails_only_what_it_was_doing(video: str) -> None:
    with WorkerPool(1, command=BAD) as pool:
        _submit(pool, video).result(PATIENCE_S)
        (pid,) = pool.pids()
        stuck = _submit(pool, video, _plan(bad_worker.STUCK))
        while not stuck.running():
            pass
        os.kill(pid, signal.SIGKILL)
        assert "died by SIGKILL" in str(_failure(stuck))
        assert _submit(pool, video).result(PATIENCE_S).segments
        assert pool.pids() != (pid,)


def test_a_process_that_died_idle_fails_no_video(video: str) -> None:
    with WorkerPool(1, command=BAD) as pool:
        _submit(pool, video).result(PATIENCE_S)
        (pid,) = pool.pids()
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert _submit(pool, video).result(PATIENCE_S).segments


def test_a_worker_that_does_not_answer_in_time_is_replaced(pool: WorkerPool, video: str) -> None:
    stuck = pool.submit(video, _plan(bad_worker.STUCK), deadline_s=0.2)
    failure = _failure(stuck)
    assert failure.reason.code == "worker_deadline"
    assert failure.reason.limit == 0.2
    assert _submit(pool, video).result(PATIENCE_S).segments


def test_too_much_memory_fails_the_video_and_names_the_limit(pool: WorkerPool, video: str) -> None:
    failure = _failure(_submit(pool, video, _plan(bad_worker.GREEDY)))
    assert failure.reason.code == "worker_memory"
    assert "1536 MiB" in str(failure)


def test_a_defect_is_an_answer_too(pool: WorkerPool, video: str) -> None:
    failure = _failure(_submit(pool, video, _plan(bad_worker.DEFECT)))
    assert failure.reason.code == "worker_error"
    assert "ValueError: an array is not as it should be" in str(failure)


def test_a_broken_video_fails_with_its_own_reason(pool: WorkerPool, tmp_path: Path) -> None:
    path = truncate(make_video(tmp_path / "a.mkv", seconds=8), 0.5)
    assert _failure(_submit(pool, str(path))).reason.code == "video_truncated"


def test_a_missing_file_fails_its_video(pool: WorkerPool, tmp_path: Path) -> None:
    assert _failure(_submit(pool, str(tmp_path / "no.mp4"))).reason.code == "video_file_missing"


def test_another_file_than_the_accepted_one_is_not_embedded(pool: WorkerPool, video: str) -> None:
    found = Path(video).stat()
    same = Expected(
        dev=found.st_dev,
        inode=found.st_ino,
        size_bytes=found.st_size,
        mtime_ns=found.st_mtime_ns,
    )
    older = Expected(dev=found.st_dev, inode=found.st_ino, size_bytes=found.st_size, mtime_ns=1)
    accepted = pool.submit(video, GOOD, deadline_s=PATIENCE_S, expect=same)
    refused = pool.submit(video, GOOD, deadline_s=PATIENCE_S, expect=older)
    assert accepted.result(PATIENCE_S).segments
    assert _failure(refused).reason.code == "video_file_changed"


def test_a_worker_that_cannot_start_says_why(video: str) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no model here')")
    with WorkerPool(1, command=command) as pool:
        failure = _failure(_submit(pool, video))
    assert failure.reason.code == "worker_crashed"
    assert "exit code 1" in str(failure)
    assert "while starting: no model here" in str(failure)


def test_a_worker_without_the_memory_to_start_says_so(video: str) -> None:
    with WorkerPool(1, memory_bytes=200 << 20) as pool:
        failure = _failure(_submit(pool, video))
    assert failure.reason.code == "worker_start"
    assert "a worker can't start" in str(failure)


def test_it_tells_how_its_workers_are_confined(pool: WorkerPool, video: str) -> None:
    assert pool.confinement is None
    _submit(pool, video).result(PATIENCE_S)
    assert pool.confinement == offered()


def test_a_command_that_does_not_exist_fails_the_video(video: str) -> None:
    with WorkerPool(1, command=("/nonexistent/python",)) as pool:
        assert _failure(_submit(pool, video)).reason.code == "worker_start"


def test_a_worker_that_died_by_a_signal_without_a_name_fails_its_video(video: str) -> None:
    command = (sys.executable, "-c", "import os; os.kill(os.getpid(), 40)")
    with WorkerPool(1, command=command) as pool:
        failures = [_failure(_submit(pool, video)) for _ in range(2)]
    assert ["died by signal 40 while starting" in str(each) for each in failures] == [True, True]


def test_an_unexpected_error_ends_its_future_and_not_its_slot(video: str) -> None:
    """No program's name has a NUL, which is found too late for an OSError."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with WorkerPool(1, command=("python\0",)) as pool:
        futures = [_submit(pool, video) for _ in range(2)]
        errors = [future.exception(PATIENCE_S) for future in futures]
    assert [type(error) for error in errors] == [ValueError, ValueError]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_unused_pool_has_no_threads_and_closes_at_once() -> None:
    before = threading.active_count()
    pool = WorkerPool(4, command=BAD)
    assert threading.active_count() == before
    pool.close()
    pool.close()


def test_a_process_that_leaves_an_unused_pool_open_ends() -> None:
    script = "from batchembed.engine.workers.pool import WorkerPool\npool = WorkerPool(2)\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0


def test_closing_ends_busy_workers_and_gives_back_what_was_queued(video: str) -> None:
    pool = WorkerPool(1, command=BAD)
    _submit(pool, video).result(PATIENCE_S)
    pids = pool.pids()
    futures = [_submit(pool, video, _plan(bad_worker.STUCK)) for _ in range(3)]
    while not futures[0].running():
        pass
    pool.close()
    assert all(isinstance(future.exception(0), PoolClosedError) for future in futures)
    assert not any(_running(pid) for pid in pids)
    with pytest.raises(PoolClosedError):
        _submit(pool, video)
    pool.close()


def test_a_cancelled_video_is_not_begun(video: str) -> None:
    with WorkerPool(1, command=BAD) as pool:
        stuck = pool.submit(video, _plan(bad_worker.STUCK), deadline_s=0.5)
        waiting = _submit(pool, video)
        assert waiting.cancel()
        last = _submit(pool, video)
        assert _failure(stuck).reason.code == "worker_deadline"
        assert last.result(PATIENCE_S).segments
    assert waiting.cancelled()


def test_nothing_is_left_open_or_running(video: str) -> None:
    with WorkerPool(1, command=BAD) as pool:  # whatever is imported or opened once
        _submit(pool, video).result(PATIENCE_S)
    before = _held()
    with WorkerPool(2, command=BAD) as pool:
        futures = [
            _submit(pool, video, _plan(clip_length_sec))
            for clip_length_sec in (bad_worker.SEGFAULT, 2.0, bad_worker.DEFECT, bad_worker.MUTE)
        ]
        for future in futures:
            future.exception(PATIENCE_S)
    assert _held() == before


def test_a_pool_without_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="0 workers"):
        WorkerPool(0)


def test_workers_die_with_their_parent(video: str) -> None:
    """Its only worker is busy when the parent is killed, so a closed socket would not be noticed."""
    script = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from batchembed.engine.video.embed import EmbedPlan\n"
        "from batchembed.engine.workers.pool import WorkerPool\n"
        f"pool = WorkerPool(1, command={BAD!r})\n"
        "plan = lambda length: EmbedPlan(clip_length_sec=length, scopes=('clip',))\n"
        f"pool.submit({video!r}, plan(2.0), deadline_s=60).result()\n"
        f"stuck = pool.submit({video!r}, plan({bad_worker.STUCK}), deadline_s=60)\n"
        "while not stuck.running(): pass\n"
        "print(pool.pids()[0], flush=True)\n"
        "stuck.result()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        descriptor = os.pidfd_open(pid)
        parent.kill()
    try:
        # Readable when the process has ended, whoever may reap it.
        readable, _, _ = select.select([descriptor], [], [], 10)
        assert readable == [descriptor]
    finally:
        os.close(descriptor)


@pytest.mark.slow
def test_one_worker_and_two_give_the_same_bits(tmp_path: Path) -> None:
    videos = [
        str(make_video(tmp_path / f"{seed}.mp4", seconds=4, audio=True, seed=seed))
        for seed in range(4)
    ]
    runs = []
    for workers in (1, 2):
        with WorkerPool(workers) as pool:
            futures = [_submit(pool, video) for video in videos]
            runs.append([future.result(PATIENCE_S).vectors for future in futures])
    for alone, together in zip(*runs, strict=True):
        assert alone.shape == (6, 1024)
        np.testing.assert_array_equal(alone, together)
