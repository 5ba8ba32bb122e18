"""A poll whose first look comes when the end is expected."""

from __future__ import annotations

import httpx
import pytest

from batchembed.api.retry import PollPolicy
from batchembed.errors import ApiTimeoutError, ServerError
from tests.support.fakes import ScriptedService
from tests.unit.api.conftest import Calling

READY = httpx.Response(200, json={"_id": "t1", "status": "ready"})
PROCESSING = httpx.Response(200, json={"_id": "t1", "status": "processing"})


def test_nothing_is_asked_before_the_first_look(calling: Calling) -> None:
    service = ScriptedService([READY])
    client = calling(service)

    client("wait_for_done", "t1", policy=PollPolicy(first_look_s=40, longest_wait_s=60))

    assert client.slept == [40]
    assert len(service.requests) == 1


def test_the_waits_after_the_first_look_grow_from_the_first(calling: Calling) -> None:
    client = calling(ScriptedService([*[PROCESSING] * 5, READY]))
    policy = PollPolicy(first_look_s=40, first_wait_s=1, longest_wait_s=4)

    client("wait_for_done", "t1", policy=policy)

    first, *waits = client.slept
    assert first == 40
    lowest = [1, 1.5, 2.25, 3.375, 4]
    assert all(low <= wait <= min(4, low + 1) for low, wait in zip(lowest, waits, strict=True))


def test_equal_waits_stay_equal_after_the_first_look(calling: Calling) -> None:
    client = calling(ScriptedService([*[PROCESSING] * 3, READY]))
    policy = PollPolicy(first_look_s=2, first_wait_s=5, longest_wait_s=5)

    client("wait_for_done", "t1", policy=policy)

    assert client.slept == [2, 5, 5, 5]


def test_the_first_look_is_no_later_than_the_deadline(calling: Calling) -> None:
    client = calling(ScriptedService([PROCESSING]))

    with pytest.raises(ApiTimeoutError, match="still processing after 10 s"):
        client("wait_for_done", "t1", policy=PollPolicy(first_look_s=40, deadline_s=10))

    assert client.slept[0] == pytest.approx(10, abs=0.5)
    assert sum(client.slept) == pytest.approx(10, abs=0.5)


def test_the_wait_for_the_first_look_is_no_answer(calling: Calling) -> None:
    service = ScriptedService([httpx.Response(503)])

    with pytest.raises(ServerError):
        calling(service)("wait_for_done", "t1", policy=PollPolicy(first_look_s=40))

    assert len(service.requests) == 5
