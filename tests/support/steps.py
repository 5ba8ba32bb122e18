"""What is done to a run in its own process, before it begins: steps counted, and policies bent."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import msgspec

import batchembed.api.sending
from batchembed.cli import services
from batchembed.dataset.files import Files
from batchembed.errors import BatchembedError
from batchembed.runner.carry import Service
from batchembed.store.sqlite_ledger import SqliteLedger

_OF_FILES = (
    "sync",
    "sync_folder",
    "make_folder",
    "rename",
    "link",
    "remove",
    "remove_folder",
)


class Bent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a run is not as it would be by itself. Paths are absolute."""

    die_at: int | None = None  #: the number of the step, from 1, at which it is killed
    die_on: str | None = None  #: or the first step of that name
    steps_to: str | None = None  #: a file for the names of its steps, one a line
    forgetful: bool = False  #: sends again what got no answer, as a naive client does
    create_timeout_s: float | None = None
    full_to: str | None = None  #: a file for the moment of the first full disk


class Steps:
    """Counts what a run does that outlives it, and kills the process at one of these steps."""

    def __init__(self, die_at: int | None, die_on: str | None) -> None:
        self._die_at = die_at
        self._die_on = die_on
        self._lock = threading.Lock()
        self.names: list[str] = []

    def take(self, name: str) -> None:
        """Take the next step."""
        with self._lock:
            self.names.append(name)
            if len(self.names) == self._die_at or name == self._die_on:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, with a step before and one after it."""

        @functools.wraps(call)
        def stepped(*args: Any, **kwargs: Any) -> Any:
            self.take(f"before {name}")
            result = call(*args, **kwargs)
            self.take(f"after {name}")
            return result

        return stepped


def bend(bent: Bent) -> Callable[[], None]:
    """Bend this process; what is given is to be called when the run has ended."""
    steps = Steps(bent.die_at, bent.die_on)
    if (bent.die_at, bent.die_on, bent.steps_to) != (None, None, None):
        _count(steps)
    if bent.forgetful:
        _forget()
    if bent.create_timeout_s is not None:
        setattr(batchembed.api.sending, "CREATE_TIMEOUT_S", bent.create_timeout_s)  # noqa: B010  a constant for all others
    if bent.full_to is not None:
        _watch_room(Path(bent.full_to))

    def ended() -> None:
        if bent.steps_to is not None:
            Path(bent.steps_to).write_text("\n".join(steps.names), encoding="utf-8")

    return ended


def _count(steps: Steps) -> None:
    batch = SqliteLedger.batch

    def stepped(ledger: SqliteLedger, calls: list[Callable[[], None]]) -> None:
        steps.take("before a transaction")
        batch(ledger, [*calls, lambda: steps.take("before its commit")])
        steps.take("after its commit")

    _set(SqliteLedger, "batch", stepped)
    for name in _OF_FILES:
        _set(Files, name, steps.around(name, getattr(Files, name)))
    _set(httpx.Client, "send", steps.around("a create", httpx.Client.send))
    send = httpx.AsyncClient.send

    async def sent(client: httpx.AsyncClient, *args: Any, **kwargs: Any) -> httpx.Response:
        steps.take("before a request")
        answer = await send(client, *args, **kwargs)
        steps.take("after a request")
        return answer

    _set(httpx.AsyncClient, "send", sent)


def _set(owner: type, name: str, value: object) -> None:
    setattr(owner, name, value)


def _forget() -> None:
    """Hold every service for one that knows its creates again: so they are simply sent again."""

    def trusting(**given: Any) -> Service:
        return Service(**{**given, "idempotent": True})

    setattr(services, "Service", trusting)  # noqa: B010  a class, for all others


def _watch_room(tell: Path) -> None:
    """Write down when the disk was first full, as ledger and files are told so."""

    @contextlib.contextmanager
    def watching() -> Iterator[None]:
        try:
            yield
        except (OSError, BatchembedError) as error:
            if _is_full(error) and not tell.exists():
                tell.write_text(repr(time.time()), encoding="utf-8")
            raise

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def calling(*args: Any, **kwargs: Any) -> Any:
            with watching():
                return call(*args, **kwargs)

        return calling

    create = Files.create

    @contextlib.contextmanager
    def creating(files: Files, path: Path) -> Iterator[BinaryIO]:
        with watching(), create(files, path) as file:
            yield file

    _set(SqliteLedger, "batch", watched(SqliteLedger.batch))
    _set(Files, "create", creating)
    for name in _OF_FILES:
        _set(Files, name, watched(getattr(Files, name)))


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EROFS}:
            return True
        if isinstance(error, sqlite3.OperationalError):
            return True
        error = error.__cause__
    return False
