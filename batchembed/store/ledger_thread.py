"""The ledger in a thread of its own, for callers in an event loop.

Whatever calls wait when the thread turns to them share one transaction; each caller goes on when
that is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from batchembed.errors import LedgerError
from batchembed.store.ledger import Ledger
from batchembed.store.sqlite_ledger import SqliteLedger

T = TypeVar("T")


class LedgerThread:
    """Opens a ledger and serves it. Use it as an async context manager."""

    def __init__(self, path: Path, *, run_id: str = "") -> None:
        self._path = path
        self._run_id = run_id
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = (
            threading.Lock()
        )  # guards the next: after the end nothing may wait in the queue
        self._ended = False
        self._thread = threading.Thread(target=self._serve, name="ledger", daemon=True)
        self._opened: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop  #: of the callers

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        try:
            await asyncio.shield(asyncio.wrap_future(self._opened))
        except asyncio.CancelledError:
            await self._end()  # it may be migrating, and whoever is cancelled lets go of the locks
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        self._calls.put(None)
        await asyncio.to_thread(self._thread.join)

    async def do(self, call: Callable[[Ledger], T]) -> T:
        """Run `call` on the ledger; what it did is durable when this returns.

        Raises:
            LedgerError: it could not be made durable, and was not done.
        """
        asked = _Call(call, self._loop.create_future())
        with self._lock:
            if self._ended:
                raise LedgerError(f"the ledger {self._path} is no longer open")
            self._calls.put(asked)
        # A cancelled caller does not take its move back: the thread has it.
        result: T = await asyncio.shield(asked.future)
        return result

    def _serve(self) -> None:
        try:
            ledger = SqliteLedger(self._path, run_id=self._run_id)
        except BaseException as error:  # noqa: BLE001  it is raised in the caller
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        try:
            while self._serve_next(ledger):
                pass
        finally:
            try:
                ledger.close()
            finally:
                self._refuse_the_rest()

    def _serve_next(self, ledger: SqliteLedger) -> bool:
        """Serve what waits, in one transaction; False once the end was asked for."""
        waiting = [self._calls.get()]
        while not self._calls.empty():
            waiting.append(self._calls.get())
        calls = [call for call in waiting if call is not None]
        lost: LedgerError | None = LedgerError("a defect ended the ledger's thread")
        try:
            if calls:
                ledger.batch([functools.partial(call.run, ledger) for call in calls])
            lost = None
        except LedgerError as error:
            lost = error
        finally:
            # Also where a defect goes on to end the thread: none may wait for ever.
            self._answer(calls, lost)
        return None not in waiting

    def _answer(self, calls: list[_Call], lost: LedgerError | None) -> None:
        """Wake the callers: the event loop once, however many they are."""

        def answer() -> None:
            for call in calls:
                call.answer(lost)

        if not calls:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(answer)

    def _refuse_the_rest(self) -> None:
        with self._lock:
            self._ended = True
        rest = []
        while not self._calls.empty():
            rest.append(self._calls.get())
        self._answer(
            [call for call in rest if call is not None],
            LedgerError("the ledger was closed before the call was served"),
        )


class _Call:
    def __init__(self, call: Callable[[Ledger], Any], future: asyncio.Future[Any]) -> None:
        self.call = call
        self.future = future
        self.result: Any = None
        self.error: ValueError | None = None

    def run(self, ledger: Ledger) -> None:
        try:
            self.result = self.call(ledger)
        except ValueError as error:  # a move that the table forbids: the caller's own defect
            self.error = error

    def answer(self, lost: LedgerError | None) -> None:
        if self.future.cancelled():  # with the loop that it belongs to
            return
        error = lost or self.error
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(self.result)
