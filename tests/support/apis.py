"""One face for every way to the Embed API: our clients and the official SDK's, sync and async.

What they give has the same attributes, whoever wrote the class: that is the contract.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import twelvelabs
import twelvelabs.core.api_error
import twelvelabs.core.pagination
import twelvelabs.errors

from batchembed import AsyncClient, Client
from batchembed.api.pager import AsyncPager
from batchembed.engine.service import Workers
from batchembed.errors import ApiError, BadRequestError
from tests.support.engines import in_process, served_from_a_thread

T = TypeVar("T")

KEY = "tlk_contract"


class Api(Protocol):
    """A way to the API. `call` gives what the method of that name gives; a listing as a list."""

    api_error: type[Exception]
    bad_request: type[Exception]

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any: ...


class OpenApi(Protocol):
    """Opens a way to an engine in `folder`."""

    def __call__(
        self, folder: Path, pool: Workers | None = None
    ) -> contextlib.AbstractContextManager[Api]: ...


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result()

    def close(self) -> None:
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Blocking:
    def __init__(self, tasks: Any, *, api_error: type[Exception], bad: type[Exception]) -> None:
        self._tasks = tasks
        self.api_error = api_error
        self.bad_request = bad

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        found = getattr(self._tasks, method)(*args, **kwargs)
        return list(found) if method == "list" else found


class _Awaited:
    def __init__(
        self, tasks: Any, loop: _Loop, *, api_error: type[Exception], bad: type[Exception]
    ) -> None:
        self._tasks = tasks
        self._loop = loop
        self.api_error = api_error
        self.bad_request = bad

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._loop.run(self._call(method, *args, **kwargs))

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        told = kwargs.get("callback")
        if told is not None:
            kwargs["callback"] = _awaitable(told)
        found = getattr(self._tasks, method)(*args, **kwargs)
        if inspect.isawaitable(found):
            found = await found
        if isinstance(found, AsyncPager | twelvelabs.core.pagination.AsyncPager):
            return [task async for task in found]
        return found


def _awaitable(callback: Callable[[Any], None]) -> Callable[[Any], Awaitable[None]]:
    async def told(task: Any) -> None:
        callback(task)

    return told


@contextlib.contextmanager
def ours_in_process(folder: Path, pool: Workers | None = None) -> Iterator[Api]:
    """`AsyncTasksClient`, and the engine in this process."""
    loop, stack = _Loop(), contextlib.AsyncExitStack()
    try:
        client = loop.run(stack.enter_async_context(in_process(folder, pool)))
        yield _Awaited(client, loop, api_error=ApiError, bad=BadRequestError)
    finally:
        loop.run(stack.aclose())
        loop.close()


@contextlib.contextmanager
def ours_sync(folder: Path, pool: Workers | None = None) -> Iterator[Api]:
    """`Client().embed.tasks`, over HTTP."""
    with (
        served_from_a_thread(folder, pool, api_key=KEY) as base_url,
        Client(api_key=KEY, base_url=base_url) as client,
    ):
        yield _Blocking(client.embed.tasks, api_error=ApiError, bad=BadRequestError)


@contextlib.contextmanager
def ours_async(folder: Path, pool: Workers | None = None) -> Iterator[Api]:
    """`AsyncClient().embed.tasks`, over HTTP."""
    with served_from_a_thread(folder, pool, api_key=KEY) as base_url, _looping() as loop:
        client = AsyncClient(api_key=KEY, base_url=base_url)
        try:
            yield _Awaited(client.embed.tasks, loop, api_error=ApiError, bad=BadRequestError)
        finally:
            loop.run(client.aclose())


@contextlib.contextmanager
def sdk(base_url: str, api_key: str = KEY) -> Iterator[Any]:
    """The official SDK's client; its own types leave out what its wrapper adds."""
    client = twelvelabs.TwelveLabs(api_key=api_key, base_url=base_url)
    try:
        yield client
    finally:
        client._client_wrapper.httpx_client.httpx_client.close()  # it closes nothing itself


@contextlib.contextmanager
def sdk_sync(folder: Path, pool: Workers | None = None) -> Iterator[Api]:
    """The official SDK's `TwelveLabs().embed.tasks`."""
    with served_from_a_thread(folder, pool, api_key=KEY) as base_url, sdk(base_url) as client:
        yield _Blocking(
            client.embed.tasks,
            api_error=twelvelabs.core.api_error.ApiError,
            bad=twelvelabs.errors.BadRequestError,
        )


@contextlib.contextmanager
def sdk_async(folder: Path, pool: Workers | None = None) -> Iterator[Api]:
    """The official SDK's `AsyncTwelveLabs().embed.tasks`."""
    with served_from_a_thread(folder, pool, api_key=KEY) as base_url, _looping() as loop:
        client = twelvelabs.AsyncTwelveLabs(api_key=KEY, base_url=base_url)
        try:
            yield _Awaited(
                client.embed.tasks,
                loop,
                api_error=twelvelabs.core.api_error.ApiError,
                bad=twelvelabs.errors.BadRequestError,
            )
        finally:
            loop.run(client._client_wrapper.httpx_client.httpx_client.aclose())


@contextlib.contextmanager
def _looping() -> Iterator[_Loop]:
    loop = _Loop()
    try:
        yield loop
    finally:
        loop.close()


WAYS: dict[str, OpenApi] = {
    "ours in process": ours_in_process,
    "ours sync": ours_sync,
    "ours async": ours_async,
    "official SDK sync": sdk_sync,
    "official SDK async": sdk_async,
}
