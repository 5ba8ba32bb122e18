"""A run that is told to stop reads no further file: the next run reads what this one left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.models import TasksCreateResponse
from batchembed.core.model import ReadSource, address
from batchembed.core.outcome import Outcome
from batchembed.core.problems import Reason
from batchembed.core.run_report import RunReport
from batchembed.errors import AuthenticationError, ExitCode
from batchembed.manifest.resolve import read_manifest
from batchembed.media.limits import profile
from batchembed.runner import survey
from batchembed.runner.listen import Event, Moved, Warned
from batchembed.runner.stopping import Stop, StoppedError
from batchembed.runner.survey import Surveyed, Surveyor, read_source
from batchembed.store.ledger import KnownFile
from tests.support.media import make_video
from tests.support.runs import Bench, Heard

FILMS = ("a", "b", "c", "d", "e", "f")
#: A run that never tells what is waited for would else hang the tests.
TOO_LONG_S = 60.0


@dataclass(kw_only=True)
class Reader:
    """Reads files as a run does, and holds the second that is hashed until it is let go."""

    goes_on: threading.Event = field(default_factory=threading.Event)
    hashed: list[str] = field(default_factory=list)

    def read(
        self, source: ReadSource, known: KnownFile | None, *, hashed: bool
    ) -> KnownFile | Reason:
        if hashed:
            self.hashed.append(stem(source))
            if len(self.hashed) == 2:
                assert self.goes_on.wait(TOO_LONG_S)
        return read_source(source, known, hashed=hashed)


def stem(source: ReadSource) -> str:
    return Path(address(source)).stem


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Six videos, of which one is read at a time."""
    (tmp_path / "v").mkdir()
    for seed, name in enumerate(FILMS):
        make_video(tmp_path / "v" / f"{name}.mp4", fps=2, seed=seed)
    bench = Bench(folder=tmp_path)
    bench.write("  - glob: v/*.mp4\n", more="concurrency: {probes: 1}\n")
    return bench


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    reader = Reader()
    monkeypatch.setattr(survey, "read_source", reader.read)
    yield reader
    reader.goes_on.set()


def require_left_as_is(report: RunReport, reader: Reader) -> None:
    assert reader.hashed == ["a", "b"]  # the second was being read when the stop came
    assert report.counts[Outcome.PENDING] == len(FILMS)


def require_done_by_the_next(bench: Bench, reader: Reader) -> None:
    reader.hashed.clear()

    report = bench.run()

    assert reader.hashed == ["c", "d", "e", "f"]
    assert (report.exit_code, report.counts[Outcome.COMMITTED]) == (ExitCode.OK, len(FILMS))
    assert len(set(bench.rows()["video_id"].to_pylist())) == len(FILMS)


def test_a_drain_at_the_first_event_reads_no_further_video(bench: Bench, reader: Reader) -> None:
    def first(event: Event) -> bool:
        if not isinstance(event, Moved):
            return False
        reader.goes_on.set()
        return True

    drained = bench.run(stop_when=first)

    assert drained.exit_code is ExitCode.AGAIN
    require_left_as_is(drained, reader)
    require_done_by_the_next(bench, reader)


class RefusedClient(AsyncTasksClient):
    """A client whose key the service does not take."""

    def __init__(self, inner: AsyncTasksClient) -> None:
        self.__dict__.update(inner.__dict__)

    async def create(self, **arguments: Any) -> TasksCreateResponse:
        raise AuthenticationError(status_code=401, code="api_key_invalid")


def test_a_refused_key_reads_no_further_video(bench: Bench, reader: Reader) -> None:
    bench.wrap = RefusedClient

    def refused(event: Event) -> None:
        if isinstance(event, Warned):
            reader.goes_on.set()

    halted = bench.run(heard=Heard(then=refused))

    assert halted.exit_code is ExitCode.NO_PERMISSION
    require_left_as_is(halted, reader)
    bench.wrap = lambda client: client
    require_done_by_the_next(bench, reader)


def test_what_waits_to_be_probed_is_not_opened(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, opened = Stop(), list[str]()
    manifest = read_manifest(bench.manifest).manifest

    def read(source: ReadSource, known: KnownFile | None, *, hashed: bool) -> KnownFile | Reason:
        opened.append(stem(source))
        stop.set()
        return read_source(source, known, hashed=hashed)

    async def remember(_known: KnownFile) -> None:
        """Nothing is kept."""

    async def survey_all() -> list[object]:
        surveyor = Surveyor(manifest, profile(manifest.profile), {}, remember, stop)
        surveys = map(surveyor.survey, manifest.videos)
        return await asyncio.gather(*surveys, return_exceptions=True)

    monkeypatch.setattr(survey, "read_source", read)

    assert [type(each) for each in asyncio.run(survey_all())] == [StoppedError] * len(FILMS)
    assert opened == ["a"]


def test_a_file_is_read_to_its_end_before_the_next_is_opened(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first can be sent while the last is not yet looked at."""
    steps: list[tuple[str, bool]] = []

    def read(source: ReadSource, known: KnownFile | None, *, hashed: bool) -> KnownFile | Reason:
        steps.append((stem(source), hashed))
        return read_source(source, known, hashed=hashed)

    monkeypatch.setattr(survey, "read_source", read)

    assert bench.run().exit_code is ExitCode.OK
    assert steps == [(name, hashed) for name in FILMS for hashed in (False, True)]


def survey_shared(
    folder: Path, monkeypatch: pytest.MonkeyPatch, before_hashing: Callable[[Path, Stop], None]
) -> dict[str, Surveyed]:
    """Three windows of one file of 12 s, of which the first, past its end, is why it is probed only."""
    film = make_video(folder / "a.mp4", seconds=12.0, fps=2)
    videos = "".join(
        f"  - {{video_file: a.mp4, id: {name}, video_start_offset_sec: 0, video_end_offset_sec: {end}}}\n"
        for name, end in (("past", 60), ("long", 11), ("short", 6))
    )
    bench = Bench(folder=folder)
    bench.write(videos)
    stop, manifest = Stop(), read_manifest(bench.manifest).manifest

    def read(source: ReadSource, known: KnownFile | None, *, hashed: bool) -> KnownFile | Reason:
        if hashed:
            before_hashing(film, stop)
        return read_source(source, known, hashed=hashed)

    async def remember(_known: KnownFile) -> None:
        """Nothing is kept."""

    async def survey_all() -> dict[str, Surveyed]:
        surveyor = Surveyor(manifest, profile(manifest.profile), {}, remember, stop)
        found = await asyncio.gather(*map(surveyor.survey, manifest.videos))
        return {each.video.video_id: each for each in found}

    monkeypatch.setattr(survey, "read_source", read)
    return asyncio.run(survey_all())


def test_a_file_that_is_being_hashed_when_the_stop_comes_is_hashed_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = survey_shared(tmp_path, monkeypatch, lambda _film, stop: stop.set())

    assert {name: each.job is None for name, each in found.items()} == {
        "past": True,
        "long": False,
        "short": False,
    }


def test_of_a_file_that_is_cut_before_it_is_hashed_each_window_is_judged_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(film: Path, _stop: Stop) -> None:
        make_video(film, seconds=8.0, fps=2)

    found = survey_shared(tmp_path, monkeypatch, cut)

    assert [bool(found[name].reasons) for name in ("past", "long", "short")] == [True, True, False]
    assert found["short"].job is not None
