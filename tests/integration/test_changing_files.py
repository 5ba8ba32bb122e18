"""Files that change at any moment between the first look and the end of their upload.

The real loop, client and ledger against a service in memory; see `tests/stateful`. What is filed
under a sha256 is of those bytes, whatever happened to the file, and no pipe is waited for.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.observe import Observer
from batchembed.api.retry import RetryPolicy
from batchembed.core.keys import job_key
from batchembed.core.model import Content, Facts, FileSource
from batchembed.core.outcome import Outcome
from batchembed.errors import ExitCode
from batchembed.media.identity import identify, sha256_file
from batchembed.runner import survey
from batchembed.store.ledger import KnownFile
from tests.stateful.bench import Bench, FileVideo
from tests.stateful.service import Fate, ModelService, vector_of
from tests.stateful.transport import ModelTransport
from tests.support.media import make_video

#: Its upload has several chunks.
PADDING_BYTES = 2 << 20
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A legal video of 10 s, with a box at its end that every reader skips."""
    path = make_video(tmp_path_factory.mktemp("film") / "a.mp4", seconds=10.0, fps=2)
    return path.read_bytes() + (8 + PADDING_BYTES).to_bytes(4) + b"free" + bytes(PADDING_BYTES)


class HungError(Exception):
    """Something waited for a pipe."""


@pytest.fixture(autouse=True)
def never_hangs() -> Iterator[None]:
    """End whatever waits for a pipe that nobody writes to."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise HungError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@contextlib.asynccontextmanager
async def connected(service: ModelService, observer: Observer) -> AsyncIterator[AsyncTasksClient]:
    async with AsyncTasksClient(
        base_url="http://service.example/v1.3",
        transport=ModelTransport(service),
        retry=RetryPolicy(repeat_limited_creates=False),
        observer=observer,
    ) as client:
        yield client


def bench_of(folder: Path, film: bytes) -> Bench:
    bench = Bench(folder=folder, connect=connected, reads=True)
    bench.put(0, FileVideo(content=film))
    return bench


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\x00\x00\x00\x08free")


def shrink(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - (PADDING_BYTES >> 1))


def rewrite(path: Path) -> None:
    """Other bytes, as many."""
    with path.open("r+b") as file:
        file.seek(-9, os.SEEK_END)
        file.write(b"rewritten")


def replace(path: Path) -> None:
    """Another file of this name, as long, and as old."""
    content, found = path.read_bytes(), path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(content[:-8] + b"replaced")
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(path)


def remove(path: Path) -> None:
    path.unlink()


def swap_for_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def swap_for_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    path.with_suffix(".link").hardlink_to(path)


def touch(path: Path) -> None:
    os.utime(path, (1, 1))


CHANGES: tuple[Change, ...] = (grow, shrink, rewrite, replace)
SAME: tuple[Change, ...] = (link, touch)


def misfiled(bench: Bench) -> list[str]:
    """Videos whose rows are of other bytes than their `source_sha256` says."""
    return [
        spec.video_id
        for spec in bench.dataset.specs()
        if bench.dataset.vectors[spec.job_key, spec.rows_sha256]
        != vector_of(spec.source_sha256 or "", None, None)
    ]


def unwanted(bench: Bench) -> list[str]:
    """Tasks of other bytes than their create was meant for."""
    parameters = bench.manifest().videos[0].parameters
    return [
        task.task_id
        for task in bench.service.tasks
        if job_key(Content(kind="sha256", digest=task.content), parameters)[:16]
        not in (task.name or "")
    ]


def moments_of(folder: Path, film: bytes) -> tuple[int, int, int]:
    """Of a run without a change: when its upload begins and ends, and when its task is known."""
    bench = bench_of(folder, film)
    bench.run()
    ((began, ended),) = bench.service.received
    return began, ended, ended + 6


def changed(folder: Path, film: bytes, change: Change, moment: int) -> Bench:
    """A bench whose first run met a change at this moment."""
    bench = bench_of(folder / f"{change.__name__}-{moment}", film)
    report = bench.run(events={moment: lambda: change(bench.path(0))})
    assert report is not None
    assert report.halted is None
    return bench


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_before_it_is_sent_is_not_paid_for(
    tmp_path: Path, film: bytes, change: Change
) -> None:
    began, _, _ = moments_of(tmp_path / "without", film)
    for moment in range(1, began + 1):
        bench = changed(tmp_path, film, change, moment)

        assert (moment, unwanted(bench)) == (moment, [])
        assert (moment, misfiled(bench)) == (moment, [])
        again = bench.run()
        assert again is not None
        assert (moment, again.exit_code) == (moment, ExitCode.OK)
        assert misfiled(bench) == []


@pytest.mark.parametrize("times", [1, 5], ids=["once", "again and again"])
def test_a_file_that_is_another_once_it_is_hashed_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Else the rows of other bytes could be published with its facts."""
    path, left = make_video(tmp_path / "a.mp4", seconds=5.0, fps=2), times
    calls: list[str] = []

    def sha256(name: str) -> str:
        nonlocal left
        calls.append(name)
        if left:
            left -= 1
            make_video(path, seconds=10.0 + left, fps=2)
        return sha256_file(name)

    monkeypatch.setattr(survey, "sha256_file", sha256)
    source = FileSource(path=str(path), shown="a.mp4")
    read = survey.read_file(source, None, hashed=True)

    assert isinstance(read, KnownFile)
    assert isinstance(read.facts, Facts)
    assert len(calls) == 2
    is_settled = read.identity == identify(str(path))
    assert is_settled == (times == 1)
    assert not is_settled or (read.facts.duration_sec, read.sha256) == (10, sha256_file(str(path)))


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_while_it_is_sent_is_never_filed_under_its_sha256(
    tmp_path: Path, film: bytes, change: Change
) -> None:
    began, ended, known = moments_of(tmp_path / "without", film)
    for moment in range(began + 1, known + 1):
        bench = changed(tmp_path, film, change, moment)

        assert (moment, misfiled(bench)) == (moment, [])
        assert moment > ended or len(bench.service.tasks) <= 1
        bench.run(retry="failed")
        assert (moment, misfiled(bench)) == (moment, [])


@pytest.mark.parametrize(("change", "became"), [(rewrite, "task"), (shrink, "no task was made")])
def test_what_changed_while_it_was_sent_is_named_as_it_is_called_here(
    tmp_path: Path, film: bytes, change: Change, became: str
) -> None:
    began, _, _ = moments_of(tmp_path / "without", film)
    bench = bench_of(tmp_path / "changed", film)

    report = bench.run(events={began + 2: lambda: change(bench.path(0))})

    assert report is not None
    ((reason,),) = (video.reasons for video in report.videos)
    told = f"{bench.path(0)} changed while it was uploaded: {became}"
    assert reason.message.startswith(told)


@pytest.mark.parametrize(
    "change",
    [
        remove,
        swap_for_a_pipe,
        swap_for_a_folder,
    ],
)
def test_what_is_no_file_any_more_is_neither_waited_for_nor_the_end_of_the_run(
    tmp_path: Path, film: bytes, change: Change
) -> None:
    _, _, known = moments_of(tmp_path / "without", film)
    for moment in range(1, known + 1):
        bench = changed(tmp_path, film, change, moment)

        assert (moment, misfiled(bench)) == (moment, [])
        assert (moment, unwanted(bench)) == (moment, [])
        again = bench.run()
        assert again is not None
        assert again.videos[0].outcome in {Outcome.REJECTED, Outcome.COMMITTED}


@pytest.mark.parametrize("change", SAME)
def test_a_file_whose_bytes_stay_is_paid_for_once(
    tmp_path: Path, film: bytes, change: Change
) -> None:
    _, _, known = moments_of(tmp_path / "without", film)
    for moment in range(1, known + 1):
        bench = changed(tmp_path, film, change, moment)
        again = bench.run(retry="failed")

        assert again is not None
        assert (moment, again.exit_code) == (moment, ExitCode.OK)
        assert (moment, len(bench.service.tasks)) == (moment, 1)


@pytest.mark.parametrize(
    "change",
    [
        grow,
        shrink,
        rewrite,
        replace,
    ],
)
def test_what_changes_while_an_answer_is_lost_is_never_filed_under_its_sha256(
    tmp_path: Path, film: bytes, change: Change
) -> None:
    began, _, known = moments_of(tmp_path / "without", film)
    for moment in range(began + 1, known + 1):
        bench = bench_of(tmp_path / f"{moment}", film)
        bench.service.fates.append(Fate(answer="lost after"))
        bench.run(events={moment: lambda: change(bench.path(0))})  # noqa: B023  it is run at once

        assert (moment, misfiled(bench)) == (moment, [])
