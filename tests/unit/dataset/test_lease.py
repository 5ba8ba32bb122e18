"""A lease on a store that is a dictionary with a clock of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from batchembed.dataset.lease import LEASE, Lease, State
from batchembed.errors import LeaseLostError, LockedError, StoreAwayError

if TYPE_CHECKING:
    from obstore import UpdateVersion

TTL_S = 90.0


class MemoryCalls:
    """A store. It may fail before it does what it is asked, or after."""

    def __init__(self) -> None:
        self.held: State | None = None
        self.clock = datetime(2026, 1, 1, tzinfo=UTC)
        self.writes = 0
        self.written = threading.Semaphore(0)
        self.away = False
        self.loses_answers = 0

    def pass_s(self, seconds: float) -> None:
        self.clock += timedelta(seconds=seconds)

    def _write(self, content: bytes) -> UpdateVersion:
        if self.away:
            raise StoreAwayError("no answer")
        self.writes += 1
        version: UpdateVersion = {"e_tag": str(self.writes)}
        self.held = State(content=content, version=version, written_at=self.clock)
        self.written.release()
        if self.loses_answers:
            self.loses_answers -= 1
            raise StoreAwayError("the answer was lost")
        return version

    def state(self, key: str) -> State:
        assert key == LEASE
        if self.away:
            raise StoreAwayError("no answer")
        if self.held is None:
            raise FileNotFoundError
        return self.held

    def create(self, key: str, content: bytes) -> UpdateVersion:
        if self.held is not None:
            raise FileExistsError
        return self._write(content)

    def update(self, key: str, content: bytes, version: UpdateVersion) -> UpdateVersion:
        if self.held is None or self.held.version != version:
            raise FileExistsError
        return self._write(content)

    def now(self) -> datetime:
        return self.clock


@pytest.fixture
def store() -> MemoryCalls:
    return MemoryCalls()


@pytest.fixture
def lease(store: MemoryCalls) -> Callable[[], Lease]:
    """Makes leases that are renewed when they are asked for alone."""
    return lambda: Lease(
        store, "s3://b/out", ttl_s=TTL_S, elapsed=iter(range(0, 10_000, 2)).__next__
    )


def test_while_one_holds_it_no_other_does_and_is_told_who(
    store: MemoryCalls, lease: Callable[[], Lease]
) -> None:
    with lease():
        store.pass_s(80)
        with (
            pytest.raises(LockedError, match=r"s3://b/out: process \d+ on .*a sign 80 s ago"),
            lease(),
        ):
            pass


def test_it_is_free_again_once_it_is_released(
    store: MemoryCalls, lease: Callable[[], Lease]
) -> None:
    for _ in range(3):
        with lease() as held:
            held.require()


def test_a_dead_holders_is_taken_over_after_its_time(
    store: MemoryCalls, lease: Callable[[], Lease]
) -> None:
    dead = lease().__enter__()
    store.pass_s(TTL_S)
    with pytest.raises(LockedError), lease():
        pass
    store.pass_s(1)
    with lease() as held:
        held.require()
        with pytest.raises(LeaseLostError, match="taken over by another run"):
            dead.require()
    dead.__exit__(None, None, None)
    with lease():
        pass


def test_who_lost_it_neither_takes_it_back_nor_releases_it(
    store: MemoryCalls, lease: Callable[[], Lease]
) -> None:
    with lease() as slow:
        store.pass_s(TTL_S + 1)
        with lease() as other:
            for _ in range(2):
                with pytest.raises(LeaseLostError):
                    slow.require()
            other.require()
    assert store.held is not None
    assert json.loads(store.held.content)["released"]


def test_within_its_time_nobody_is_asked_whether_it_is_held(store: MemoryCalls) -> None:
    """And after it, who stood still learns that another has it."""
    clock = [0.0]
    with Lease(store, "s3://b/out", ttl_s=TTL_S, elapsed=lambda: clock[0]) as slow:
        clock[0] = TTL_S - 1
        slow.confirm()
        assert store.writes == 1
        clock[0] = TTL_S
        slow.confirm()
        assert store.writes == 2
        clock[0] = 2 * TTL_S - 1
        store.away = True
        slow.confirm()
        clock[0] = 2 * TTL_S
        with pytest.raises(StoreAwayError):
            slow.confirm()
        store.away = False
        store.pass_s(TTL_S + 1)
        with Lease(store, "s3://b/out", ttl_s=TTL_S), pytest.raises(LeaseLostError):
            slow.confirm()


def test_every_write_of_it_is_another(store: MemoryCalls, lease: Callable[[], Lease]) -> None:
    """Else a version, which a store makes of the bytes, would name two of its states."""
    seen = set()
    with lease() as held:
        for _ in range(3):
            held.require()
            seen.add(store.state(LEASE).content)
    assert len({*seen, store.state(LEASE).content}) == 4


def test_one_whose_answer_was_lost_is_known_again(
    store: MemoryCalls, lease: Callable[[], Lease]
) -> None:
    with lease() as held:
        store.loses_answers = 1
        with pytest.raises(StoreAwayError):
            held.require()
        held.require()
        held.require()


def test_the_first_to_take_over_wins(store: MemoryCalls, lease: Callable[[], Lease]) -> None:
    dead = lease().__enter__()
    store.pass_s(TTL_S + 1)
    overtaken = lease()
    clock, faster = store.now, lease()

    def now() -> datetime:
        """The moment between its look and its write."""
        store.now = clock  # type: ignore[method-assign]
        faster.__enter__()
        return clock()

    store.now = now  # type: ignore[method-assign]
    with pytest.raises(LockedError, match="a moment faster"), overtaken:
        pass
    for each in (faster, dead):
        each.__exit__(None, None, None)


def test_one_written_by_hand_has_its_time_too(
    store: MemoryCalls, lease: Callable[[], Lease]
) -> None:
    store.held = State(content=b"{", version={"e_tag": "x"}, written_at=store.clock)
    with pytest.raises(LockedError, match="somebody"), lease():
        pass
    store.pass_s(TTL_S + 1)
    with lease():
        pass


def test_where_nobody_asks_it_is_renewed_by_itself(store: MemoryCalls) -> None:
    with Lease(store, "s3://b/out", ttl_s=0.03):
        for _ in range(4):
            assert store.written.acquire(timeout=30)


def test_a_store_that_is_away_at_the_end_ends_nothing_else(
    store: MemoryCalls, lease: Callable[[], Lease]
) -> None:
    with lease():
        store.away = True
    store.away = False
    store.pass_s(TTL_S + 1)
    with lease():
        pass
