"""The socket that a server listens on: it never takes the descriptors that others need."""

from __future__ import annotations

import errno
import logging
import resource
import socket
from dataclasses import dataclass

#: Small enough that a client which takes 20 kB a second is seen to take something within 10 s.
_SEND_BUFFER_BYTES = 256 << 10
#: Descriptors that are left to the database, results, workers and fetches.
_RESERVE = 256
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TELL_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many connections there may be."""

    served: int  #: at once; more are told that the server is overloaded
    below: int | None  #: the descriptors that a connection may have; None: any


def room_for(max_connections: int, descriptors: int | None) -> Room:
    """What a process with so many descriptors has room for; None: without a limit.

    Each connection that is served may have an upload's file open beside it.
    """
    if descriptors is None:
        return Room(served=max_connections, below=None)
    free = descriptors - min(_RESERVE, descriptors // 4)
    served = max(1, min(max_connections, free // 3))
    return Room(served=served, below=free - served)


def descriptor_limit() -> int | None:
    """Of this process, as it is now; None: there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


class Listener(socket.socket):
    """Drops a connection whose descriptor is not below `below`.

    The system gives the lowest descriptor that is free: those from there on stay the others', also
    when a thousand connections come at once.
    """

    below: int | None = None
    _short = False

    def accept(self) -> tuple[socket.socket, object]:
        """The next connection, as asyncio takes it: an error that it knows ends its round."""
        try:
            connection, address = super().accept()
        except OSError as error:
            if error.errno in _SHORTAGES and self._short:
                # asyncio has paused for this already, but would ask again for each of its backlog.
                self._short = False
                raise BlockingIOError(errno.EAGAIN, "no descriptor is free") from error
            self._short = error.errno in _SHORTAGES
            raise
        self._short = False
        if self.below is not None and connection.fileno() >= self.below:
            connection.close()
            raise ConnectionAbortedError(errno.ECONNABORTED, "it has one connection too many")
        return connection, address


def listen(host: str, port: int, *, below: int | None) -> Listener:
    """Listen on an address of this machine; port 0 picks one. Raises `OSError`: it can't be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small writes at once (TCP_NODELAY) only where the protocol is spelled out;
    # without it each answer waits 40 ms for the client's acknowledgement.
    listener = Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.below = below
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What the system holds of an answer is seen to shrink only in steps of a third of this.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listener.bind((host, port))
        listener.listen()  # here, where a port that another has just taken is still an error
    except OSError:
        listener.close()
        raise
    return listener


class SeldomShort(logging.Filter):
    """Lets asyncio tell once a minute, not once a second, that nothing can be accepted."""

    _told_at: float | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is told."""
        if not record.getMessage().startswith("socket.accept() out of system resource"):
            return True
        if self._told_at is not None and record.created - self._told_at < _TELL_EVERY_S:
            return False
        self._told_at = record.created
        return True
