"""Runs through the gate against services with limits of their own, which no manifest knows.

Time is virtual: it passes while everybody waits.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from batchembed.core.model import Budget, Quota
from batchembed.core.problems import Reason
from batchembed.core.quota import Charge
from batchembed.errors import RateLimitError, RateLimits
from batchembed.runner.gate import Gate
from batchembed.runner.listen import Event, Waiting
from tests.unit.runner.fake_tasks import now_s, run

EPOCH = 1_764_000_000.0
DAY_S = 86_400.0
NO_QUOTA = Quota(
    requests_per_minute=None,
    video_minutes_per_hour=None,
    video_minutes_per_day=None,
    max_inline_wait_s=600,
)
NO_BUDGET = Budget(
    video_minutes=None, amount=None, price_per_minute=None, currency="USD", per="run"
)


@dataclass(kw_only=True)
class Limited:
    """A service that takes `most` creates, or so many minutes of video, in any `window_s`.

    `tells` is what its answers carry: `after` (Retry-After), `headers` (what remains, on every
    answer), or nothing. Its clock is `ahead_s` of ours.
    """

    window_s: float
    most: int | None = None
    most_minutes: float | None = None
    tells: Sequence[str] = ()
    ahead_s: float = 0.0
    taken: deque[tuple[float, str, float]] = field(default_factory=deque)
    created: list[str] = field(default_factory=list)
    refusals: list[tuple[float, float]] = field(default_factory=list)  #: left at, refused until
    requests: int = 0

    def create(self, name: str, video_sec: float) -> tuple[RateLimits | None, bool, float | None]:
        """What the answer says: the limits, whether a task was made, and Retry-After."""
        now = now_s()
        self.requests += 1
        while self.taken and self.taken[0][0] + self.window_s <= now:
            self.taken.popleft()
        minutes = sum(each[2] for each in self.taken) + video_sec / 60
        full = (self.most is not None and len(self.taken) >= self.most) or (
            self.most_minutes is not None and minutes > self.most_minutes + 1e-9
        )
        if not full:
            self.taken.append((now, name, video_sec / 60))
            self.created.append(name)
        reset = (self.taken[0][0] + self.window_s) if self.taken else now
        limits = None
        if "headers" in self.tells and self.most is not None:
            remaining = self.most - len(self.taken)
            reset_at = float(round(EPOCH + reset + self.ahead_s))
            limits = RateLimits(limit=self.most, remaining=remaining, reset_at=reset_at)
        asked = reset - now if full and "after" in self.tells else None
        return limits, not full, asked


@dataclass(kw_only=True)
class Run:
    """One run after another over the same videos, and what the ledger would keep of them."""

    service: Limited
    videos: dict[str, float]
    quota: Quota = NO_QUOTA
    charges: list[Charge] = field(default_factory=list)
    block: float | None = None
    told: list[Event] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311  no secret
    admitted: list[float] = field(default_factory=list)

    async def once(self, *, sends: int = 4) -> Gate:
        async def remember(until: float | None, why: str) -> None:
            self.block = until

        gate = Gate(
            quota=self.quota,
            budget=NO_BUDGET,
            tasks=64,
            uploads=sends,
            longest_video_sec=7200,
            charges=self.charges,
            blocked_until=self.block,
            clock=lambda: EPOCH + now_s(),
            sleep=asyncio.sleep,
            stop=asyncio.Event(),
            notice=self.told.append,
            remember=remember,
            chance=self.chance.random,
        )
        left = [name for name in self.videos if name not in self.service.created]
        async with asyncio.timeout(40 * DAY_S), asyncio.TaskGroup() as group:
            for name in left:
                group.create_task(self._carry(gate, name))
        return gate

    async def _carry(self, gate: Gate, name: str) -> None:
        async with gate.slot():
            while True:
                async with gate.sending(upload=True):
                    charge = await gate.admit(self.videos[name])
                    if isinstance(charge, Reason):
                        return
                    if await self._create(gate, charge, name):
                        return

    async def _create(self, gate: Gate, charge: Charge, name: str) -> bool:
        """Whether a task was made."""
        left_at = now_s()
        self.admitted.append(left_at)
        await asyncio.sleep(self.chance.uniform(0.05, 1.0))
        limits, made, asked = self.service.create(name, self.videos[name])
        date = float(int(EPOCH + now_s() + self.service.ahead_s))
        await asyncio.sleep(self.chance.uniform(0.05, 0.2))
        gate.heard(limits, date)
        if made:
            self.charges.append(charge)
            return True
        if asked is not None:
            self.service.refusals.append((now_s(), now_s() + asked))
        gate.withdraw(charge)
        await gate.refused(
            RateLimitError(status_code=429, retry_after_s=asked, limits=limits, headers={})
        )
        return False

    def left_while_refused(self) -> list[float]:
        """When creates left between a refusal and the time that it asked for."""
        return [
            at
            for at in self.admitted
            for refused_at, until in self.service.refusals
            if refused_at < at < until - 1e-6
        ]


def videos(n: int, seconds: float = 6.0) -> dict[str, float]:
    return {f"v{number}": seconds for number in range(n)}


@pytest.mark.parametrize(
    "tells", [(), ("after",), ("headers",), ("after", "headers")], ids="+".join
)
@pytest.mark.parametrize("knows", [True, False], ids=["quota", "no quota"])
def test_25_a_minute_slow_a_run_down_and_cost_it_nothing(
    tells: tuple[str, ...], knows: bool
) -> None:
    async def scene() -> None:
        service = Limited(window_s=60, most=25, tells=tells, ahead_s=7200)
        quota = Quota(
            requests_per_minute=25 if knows else None,
            video_minutes_per_hour=None,
            video_minutes_per_day=None,
            max_inline_wait_s=600,
        )
        runs = Run(service=service, videos=videos(100), quota=quota)

        gate = await runs.once()

        assert sorted(service.created) == sorted(runs.videos)
        assert gate.parked is None
        assert runs.left_while_refused() == []
        assert now_s() < 60 * 3 + (90 if tells else 250)
        # Where nobody says how many are left, it is asked again after each wait.
        assert service.requests <= 100 + (12 if knows or "headers" in tells else 60)
        assert 1 <= len([each for each in runs.told if isinstance(each, Waiting)]) <= 25

    run(scene())


def test_a_limit_of_a_hundred_a_day_parks_each_run_until_the_next_day() -> None:
    async def scene() -> None:
        service = Limited(window_s=DAY_S, most=100, tells=("after", "headers"))
        runs = Run(service=service, videos=videos(250))
        counts = []
        while len(service.created) < 250:
            before = service.requests
            gate = await runs.once()
            counts.append(service.requests - before)
            if gate.parked is None:
                break
            assert gate.parked.until is not None
            before = service.requests
            again = await runs.once()
            assert service.requests == before, "a run that is too early sends nothing"
            assert again.parked is not None
            await asyncio.sleep(gate.parked.until - EPOCH - now_s())

        assert sorted(service.created) == sorted(runs.videos)
        assert runs.left_while_refused() == []
        assert sum(counts) <= 250 + 30
        assert now_s() < 2 * DAY_S + 3600

    run(scene())


def test_a_daily_limit_in_minutes_that_the_manifest_knows_is_never_touched() -> None:
    async def scene() -> None:
        service = Limited(window_s=DAY_S, most_minutes=60, tells=("after",))
        quota = Quota(
            requests_per_minute=None,
            video_minutes_per_hour=None,
            # The service counts when a create arrives, which is later than it left.
            video_minutes_per_day=60,
            max_inline_wait_s=600,
        )
        runs = Run(service=service, videos=videos(30, 300.0), quota=quota)
        parked_until = []
        while len(service.created) < 30:
            gate = await runs.once()
            if gate.parked is None:
                break
            assert gate.parked.until is not None
            parked_until.append(gate.parked.until)
            await asyncio.sleep(gate.parked.until - EPOCH - now_s() + 1.2)

        assert sorted(service.created) == sorted(runs.videos)
        assert service.refusals == []
        assert service.requests == 30
        assert len(parked_until) == 2

    run(scene())


def test_without_the_lane_creates_leave_that_were_let_through_before_the_refusal() -> None:
    """The negative control of `sending`: what is let through must leave at once."""

    async def scene() -> None:
        service = Limited(window_s=DAY_S, most=10, tells=("after",))
        runs = Run(service=service, videos=videos(64))
        await runs.once(sends=64)
        many = service.requests
        service = Limited(window_s=DAY_S, most=10, tells=("after",))
        runs = Run(service=service, videos=videos(64))
        await runs.once(sends=4)
        assert many == 64
        assert service.requests <= 14

    run(scene())
