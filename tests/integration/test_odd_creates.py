"""Creates that are answered as no document says, and what is asked of the service about them.

The real loop, client and ledger against a service in memory; see `tests/stateful`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Literal

import httpx
import pytest

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.observe import Observer
from batchembed.api.retry import RetryPolicy
from batchembed.core.run_report import RunReport
from batchembed.core.states import State
from batchembed.errors import ExitCode
from tests.stateful.bench import Bench, FileVideo
from tests.stateful.service import DAY_S, Fate, ModelService
from tests.stateful.transport import ModelTransport

#: What comes in place of the answer to the n-th create; None: nothing.
Change = Callable[[int], httpx.Response | None]


class Changing(ModelTransport):
    """Changes answers to creates. `makes` says whether there is a task behind those."""

    def __init__(self, service: ModelService, change: Change, *, makes: bool) -> None:
        super().__init__(service)
        self._change = change
        self._makes = makes
        self._creates = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST":
            return await super().handle_async_request(request)
        self._creates += 1
        changed = self._change(self._creates)
        if changed is None:
            return await super().handle_async_request(request)
        if self._makes:
            await super().handle_async_request(request)
        return changed


@contextlib.asynccontextmanager
async def connected(
    service: ModelService, observer: Observer, *, change: Change, makes: bool
) -> AsyncIterator[AsyncTasksClient]:
    async with AsyncTasksClient(
        base_url="http://service.example/v1.3",
        transport=Changing(service, change, makes=makes),
        retry=RetryPolicy(repeat_limited_creates=False),
        observer=observer,
    ) as client:
        yield client


def bench_of(folder: Path, change: Change, *, videos: int = 1, makes: bool = True) -> Bench:
    bench = Bench(folder=folder, connect=partial(connected, change=change, makes=makes))
    for slot in range(videos):
        bench.put(slot, FileVideo(content=b"film %d" % slot))
    return bench


def states(report: RunReport) -> list[State | None]:
    return [None if video.entry is None else video.entry.state for video in report.videos]


def answering(status_code: int) -> Change:
    """Every create is answered so."""
    headers = {"location": "/elsewhere"} if status_code < 400 else {}
    return lambda _: httpx.Response(status_code, headers=headers, text="no")


@pytest.mark.parametrize("status_code", [303, 307, 405, 410, 412, 423, 451, 499])
def test_a_create_that_is_answered_oddly_is_looked_for_before_it_is_sent_again(
    tmp_path: Path, status_code: int
) -> None:
    bench = bench_of(tmp_path, answering(status_code))

    reports = [bench.run(), bench.run()]

    assert reports[1] is not None
    assert reports[1].exit_code is ExitCode.OK
    assert bench.service.creates == 1


@pytest.mark.parametrize("status_code", [301, 308, 404, 405])
def test_an_address_that_is_not_the_apis_ends_the_run_before_every_video_is_sent(
    tmp_path: Path, status_code: int
) -> None:
    bench = bench_of(tmp_path, answering(status_code), videos=9, makes=False)

    report = bench.run()

    assert report is not None
    assert report.exit_code is ExitCode.UNAVAILABLE
    assert report.halted is not None
    assert "base_url is http://service.example/v1.3" in report.halted
    assert dict(report.requests)["create"] <= bench.tasks


def test_nothing_is_sent_to_a_site_that_is_somewhere_else(tmp_path: Path) -> None:
    @contextlib.asynccontextmanager
    async def connected_to_a_sign(
        _service: ModelService, observer: Observer
    ) -> AsyncIterator[AsyncTasksClient]:
        sign = httpx.Response(301, headers={"location": "https://service.example/v1.3/embed"})
        async with AsyncTasksClient(
            base_url="http://service.example/v1.3",
            transport=httpx.MockTransport(lambda _: sign),
            observer=observer,
        ) as client:
            yield client

    bench = Bench(folder=tmp_path, connect=connected_to_a_sign)
    for slot in range(3):
        bench.put(slot, FileVideo(content=b"film %d" % slot))

    report = bench.run()

    assert report is not None
    assert report.exit_code is ExitCode.UNAVAILABLE
    assert dict(report.requests) == {"list": 1}
    assert "sends callers on to https://service.example/v1.3/embed" in str(report.halted)


def test_a_create_for_which_nobody_pays_parks_the_run(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, answering(402), videos=3, makes=False)

    report = bench.run()

    assert report is not None
    assert report.exit_code is ExitCode.AGAIN
    assert report.parked is not None
    assert set(states(report)) <= {State.PLANNED, None}


def test_a_create_that_came_too_early_is_sent_again(tmp_path: Path) -> None:
    bench = bench_of(
        tmp_path, lambda number: httpx.Response(425) if number == 1 else None, makes=False
    )

    report = bench.run()

    assert report is not None
    assert report.exit_code is ExitCode.OK
    assert report.submitted == 1


def test_creates_that_all_come_too_early_stay_planned(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, answering(425), makes=False)

    report = bench.run()

    assert report is not None
    assert report.exit_code is ExitCode.UNAVAILABLE
    assert states(report) == [State.PLANNED]


class Mute(ModelTransport):
    """Loses the answer to a create, and does not answer who asks for a listing."""

    def __init__(self, service: ModelService) -> None:
        super().__init__(service)
        self._world = service.world
        self._is_lost = False
        self.is_asked = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self._is_lost = True
            raise httpx.ReadError("gone")
        if not self._is_lost:
            return await super().handle_async_request(request)
        self.is_asked = True
        self._world.moment()
        await asyncio.Event().wait()
        raise AssertionError


def test_a_drain_ends_the_wait_for_a_listing(tmp_path: Path) -> None:
    mute: list[Mute] = []

    @contextlib.asynccontextmanager
    async def connected_to_a_mute(
        service: ModelService, observer: Observer
    ) -> AsyncIterator[AsyncTasksClient]:
        mute.append(Mute(service))
        async with AsyncTasksClient(
            base_url="http://service.example/v1.3", transport=mute[0], observer=observer
        ) as client:
            yield client

    bench = Bench(folder=tmp_path, connect=connected_to_a_mute)
    bench.put(0, FileVideo(content=b"film"))

    report = bench.run(once=(lambda: mute and mute[0].is_asked, "stop"))

    assert report is not None
    assert report.exit_code is ExitCode.AGAIN
    assert states(report) == [State.UNKNOWN]
    assert bench.world.passed_s < 1


class Mixing(ModelTransport):
    """Answers every create with the task of the first one."""

    def __init__(self, service: ModelService) -> None:
        super().__init__(service)
        self._service = service

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        if request.method != "POST":
            return answer
        return httpx.Response(200, json={"_id": self._service.tasks[0].task_id})


@pytest.mark.parametrize("tasks", [1, 3], ids=["one by one", "at once"])
def test_a_create_that_is_answered_with_anothers_task_is_looked_for(
    tmp_path: Path, tasks: int
) -> None:
    @contextlib.asynccontextmanager
    async def connected_to_a_mixer(
        service: ModelService, observer: Observer
    ) -> AsyncIterator[AsyncTasksClient]:
        async with AsyncTasksClient(
            base_url="http://service.example/v1.3", transport=Mixing(service), observer=observer
        ) as client:
            yield client

    bench = Bench(folder=tmp_path, connect=connected_to_a_mixer, tasks=tasks)
    for slot in range(3):
        bench.put(slot, FileVideo(content=b"film %d" % slot))

    report = bench.run()

    assert report is not None
    assert report.exit_code is ExitCode.OK
    assert bench.service.creates == 3
    found = {video.entry.task_id for video in report.videos if video.entry is not None}
    assert found == {task.task_id for task in bench.service.tasks}


@pytest.mark.parametrize("answer", ["lost before", "lost after"])
def test_an_older_task_that_says_nothing_keeps_no_lost_upload_in_doubt(
    tmp_path: Path, answer: Literal["lost before", "lost after"]
) -> None:
    bench = Bench(folder=tmp_path)
    bench.put(0, FileVideo(content=b"film"))
    nameless = Fate(hidden_s=math.inf)
    bench.service.make(nameless, key="", content="", name=None, url=None, window=(None, None))
    bench.world.passed_s += 2 * DAY_S
    bench.service.fates.append(Fate(answer=answer))

    report = bench.run()

    assert report is not None
    assert report.exit_code is ExitCode.OK


def test_the_services_clock_is_asked_for_once_before_the_first_creates(tmp_path: Path) -> None:
    bench = Bench(folder=tmp_path, tasks=3)
    for slot in range(3):
        bench.put(slot, FileVideo(content=b"film %d" % slot))

    report = bench.run(once=(lambda: bench.service.creates == 3, "stop"))

    assert report is not None
    assert dict(report.requests) == {"create": 3, "list": 1}
