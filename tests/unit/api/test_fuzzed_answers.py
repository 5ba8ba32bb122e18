"""Broken answers to every call: each is understood, or is one of our errors; no bad vector is kept.

`make test` tries a few thousand. More, or others, by one command:

    BATCHEMBED_FUZZED_ANSWERS=20000 .venv/bin/python -m pytest tests/unit/api/test_fuzzed_answers.py
    BATCHEMBED_FUZZED_ANSWERS=50 BATCHEMBED_FUZZED_FIRST=4200 ...

A failure names the number of its answer, which is all that it is made from.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import math
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from batchembed.api import wire
from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.observe import Observer as ApiObserver
from batchembed.api.retry import RetryPolicy
from batchembed.core.model import Profile
from batchembed.core.segments import Span
from batchembed.dataset.staging import check_rows
from batchembed.errors import BatchembedError, ExitCode
from batchembed.runner.observe import Observer
from batchembed.runner.tasks_listed import NoListingError, read_listing
from tests.stateful.bench import Bench, FileVideo, UrlVideo
from tests.stateful.fuzz import Answer, broken, response
from tests.stateful.service import ModelService
from tests.stateful.transport import ModelTransport

COUNT = int(os.environ.get("BATCHEMBED_FUZZED_ANSWERS", "3000"))
FIRST = int(os.environ.get("BATCHEMBED_FUZZED_FIRST", "0"))
TASK = "0" * 24
PROFILE = Profile(
    name="local-v1",
    dimension=2,
    embedding_options=("visual-text", "audio"),
    audio_options=frozenset({"audio"}),
    unit_length=False,
)
ABOUT = {
    "metadata": {
        "input_filename": "bb1-dddddddd-0123456789abcdef-1.mp4",
        "video_clip_length": 6.0,
        "video_embedding_scope": ["clip"],
        "duration": 10.0,
    }
}
STATUS = {"_id": TASK, "model_name": "local-v1", "status": "ready", "video_embedding": ABOUT}
SEGMENTS = [
    {
        "start_offset_sec": start,
        "end_offset_sec": min(start + 6, 10),
        "embedding_option": option,
        "embedding_scope": "clip",
        "float": [0.5, -0.25],
    }
    for option in ("visual-text", "audio")
    for start in (0, 6)
]
BODIES: dict[str, Any] = {
    "create": {"_id": TASK},
    "status": STATUS,
    "list": {
        "data": [{**STATUS, "created_at": "2026-11-25T10:00:00Z"}] * 2,
        "page_info": {"page": 1, "limit_per_page": 50, "total_page": 1, "total_results": 1},
    },
    "retrieve": {**STATUS, "video_embedding": {**ABOUT, "segments": SEGMENTS}},
}


class BreakingTransport(httpx.AsyncBaseTransport):
    """Gives an answer broken in the way of a number."""

    def __init__(self) -> None:
        self.number = 0
        self.body = b""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = Answer(status=200, headers=[("content-type", "application/json")], body=self.body)
        return response(broken(self.number, answer))


async def create(client: AsyncTasksClient) -> None:
    answer = await client.create(model_name="local-v1", video_url="https://videos.example/a.mp4")
    assert isinstance(answer.id, str)
    assert answer.id


async def status(client: AsyncTasksClient) -> None:
    answer = await client.status(TASK)
    assert isinstance(answer.status, str)
    assert answer.id in {None, TASK}


async def listing(client: AsyncTasksClient) -> None:
    try:
        found = await read_listing(client)
    except NoListingError:  # as some statuses say
        return
    assert all(isinstance(task.task_id, str) for task in found.tasks)


async def retrieve(client: AsyncTasksClient) -> None:
    await client.retrieve(TASK)


def assert_good(vectors: NDArray[np.float32]) -> None:
    assert vectors.ndim == 2
    assert vectors.shape[1] == 2
    assert np.isfinite(vectors).all()
    assert vectors.any(axis=1).all()


async def rows(client: AsyncTasksClient) -> None:
    """What would be staged."""
    body = await client.retrieve_body(TASK)
    checked = check_rows(
        wire.segments(body),
        profile=PROFILE,
        dimension=2,
        whole=Span(0, 10_000),
        clip_length_sec=6.0,
        scopes=("clip",),
    )
    vectors = np.array(checked.table["embedding"].to_pylist(), np.float32)
    assert_good(vectors)
    starts = np.array(checked.table["start_offset_sec"].to_pylist(), np.float64)
    ends = np.array(checked.table["end_offset_sec"].to_pylist(), np.float64)
    assert (starts >= -0.05).all()
    assert (starts < ends).all()
    assert (ends <= 10.05).all()


ASKS: tuple[tuple[str, Callable[[AsyncTasksClient], Awaitable[None]]], ...] = (
    ("create", create),
    ("status", status),
    ("list", listing),
    ("retrieve", retrieve),
    ("retrieve", rows),
    ("retrieve", rows),
)


async def no_time(_seconds: float) -> None:
    """Sleep no time."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of lines would say nothing."""
    caplog.set_level("WARNING")


def test_a_broken_answer_is_read_or_refused_by_an_error_of_ours() -> None:
    ended: Counter[str] = Counter()

    async def ask_all() -> None:
        transport = BreakingTransport()
        async with AsyncTasksClient(
            base_url="http://service.example/v1.3",
            transport=transport,
            retry=RetryPolicy(attempts=1),
            sleep=no_time,
            observer=Observer(monotonic=lambda: 0.0),
        ) as client:
            for number in range(FIRST, FIRST + COUNT):
                kind, ask = ASKS[number % len(ASKS)]
                transport.number, transport.body = number, json.dumps(BODIES[kind]).encode()
                try:
                    with contextlib.suppress(BatchembedError):
                        await ask(client)
                        ended[kind] += 1
                        continue
                    ended[f"{kind} refused"] += 1
                except Exception as error:  # any is a failure: it says which answer to give again
                    raise AssertionError(f"answer {number} to {kind}") from error

    asyncio.run(ask_all())

    # Each kind is read sometimes, and refused sometimes.
    assert min(ended[name] for kind in BODIES for name in (kind, f"{kind} refused")) > COUNT // 100


class SometimesBroken(httpx.AsyncBaseTransport):
    """A service, one of whose answers in three is broken; drawn from a number."""

    def __init__(self, service: ModelService, number: int) -> None:
        self._inner = ModelTransport(service)
        self._chance = random.Random(number)  # noqa: S311  nothing is secret here

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        whole = await self._inner.handle_async_request(request)
        if self._chance.random() > 0.3:
            return whole
        headers = [("content-type", "application/json")]
        answer = Answer(status=whole.status_code, headers=headers, body=await whole.aread())
        return response(broken(self._chance.randrange(2**32), answer))


@contextlib.asynccontextmanager
async def connected(
    service: ModelService, observer: ApiObserver, *, number: int
) -> AsyncIterator[AsyncTasksClient]:
    async with AsyncTasksClient(
        base_url="http://service.example/v1.3",
        transport=SometimesBroken(service, number),
        retry=RetryPolicy(repeat_limited_creates=False),
        observer=observer,
    ) as client:
        yield client


def test_a_run_over_broken_answers_ends_and_keeps_no_bad_vector(tmp_path: Path) -> None:
    codes: Counter[ExitCode] = Counter()
    for number in range(FIRST // 100, (FIRST + COUNT) // 100):
        bench = Bench(
            folder=tmp_path / f"{number}", connect=functools.partial(connected, number=number)
        )
        for slot, content in enumerate((b"one", b"two")):
            bench.put(slot, FileVideo(content=content))
        bench.put(2, UrlVideo(number=1, end=20.0, signature=1))

        reports = [bench.run(), bench.run(retry="failed:transient")]

        assert None not in reports, number
        codes.update(report.exit_code for report in reports if report is not None)
        for staged in bench.home.staging.glob("*.arrow"):
            with pa.memory_map(str(staged)) as source:
                table = pa.ipc.open_file(source).read_all()
            assert_good(np.array(table["embedding"].to_pylist(), np.float32))
        assert all(math.isfinite(vector) for vector in bench.dataset.vectors.values())

    assert ExitCode.OK in codes
    assert codes.keys() <= {
        ExitCode.OK,
        ExitCode.INCOMPLETE,
        ExitCode.UNAVAILABLE,
        ExitCode.AGAIN,
        ExitCode.NO_PERMISSION,
    }
