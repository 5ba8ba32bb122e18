"""What a run will do and cost, before it begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from batchembed.core.quota import DAY_S, HOUR_S, MINUTE_S, Charge, Charges, NeverFits
from batchembed.core.standing import LONGEST_S

SUBMIT, HOLD_BACK, LOOK_UP = "submit", "hold_back", "look_up"
WAIT, COLLECT, REJECT, READ = "wait", "collect", "reject", "read"
DROP = "drop"  #: its rows: the manifest no longer names it
SKIP, NOTHING = "skip", "nothing"  #: the manifest says so; nothing is owed

#: In this order they are told, with the words for it.
_WORDS = {
    HOLD_BACK: "held back",
    LOOK_UP: "in doubt",
    WAIT: "in flight",
    COLLECT: "to collect",
    READ: "to be read first",
    REJECT: "rejected",
    DROP: "to drop",
    SKIP: "skipped",
    NOTHING: "to leave alone",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a run does with one video."""

    video_id: str
    action: str
    why: str = ""
    video_sec: float | None = None  #: of what is submitted; None where it is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Some creates: how many, the video in them as far as its length is known, and how often it is not."""

    tasks: int
    video_sec: float
    unmeasured: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run will do, as far as can be said before it."""

    videos: tuple[Planned, ...]
    submit: Amount
    held_back: Amount
    unnamed: int  #: tasks in flight of videos that the manifest no longer names: they are collected
    others: int  #: an estimate of the requests that are no creates
    lasts_s: float  #: until quota and service allow the last create
    cost: float | None  #: of `submit`, at the price; None where there is none
    price_per_minute: float | None
    currency: str

    @property
    def counts(self) -> dict[str, int]:
        """Videos by action."""
        return dict(Counter(each.action for each in self.videos))


def forecast(
    planned: Iterable[Planned],
    *,
    charges: Charges,
    blocked_until: float | None,
    now: float,
    limit: int | None = None,
    unnamed: int = 0,
) -> Forecast:
    """Foresee a run that submits in this order.

    Args:
        planned: every video; those that quota or budget will hold back become so here.
        charges: of earlier runs, as the run begins with them. They are added to.
        blocked_until: what the service said to an earlier run, in seconds since 1970.
        now: seconds since 1970.
        limit: of creates.
        unnamed: tasks in flight that no video asks for any more.
    """
    left = limit
    at = now if blocked_until is None else max(now, min(blocked_until, now + LONGEST_S))
    last = now
    videos = []
    for video in planned:
        if video.action == SUBMIT:
            wait = charges.wait(video.video_sec, now=at)
            if not charges.affords(video.video_sec):
                video = replace(video, action=HOLD_BACK, why="it would go beyond the budget")
            elif isinstance(wait, NeverFits):
                video = replace(video, action=HOLD_BACK, why=wait.why)
            elif left == 0:
                video = replace(video, action=HOLD_BACK, why="it would go beyond the limit")
            else:
                left = None if left is None else left - 1
                at = last = at + wait.seconds
                charges.add(Charge(at=at, video_sec=video.video_sec))
        videos.append(video)
    submit = _amount(videos, SUBMIT)
    price = charges.budget.price_per_minute
    counts = Counter(each.action for each in videos)
    return Forecast(
        videos=tuple(videos),
        submit=submit,
        held_back=_amount(videos, HOLD_BACK),
        # Of each a look at its status, and its segments; a listing finds those in doubt.
        others=2 * (counts[SUBMIT] + counts[WAIT] + counts[LOOK_UP] + unnamed) + counts[COLLECT],
        unnamed=unnamed,
        lasts_s=last - now,
        cost=None if price is None else round(submit.video_sec / 60 * price, 4),
        price_per_minute=price,
        currency=charges.budget.currency,
    )


def plan_line(foreseen: Forecast, *, hosted: bool) -> str:
    """The forecast in one line for a person; requests are told where they leave this machine."""
    counts = foreseen.counts
    told = [_submitted(foreseen, hosted=hosted)] if foreseen.submit.tasks else []
    told += [f"{counts[action]:,} {words}" for action, words in _WORDS.items() if action in counts]
    if not foreseen.submit.tasks and READ not in counts:
        told.insert(0, "nothing to submit")
    if foreseen.unnamed:
        told.append(
            f"{_many(foreseen.unnamed, 'task')} in flight of videos that are no longer named"
        )
    return "plan: " + "; ".join(told)


def _submitted(foreseen: Forecast, *, hosted: bool) -> str:
    submit = foreseen.submit
    parts = [f"submit {_many(submit.tasks, 'video')}, {submit.video_sec / 60:,.1f} minutes"]
    if submit.unmeasured:
        parts[0] += f" and {submit.unmeasured:,} of unknown length"
    if hosted:
        parts.append(
            f"in {_many(submit.tasks, 'create')} and some {foreseen.others:,} other requests"
        )
    if foreseen.cost is not None:
        price = f"{foreseen.price_per_minute:g} {foreseen.currency}"
        cost = "under 0.01" if 0 < foreseen.cost < 0.01 else f"{foreseen.cost:,.2f}"
        parts.append(
            f"{cost} {foreseen.currency}, an estimate at {price} a minute"
            + (", without those of unknown length" if submit.unmeasured else "")
        )
    if foreseen.lasts_s > 0:
        parts.append(f"the last can be sent after {_lasting(foreseen.lasts_s)} at the quota")
    return "; ".join(parts)


def _lasting(seconds: float) -> str:
    """A length of time in the unit that reads best."""
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR_S:
        return f"{seconds / MINUTE_S:.0f} minutes"
    if seconds < DAY_S:
        return f"{seconds / HOUR_S:.1f} hours"
    return f"{seconds / DAY_S:.1f} days"


def _amount(videos: Iterable[Planned], action: str) -> Amount:
    lengths = [video.video_sec for video in videos if video.action == action]
    known = [length for length in lengths if length is not None]
    return Amount(
        tasks=len(lengths), video_sec=round(sum(known), 3), unmeasured=len(lengths) - len(known)
    )


def _many(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
