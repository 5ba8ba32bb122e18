"""The client under test, in both its forms."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from tests.support.clients import AsyncCaller, Caller, SyncCaller
from tests.support.fakes import ScriptedService

Calling: TypeAlias = Callable[..., Caller]


@pytest.fixture(params=[SyncCaller, AsyncCaller], ids=["TasksClient", "AsyncTasksClient"])
def calling(request: pytest.FixtureRequest) -> Iterator[Calling]:
    """Makes a client of a scripted service; it is closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(service: ScriptedService, **options: Any) -> Caller:
            caller: Caller = stack.enter_context(request.param(service, **options))
            return caller

        yield make
