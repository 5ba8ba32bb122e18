"""Both clients under one face: the same test calls `TasksClient` and `AsyncTasksClient`."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Protocol, Self

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.pager import AsyncPager
from batchembed.api.tasks_client import TasksClient
from tests.support.fakes import ScriptedService

KEY = "tlk_secret"


class Caller(Protocol):
    """A client whose methods are called by name, and how long it slept between requests."""

    slept: list[float]

    def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class SyncCaller:
    """Calls a `TasksClient`."""

    def __init__(self, service: ScriptedService, **options: Any) -> None:
        self.slept: list[float] = []
        self.client = TasksClient(
            api_key=KEY, transport=service, sleep=self.slept.append, **options
        )

    def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        found = getattr(self.client, method)(*args, **kwargs)
        return list(found) if method == "list" else found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.client.close()


class AsyncCaller:
    """Calls an `AsyncTasksClient` in an event loop of its own."""

    def __init__(self, service: ScriptedService, **options: Any) -> None:
        self.slept: list[float] = []
        self._runner = asyncio.Runner()
        self.client = AsyncTasksClient(api_key=KEY, transport=service, sleep=self._sleep, **options)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        async def call() -> Any:
            found = await getattr(self.client, method)(*args, **kwargs)
            return [task async for task in found] if isinstance(found, AsyncPager) else found

        return self._runner.run(call())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runner.run(self.client.aclose())
        self._runner.close()
