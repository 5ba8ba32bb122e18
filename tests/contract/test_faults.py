"""Each fault of a faults file, and what our clients make of it: a documented error, or success.

The server is real, the faults are those of `batchembed serve --faults`. Whatever happens ends within
its deadline, and no task is ever created twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args

import msgspec
import pytest

from batchembed import AsyncTasksClient, TasksClient
from batchembed.api import wire
from batchembed.api.retry import PollPolicy, RetryPolicy
from batchembed.core.segments import Span
from batchembed.dataset.checks import BrokenAnswerError, check_rows
from batchembed.engine.faults.app import FaultyApp
from batchembed.engine.faults.plan import AnyRule, FaultPlan
from batchembed.engine.service import Engine
from batchembed.engine.tasks.listing import ListingQuery
from batchembed.engine.web.app import build_app
from batchembed.engine.web.guards import Guards
from batchembed.engine.web.server import HttpServer
from batchembed.errors import (
    AnswerError,
    AnswerTooLargeError,
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    AuthenticationError,
    BadRequestError,
    BatchembedError,
    NotFoundError,
    RateLimitError,
    ServerError,
    SubmissionUnknown,
    TaskFailedError,
    UsageLimitError,
)
from batchembed.media.limits import profile
from tests.support.engines import InstantPool
from tests.support.media import make_video

DEADLINE_S = 20.0
EVERY_TASK = ListingQuery(status=None, started_at=None, ended_at=None, page=1, page_limit=50)
RETRY = RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.02)
PACE = PollPolicy(first_wait_s=0.02, longest_wait_s=0.05, deadline_s=1.5)

Way: TypeAlias = Callable[[str, Path], Awaitable[None]]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("films") / "film.mp4", seconds=13.0, fps=5)


def check(body: bytearray) -> None:
    """What a run makes of an answer; a count of segments that is not the rule's is a warning."""
    rows = check_rows(
        wire.segments(body),
        profile=profile("local-v1"),
        dimension=1024,
        whole=Span(0, 13_000),
        clip_length_sec=6,
        scopes=("clip",),
    )
    if rows.warnings:
        raise WarnedError(rows.warnings[0].code)


class WarnedError(Exception):
    """The rows are fine, but for what the report will say."""


def blocking_way(base_url: str, film: Path) -> None:
    with TasksClient(base_url=base_url, retry=RETRY) as client:
        made = client.create(
            model_name="local-v1", video_file=film, request_options={"timeout_in_seconds": 2}
        )
        client.wait_for_done(made.id or "", policy=PACE, raise_on_failed=True)
        answer = client.retrieve(made.id or "", request_options={"timeout_in_seconds": 5})
        assert answer.id == made.id
        check(client.retrieve_body(made.id or "", request_options={"timeout_in_seconds": 5}))
        assert made.id in {task.id for task in client.list()}


async def in_a_thread(base_url: str, film: Path) -> None:
    await asyncio.to_thread(blocking_way, base_url, film)


async def in_a_loop(base_url: str, film: Path) -> None:
    async with AsyncTasksClient(base_url=base_url, retry=RETRY) as client:
        made = await client.create(
            model_name="local-v1", video_file=film, request_options={"timeout_in_seconds": 2}
        )
        await client.wait_for_done(made.id or "", policy=PACE, raise_on_failed=True)
        answer = await client.retrieve(made.id or "", request_options={"timeout_in_seconds": 5})
        assert answer.id == made.id
        check(await client.retrieve_body(made.id or "", request_options={"timeout_in_seconds": 5}))
        assert made.id in {task.id async for task in await client.list()}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Rules, the error that they end in, and how many tasks there are then."""

    rule: dict[str, Any]
    ends_in: type[Exception] | None = None
    tasks: int = 1


CASES = {
    "429 with a short Retry-After": Case(
        rule={"fault": "too_many_requests", "first": 2, "retry_after_s": 0}
    ),
    "429 in milliseconds": Case(
        rule={
            "fault": "too_many_requests",
            "times": 2,
            "retry_after_s": 0.01,
            "retry_after_form": "milliseconds",
            "header_family": "new",
        }
    ),
    "429 with a very long Retry-After": Case(
        rule={"fault": "too_many_requests", "retry_after_s": 11382},
        ends_in=RateLimitError,
        tasks=0,
    ),
    "429 without a body": Case(
        rule={"fault": "too_many_requests", "body": False}, ends_in=RateLimitError, tasks=0
    ),
    "500 to a create": Case(
        rule={"fault": "server_error", "on": ["create"], "status": 500},
        ends_in=SubmissionUnknown,
        tasks=0,
    ),
    "502 in HTML to a create": Case(
        rule={"fault": "server_error", "on": ["create"], "status": 502, "form": "html"},
        ends_in=SubmissionUnknown,
        tasks=0,
    ),
    "503 to some looks": Case(
        rule={"fault": "server_error", "on": ["status"], "status": 503, "first": 2}
    ),
    "502 in HTML to every retrieve": Case(
        rule={"fault": "server_error", "on": ["retrieve"], "status": 502, "form": "html"},
        ends_in=ServerError,
    ),
    "no credit left": Case(
        rule={"fault": "usage_limit_exceeded"}, ends_in=UsageLimitError, tasks=0
    ),
    "a create refused with 400": Case(
        rule={"fault": "refused", "on": ["create"]}, ends_in=BadRequestError, tasks=0
    ),
    "a key that is not known": Case(
        rule={"fault": "refused", "status": 401, "code": "unauthorized"},
        ends_in=AuthenticationError,
        tasks=0,
    ),
    "a region that is not served": Case(
        rule={"fault": "refused", "status": 403, "code": "region_not_allowed"},
        ends_in=AuthenticationError,
        tasks=0,
    ),
    "an API that is not in the plan": Case(
        rule={"fault": "refused", "on": ["create"], "status": 400, "code": "api_not_allowed"},
        ends_in=AuthenticationError,
        tasks=0,
    ),
    "a task that has expired, with 400": Case(
        rule={"fault": "refused", "on": ["status"], "code": "resource_not_exist"},
        ends_in=NotFoundError,
    ),
    "a retrieve that comes too early, with 400": Case(
        rule={"fault": "refused", "on": ["retrieve"], "first": 1}, ends_in=BadRequestError
    ),
    "a redirect": Case(
        rule={"fault": "redirect", "location": "http://127.0.0.1:9/", "on": ["status"]},
        ends_in=ApiError,
    ),
    "a create cut before": Case(
        rule={"fault": "connection_cut", "on": ["create"]}, ends_in=SubmissionUnknown, tasks=0
    ),
    "a create cut during its answer": Case(
        rule={"fault": "connection_cut", "on": ["create"], "when": "during"},
        ends_in=SubmissionUnknown,
    ),
    "a create cut after it was accepted": Case(
        rule={"fault": "answer_lost", "on": ["create"]}, ends_in=SubmissionUnknown
    ),
    "a create that a proxy fails after it was accepted": Case(
        rule={"fault": "answer_lost", "on": ["create"], "how": "error"},
        ends_in=SubmissionUnknown,
    ),
    "a create whose answer hangs": Case(
        rule={"fault": "answer_lost", "on": ["create"], "how": "hang", "delay_s": 60},
        ends_in=SubmissionUnknown,
    ),
    "looks that are cut at times": Case(
        rule={"fault": "connection_cut", "on": ["status", "retrieve"], "every": 2}
    ),
    "retrieves that are cut half-way": Case(
        rule={"fault": "connection_cut", "on": ["retrieve"], "when": "during"},
        ends_in=ApiConnectionError,
    ),
    "truncated JSON at times": Case(
        rule={"fault": "truncated_json", "on": ["status", "retrieve", "list"], "every": 2}
    ),
    "truncated JSON to a create": Case(
        rule={"fault": "truncated_json", "on": ["create"]}, ends_in=SubmissionUnknown
    ),
    "truncated JSON to every retrieve": Case(
        rule={"fault": "truncated_json", "on": ["retrieve"]}, ends_in=AnswerError
    ),
    "a create without an id": Case(rule={"fault": "no_id"}, ends_in=SubmissionUnknown),
    "NaN": Case(rule={"fault": "not_a_number"}, ends_in=AnswerError),
    "infinity": Case(rule={"fault": "not_a_number", "value": "1e400"}, ends_in=AnswerError),
    "another dimension": Case(rule={"fault": "wrong_dimension"}, ends_in=BrokenAnswerError),
    "a zero vector": Case(rule={"fault": "zero_vector"}, ends_in=BrokenAnswerError),
    "missing segments": Case(rule={"fault": "missing_segments"}, ends_in=WarnedError),
    "unknown fields": Case(rule={"fault": "unknown_fields"}),
    "times without milliseconds": Case(rule={"fault": "plain_times"}),
    "a gzip bomb": Case(
        rule={"fault": "gzip_bomb", "on": ["status"], "size_bytes": 1 << 25},
        ends_in=AnswerTooLargeError,
    ),
    "a task that is stuck": Case(rule={"fault": "stuck"}, ends_in=ApiTimeoutError),
    "a task that is lost": Case(rule={"fault": "lost"}, ends_in=NotFoundError),
    "a task that failed without a reason": Case(rule={"fault": "failed"}, ends_in=TaskFailedError),
    "a status that nobody knows": Case(
        rule={"fault": "unknown_status", "status": "queued"}, ends_in=ApiTimeoutError
    ),
    "a status that nobody knows, for a while": Case(
        rule={"fault": "unknown_status", "status": "queued", "delay_s": 0.2}
    ),
    "a task that takes its time": Case(rule={"fault": "slow_ready", "delay_s": 0.2}),
    "slow answers": Case(rule={"fault": "slow", "delay_s": 0.05}),
    "answers that drip": Case(rule={"fault": "slow", "delay_s": 0.1, "drip": True}),
    "an upload that is slow": Case(rule={"fault": "slow_upload", "delay_s": 0.1}),
    "an upload that takes for ever": Case(
        rule={"fault": "slow_upload", "delay_s": 600}, ends_in=SubmissionUnknown, tasks=0
    ),
    "a create whose answer drips for ever": Case(
        rule={"fault": "slow", "on": ["create"], "delay_s": 600, "drip": True},
        ends_in=SubmissionUnknown,
    ),
}


@pytest.mark.parametrize("way", [in_a_thread, in_a_loop], ids=["TasksClient", "AsyncTasksClient"])
@pytest.mark.parametrize("name", CASES)
def test_a_fault_ends_in_a_documented_error_or_in_success(
    name: str, way: Way, film: Path, tmp_path: Path
) -> None:
    case = CASES[name]
    plan = msgspec.convert({"seed": 1, "rules": [case.rule]}, FaultPlan)
    seen: list[str] = []

    async def run() -> tuple[Exception | None, int, float]:
        ended: Exception | None = None
        async with Engine(tmp_path, workers=1, pool=InstantPool()) as engine:
            app = FaultyApp(build_app(engine), plan, note=seen.append)
            async with HttpServer(Guards(app, host="127.0.0.1")) as server:
                began = time.monotonic()
                try:
                    await way(f"{server.address}/v1.3", film)
                except (BatchembedError, WarnedError) as error:
                    ended = error
                took_s = time.monotonic() - began
            made = engine.tasks.page(EVERY_TASK)
        return ended, made.total, took_s

    ended, tasks, took_s = asyncio.run(run())

    if case.ends_in is None:
        assert ended is None, ended
    else:
        assert isinstance(ended, case.ends_in), ended
    assert tasks == case.tasks
    assert took_s < DEADLINE_S
    assert seen  # the fault did happen


def test_every_fault_that_a_client_can_feel_is_among_them() -> None:
    faults = {case.rule["fault"] for case in CASES.values()}
    known = {rule.__struct_config__.tag for rule in get_args(AnyRule)}

    assert known - faults == {"hidden_in_listing", "ignore_idempotency_key"}
