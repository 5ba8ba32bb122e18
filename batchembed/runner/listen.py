"""What a run tells while it goes on. Whoever wants to show it listens; the runner prints nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from batchembed.core.outcome import Outcome
from batchembed.core.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The run begins: how many videos there are, and how many are committed by earlier runs."""

    videos: int
    committed: int
    owed: int  #: their jobs are known, and not committed
    unread: int  #: to be probed first
    plan: str = field(default="", compare=False)  #: what the run will do, in one line


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A video's job is in a new state."""

    video_id: str
    state: State
    task_id: str | None
    attempt: int
    request_id: str | None  #: the service's, of the answer that moved it


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Nothing is submitted for a while."""

    why: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A video has ended, or is left for a later run."""

    video_id: str
    outcome: Outcome
    why: str | None
    rows: int
    duration_sec: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A new record of the dataset."""

    number: int
    rows: int
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something a person should know."""

    message: str


Event: TypeAlias = Started | Moved | Waiting | Ended | Published | Warned


class Listener(Protocol):
    """Is told of a run's events, in the run's own loop: it must not block."""

    def notice(self, event: Event) -> None:
        """Take note of one event."""
        ...


class Silent:
    """Listens, and says nothing."""

    def notice(self, event: Event) -> None:
        """Nothing is done."""
