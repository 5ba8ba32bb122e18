"""Which task of a listing came of a create whose answer was lost. Pure.

An upload is found by the marker in its name, which names dataset, job and attempt: a later attempt
is ours, too, of which a ledger that was lost knew. A URL is listed by itself, model, clip length and
scope only, so that the one unclaimed task that agrees in these and was made since is taken for it;
of two that do, nobody but a person can say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

from batchembed.core.keys import read_upload_name, upload_stem
from batchembed.core.model import TaskId
from batchembed.core.states import IN_FLIGHT, Entry, Intent, State

#: How far apart the clocks of the service's own machines may be.
_SLACK_S = 5.0
#: How far apart its clock and ours, where it has not told the time. A task that is older than a
#: create by less may be of it: an answer's Date need not be of the clock that dates tasks.
_SLACK_BETWEEN_S = 600.0
#: Within this time after its creation a task is certainly listed, although it is kept for longer.
_SURELY_LISTED_S = 86_400.0
#: The same of a service that lists nothing: it may be another one, or keep its tasks for hours.
_LISTED_ALONE_S = 3_600.0
#: The service made a task, and was not known to have lost it.
_MADE = IN_FLIGHT | {State.STAGED, State.COMMITTED}
#: After so many creates that made no task, a person is asked.
MOST_ABSENCES = 5
#: Of the settle time: how long after one listing the next is made.
_SHARE = 5
_SHORTEST_GAP_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A task as a listing shows it. What it does not show is None."""

    task_id: TaskId
    status: str | None
    model_name: str | None
    created_at: float | None  #: seconds since 1970, by the server's clock
    input_filename: str | None
    url_digest: str | None
    video_clip_length: float | None
    video_embedding_scope: tuple[str, ...] | None
    duration_sec: float | None = None  #: of the video
    like_digests: frozenset[str] = frozenset()  #: of other URLs that it may be of

    @property
    def named(self) -> bool:
        """Whether it says what it was made of."""
        return bool(self.input_filename) or self.url_digest is not None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The tasks that the service lists; many jobs are looked for in one."""

    tasks: tuple[Listed, ...]
    complete: bool  #: they are as many as it says that it has
    counted: bool = True  #: it says how many it has
    lacks: TaskId | None = None  #: one that it must have, and has not

    @property
    def flaw(self) -> str | None:
        """Why nothing follows from what it does not show, if so."""
        if not self.counted:
            return "the listing does not say how many tasks there are"
        if not self.complete:
            return "the listing brings fewer tasks than it says that it has"
        if self.lacks is not None:
            return (
                f"the listing lacks task {self.lacks}, which the service made not long ago: it may "
                "be another project's, or not whole yet"
            )
        return None

    def lacking(self, entries: Iterable[Entry], *, now: float, settle_s: float) -> Listing:
        """The same, with a task that it must have and has not, if there is one.

        A task that was made within the settle time need not be listed yet, and an old one no more:
        one from before all that is listed may be older than what the service keeps.
        """
        shown = {task.task_id for task in self.tasks}
        told = [task.created_at for task in self.tasks if task.created_at is not None]
        since = now - (_SURELY_LISTED_S if self.tasks else _LISTED_ALONE_S)
        since = max(since, min(told) + _SLACK_BETWEEN_S if told else since)
        missing = (
            entry.task_id
            for entry in entries
            if entry.state in _MADE
            and entry.task_id is not None
            and entry.submitted_at is not None
            and since <= entry.submitted_at <= now - settle_s
            and entry.task_id not in shown
        )
        return replace(self, lacks=next(missing, None))

    @cached_property
    def uploads(self) -> Mapping[str, Sequence[tuple[int, Listed]]]:
        """Those whose name has a marker, each with its attempt, by the rest of the marker."""
        found = defaultdict(list)
        for task in self.tasks:
            read = read_upload_name(task.input_filename or "")
            if read is not None:
                found[read[0]].append((read[1], task))
        return found

    @cached_property
    def by_url(self) -> Mapping[str | None, Sequence[Listed]]:
        """Every task by the digest of its URL; None has those that show none."""
        found = defaultdict(list)
        for task in self.tasks:
            found[task.url_digest].append(task)
        return found

    @cached_property
    def by_like(self) -> Mapping[str, Sequence[Listed]]:
        """Every task by the digests of the other URLs that it may be of."""
        found = defaultdict(list)
        for task in self.tasks:
            for digest in task.like_digests:
                found[digest].append(task)
        return found

    @cached_property
    def nameless(self) -> tuple[Listed, ...]:
        """Those that do not say what they were made of."""
        return tuple(task for task in self.tasks if not task.named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The task, others that were made of the same create, and the last attempt that is listed."""

    task: Listed
    attempt: int
    others: tuple[TaskId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguous:
    """Any of these may be it."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """It is not there; `hidden` are tasks that may be it, by what is not told of them, or told badly."""

    hidden: tuple[TaskId, ...] = ()


Verdict: TypeAlias = Found | Ambiguous | Unseen


def judge(
    entry: Entry,
    listing: Listing,
    *,
    dataset_id: str,
    claimed: AbstractSet[TaskId],
    earliest: float | None = None,
) -> Verdict:
    """Look for the task of an entry that is in doubt among those that no entry has.

    Args:
        entry: it.
        listing: the tasks.
        dataset_id: is in the names of its uploads.
        claimed: tasks that entries have.
        earliest: the create can't have left before, by the service's clock, which had not told the
            time then; None where nothing says so.
    """
    intent, may_be = entry.intent, list(listing.nameless)
    if intent is None or intent.url_digest is None:
        found = _marked(entry, listing, dataset_id, claimed)
        if found is not None:
            return found
    else:
        of_url = listing.by_url.get(intent.url_digest, ())
        alike = [task for task in of_url if task.task_id not in claimed and _is_alike(task, intent)]
        since = [task for task in alike if _is_since(task, entry)]
        if len(since) == 1 and not since[0].like_digests:
            return Found(task=since[0], attempt=entry.attempt)
        # A clock of ours that was set on takes a task of now for an old one: it proves nothing.
        if since or (alike and intent.server_at is None):
            return Ambiguous(tasks=tuple(task.task_id for task in since or alike))
        # Its model may have an alias; or the clocks of the service are further apart.
        like = (*of_url, *listing.by_like.get(intent.url_digest, ()))
        may_be += [task for task in like if _asks_the_same(task, intent)]
    return Unseen(
        hidden=tuple(
            task.task_id
            for task in may_be
            if task.task_id not in claimed and _may_be_since(task, entry, earliest)
        )
    )


def _may_be_since(task: Listed, entry: Entry, earliest: float | None) -> bool:
    """Whether the task is not clearly older than the create."""
    if entry.intent is not None and entry.intent.server_at is not None:
        earliest = entry.intent.server_at
    return (
        task.created_at is None
        or earliest is None
        or task.created_at >= earliest - _SLACK_BETWEEN_S
    )


def _marked(
    entry: Entry, listing: Listing, dataset_id: str, claimed: AbstractSet[TaskId]
) -> Found | None:
    """The task of the last attempt that did not fail; of one that was made twice, the older."""
    ours = [
        (attempt, task)
        for attempt, task in listing.uploads.get(upload_stem(dataset_id, entry.job_key), ())
        if attempt >= entry.attempt and task.task_id not in claimed
    ]
    if not ours:
        return None
    of, first = min(ours, key=_preference)
    return Found(
        task=first,
        attempt=max(attempt for attempt, _ in ours),
        others=tuple(task.task_id for attempt, task in ours if attempt == of and task is not first),
    )


def _preference(upload: tuple[int, Listed]) -> tuple[bool, int, float, str]:
    attempt, task = upload
    return task.status == "failed", -attempt, task.created_at or 0.0, task.task_id


def _is_alike(task: Listed, intent: Intent) -> bool:
    return task.model_name in {None, intent.model_name} and _asks_the_same(task, intent)


def _asks_the_same(task: Listed, intent: Intent) -> bool:
    """Whether it is cut in the same way, by whatever name its model goes."""
    scope = task.video_embedding_scope
    return task.video_clip_length in {None, intent.video_clip_length} and (
        scope is None or set(scope) == set(intent.video_embedding_scope)
    )


def _is_since(task: Listed, entry: Entry) -> bool:
    """Whether the task may have been made by this create, as far as clocks can say."""
    if task.created_at is None:
        return True
    if entry.intent is not None and entry.intent.server_at is not None:
        return task.created_at >= entry.intent.server_at - _SLACK_S
    return entry.intended_at is None or task.created_at >= entry.intended_at - _SLACK_BETWEEN_S


def gap_s(settle_s: float) -> float:
    """How long after one listing began the next may."""
    return max(_SHORTEST_GAP_S, settle_s / _SHARE)


def agree_in_listings(one: Intent, other: Intent) -> bool:
    """Whether a listing can't tell tasks of the two apart: they must not be in doubt together."""
    return one.url_digest is not None and (
        one.url_digest,
        one.model_name,
        one.video_clip_length,
        set(one.video_embedding_scope),
    ) == (
        other.url_digest,
        other.model_name,
        other.video_clip_length,
        set(other.video_embedding_scope),
    )
