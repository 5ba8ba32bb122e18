"""One writer at a time for a dataset on an object store: a lease that its holder keeps renewing.

It is one object, changed on conditions alone. A holder that dies renews it no more, and whoever
comes after its time takes it over. Ages are told by the store's clock, never by a writer's. A
holder that stood still for too long finds its lease changed, and must leave the dataset alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import msgspec

from batchembed.core.keys import canonical_json
from batchembed.dataset.storage import META
from batchembed.errors import LeaseLostError, LockedError, StoreError

if TYPE_CHECKING:
    from obstore import UpdateVersion

LEASE = f"{META}/lease.json"
#: It is renewed after each third of this: two renewals in a row may fail, each after half a minute of
#: trying, and the lease is kept; and nobody waits much longer for a run that was killed.
TTL_S = 90.0
#: For so long after a renewal nobody asks again whether it is held.
_SURE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One state of an object. `written_at` is by the store's clock, in whole seconds."""

    content: bytes
    version: UpdateVersion  #: which no other state of it has
    written_at: datetime


class Calls(Protocol):
    """The requests that a lease is made of, as `ObjectCalls` makes them."""

    def state(self, key: str) -> State: ...
    def create(self, key: str, content: bytes) -> UpdateVersion: ...
    def update(self, key: str, content: bytes, version: UpdateVersion) -> UpdateVersion: ...
    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What the object says. No two writes of it are the same, so that each changes its version."""

    holder: str
    token: str  #: of one holder alone
    renewal: int
    ttl_s: float
    released: bool = False


class Lease:
    """Held for the length of a `with`, and renewed meanwhile. For the threads of one process."""

    def __init__(
        self,
        calls: Calls,
        location: str,
        *,
        ttl_s: float = TTL_S,
        elapsed: Callable[[], float] | None = None,
    ) -> None:
        """Nothing is asked of the store yet.

        Args:
            calls: of the store.
            location: what people call the dataset.
            ttl_s: how long the lease is held after its last renewal.
            elapsed: seconds since some moment.
        """
        self._calls = calls
        self._location = location
        self._elapsed = elapsed or _elapsed
        self._terms = _Terms(
            holder=f"process {os.getpid()} on {socket.gethostname()}",
            token=secrets.token_hex(16),
            renewal=0,
            ttl_s=ttl_s,
        )
        self._version: UpdateVersion = {}
        self._sure_until = 0.0
        self._kept_until = 0.0
        self._lost = False
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        """Take it.

        Raises:
            LockedError: another run holds it.
            StoreError: it can't be known.
        """
        if not self._write(None):
            try:
                found = self._calls.state(LEASE)
            except FileNotFoundError as error:
                raise self._locked("it was removed at this moment") from error
            self._require_free(found)
            if not self._write(found.version):
                raise self._locked("it was a moment faster")
        self._keeper.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._keeper.join()
        with self._turn, contextlib.suppress(StoreError):  # then its time runs out
            if not self._lost:
                self._terms = replace(self._terms, released=True)
                self._write(self._version)

    def require(self) -> None:
        """See that it is held still, before what only its holder may do.

        Raises:
            LeaseLostError: another run has taken it over.
            StoreError: it can't be known.
        """
        with self._turn:
            if not self._lost and self._elapsed() >= self._sure_until:
                self._renew()
            if self._lost:
                raise LeaseLostError(
                    f"{self._location} was taken over by another run, for this one gave no sign for "
                    f"{self._terms.ttl_s:g} s: nothing of the other's was touched; run again when "
                    "it has ended"
                )

    def confirm(self) -> None:
        """See that nobody can have taken it over; the store is asked only once its time has passed.

        Raises:
            LeaseLostError: another run has taken it over.
            StoreError: it can't be known.
        """
        if self._lost or self._elapsed() >= self._kept_until:
            self.require()

    def _keep(self) -> None:
        while not self._lost and not self._ended.wait(self._terms.ttl_s / 3):
            with self._turn, contextlib.suppress(StoreError):  # the next time may go better
                self._renew()

    def _renew(self) -> None:
        self._lost = self._lost or not self._write(self._version)

    def _write(self, version: UpdateVersion | None) -> bool:
        """Create it, or replace that version of it; whether it is ours."""
        began = self._elapsed()
        self._terms = replace(self._terms, renewal=self._terms.renewal + 1)
        content = f"{canonical_json(asdict(self._terms))}\n".encode()
        try:
            if version is None:
                self._version = self._calls.create(LEASE, content)
            else:
                self._version = self._calls.update(LEASE, content, version)
        except FileExistsError:
            # The answer to an attempt may have been lost, and not what it wrote.
            with contextlib.suppress(FileNotFoundError):
                found = self._calls.state(LEASE)
                if _terms(found).token == self._terms.token:
                    self._version = found.version
                    return True
            return False
        self._sure_until, self._kept_until = began + _SURE_S, began + self._terms.ttl_s
        return True

    def _require_free(self, found: State) -> None:
        terms = _terms(found)
        if terms.released:
            return
        age_s = (self._calls.now() - found.written_at).total_seconds()
        if age_s <= terms.ttl_s:
            raise self._locked(
                f"{terms.holder}, which gave a sign {max(0.0, age_s):g} s ago (one that was killed "
                f"holds it for {terms.ttl_s:g} s)"
            )

    def _locked(self, by: str) -> LockedError:
        return LockedError(f"another run holds {self._location}: {by}; wait for it, and run again")


def is_in_force(found: State, now: datetime) -> bool:
    """Whether a lease's object, as it is, says that somebody holds it."""
    terms = _terms(found)
    return not terms.released and (now - found.written_at).total_seconds() <= terms.ttl_s


def _terms(found: State) -> _Terms:
    try:
        return msgspec.json.decode(found.content, type=_Terms)
    except (msgspec.DecodeError, UnicodeDecodeError):  # written by hand: it, too, has its time
        return _Terms(holder="somebody", token="", renewal=0, ttl_s=TTL_S)


def _elapsed() -> float:
    """Where it can be told, the time in which the machine slept counts, too."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
