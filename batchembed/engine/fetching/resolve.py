"""The addresses of a host that a stranger named."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import TypeAlias

#: The addresses of a host, as text. Raises OSError where there are none.
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """The addresses that this machine's resolver gives.

    It may take long, and can't be interrupted: so it has a thread of its own, which holds up
    nothing else, and for which no end waits.
    """
    answer: Future[Sequence[str]] = Future()
    answer.set_running_or_notify_cancel()  # else a caller that gave up leaves no place to answer
    threading.Thread(
        target=_resolve, args=(host, port, answer), name="resolve", daemon=True
    ).start()
    return await asyncio.wrap_future(answer)


def _resolve(host: str, port: int, answer: Future[Sequence[str]]) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        answer.set_exception(error)
    else:
        answer.set_result(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
