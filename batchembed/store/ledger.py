"""What the runner asks of a ledger: the durable state of every job, and what is known of every file."""

from __future__ import annotations

from typing import Protocol

import msgspec

from batchembed.core.model import Facts, Identity, JobKey, TaskId, VideoId
from batchembed.core.problems import Reason
from batchembed.core.quota import Charge
from batchembed.core.states import KEPT_S, Entry, State


class KnownFile(msgspec.Struct, frozen=True, kw_only=True):
    """What reading a file told: its facts, or why it has none, and its sha256 once hashed.

    An object of a store is a file too, which is never hashed.
    """

    identity: Identity
    facts: Facts | Reason
    sha256: str | None = None


class LedgerMove(msgspec.Struct, frozen=True, kw_only=True):
    """One move of a job, as it was made."""

    at: float  #: seconds since 1970
    run_id: str
    state: State
    attempt: int
    task_id: TaskId | None
    reason: Reason | None


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Until when the service takes no creates, as it said."""

    until: float  #: seconds since 1970
    why: str
    seconds: float | None = None  #: from when it was kept; None: by a version that did not say

    def set_back(self, now: float) -> Block:
        """With no more left than there was at first: the clock may have been ahead then."""
        if self.seconds is None or self.until <= now + self.seconds:
            return self
        return msgspec.structs.replace(self, until=now + self.seconds)


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """From where on a ledger knows every create of its dataset."""

    doubted_since: float | None  #: earlier creates may be unknown to it; None: it knows all
    record: int | None  #: the dataset's record that it was rebuilt from
    payer: str | None = None  #: the last run that paid, as far as it knows, or doubted

    def doubts(self, now: float) -> float | None:
        """Since when creates may be unknown that a service may still list, where that is so."""
        since = self.doubted_since
        return None if since is None or now - since > KEPT_S else since


class Ledger(Protocol):
    """What the runner asks of a ledger."""

    def beginning(self) -> Beginning | None:
        """From where on it knows every create; None where nobody has said so yet."""
        ...

    def begin(self, beginning: Beginning) -> None:
        """Keep from where on it knows every create, in place of what it said before.

        What it has of creates that are not under way, it is no longer asked to believe.
        """
        ...

    def recall(self, entry: Entry) -> None:
        """Put in a job as the dataset's record knows it, in place of what is there, if rows are not."""
        ...

    def entries(self) -> dict[JobKey, Entry]:
        """Every entry."""
        ...

    def add(self, key: JobKey, *, now: float) -> None:
        """Put a job in as planned; an entry that exists stays as it is."""
        ...

    def move(self, entry: Entry, *, old: State) -> bool:
        """Take a job from `old` to what `entry` says; False if it was no longer in `old`.

        Of a beginning, whose run takes one to `submitting` is the last that paid.

        Raises:
            ValueError: the table of moves has no such move.
        """
        ...

    def history(self, key: JobKey) -> tuple[LedgerMove, ...]:
        """Every move of a job, in order."""
        ...

    def task_ids(self) -> frozenset[TaskId]:
        """Every task that any job has or had."""
        ...

    def charge(self, key: JobKey, attempt: int, charge: Charge) -> None:
        """Keep what a create may cost."""
        ...

    def withdraw(self, key: JobKey, attempt: int) -> None:
        """Forget the charge of a create that made no task."""
        ...

    def settle(self, key: JobKey, attempt: int, video_sec: float) -> None:
        """Say how long the video of a charge was."""
        ...

    def charges(self) -> tuple[Charge, ...]:
        """Every charge, the oldest first."""
        ...

    def open_charges(self) -> dict[JobKey, Charge]:
        """The last charge of each job whose create may still turn out to have cost another sum."""
        ...

    def set_back(self, now: float) -> None:
        """Take what a clock that was ahead left in the future to be of now: charges, and the block."""
        ...

    def block(self) -> Block | None:
        """Until when the service takes no creates, where it said so."""
        ...

    def set_block(self, block: Block | None) -> None:
        """Keep, or forget, until when the service takes no creates."""
        ...

    def name(self, video_id: VideoId, key: JobKey, *, source: str, now: float) -> None:
        """Keep that a video is this job."""
        ...

    def jobs_of(self, video_id: VideoId) -> tuple[JobKey, ...]:
        """The jobs that a video has been, the oldest first."""
        ...

    def names(self) -> dict[JobKey, VideoId]:
        """A video of each job, for messages."""
        ...

    def files(self) -> dict[str, KnownFile]:
        """Every remembered file, by path or URI."""
        ...

    def remember(self, known: KnownFile) -> None:
        """Keep what reading a file told."""
        ...
