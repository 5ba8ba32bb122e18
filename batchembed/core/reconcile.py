"""Which task of a listing came of a create whose answer was lost. Pure.

An upload is found by the marker in its name, which names dataset, job and attempt. A URL is listed
by itself, model, clip length and scope only, so that the one unclaimed task that agrees in these and
was made since is taken for it; of two that do, nobody but a person can say.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeAlias

from batchembed.core.keys import upload_name
from batchembed.core.model import TaskId
from batchembed.core.states import Entry, Intent

#: How far apart the clocks of the service's own machines may be.
_SLACK_S = 5.0
#: How far apart its clock and ours, where it has not told the time.
_SLACK_BETWEEN_S = 600.0
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

    @property
    def named(self) -> bool:
        """Whether it says what it was made of."""
        return self.input_filename is not None or self.url_digest is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The tasks that the service lists."""

    tasks: tuple[Listed, ...]
    complete: bool  #: they are as many as it says that it has


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The task, and others that were made of the same create."""

    task: Listed
    others: tuple[TaskId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguous:
    """Any of these may be it."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """It is not there; `hidden` are tasks that do not say what they were made of, or by which model."""

    hidden: tuple[TaskId, ...] = ()


Verdict: TypeAlias = Found | Ambiguous | Unseen


def judge(
    entry: Entry, listing: Listing, *, dataset_id: str, claimed: AbstractSet[TaskId]
) -> Verdict:
    """Look for the task of an entry that is in doubt among those that no entry has."""
    free = [task for task in listing.tasks if task.task_id not in claimed]
    if entry.intent is None or entry.intent.url_digest is None:
        ours = [task for task in free if _is_marked(task, entry, dataset_id)]
        if ours:
            first = min(ours, key=_preference)
            return Found(
                task=first, others=tuple(task.task_id for task in ours if task is not first)
            )
    else:
        intent = entry.intent
        alike = [task for task in free if _is_alike(task, intent) and _is_since(task, entry)]
        if len(alike) == 1:
            return Found(task=alike[0])
        if alike:
            return Ambiguous(tasks=tuple(task.task_id for task in alike))
    return Unseen(
        hidden=tuple(
            task.task_id for task in free if _may_be(task, entry.intent) and _is_since(task, entry)
        )
    )


def _is_marked(task: Listed, entry: Entry, dataset_id: str) -> bool:
    marker = upload_name(dataset_id, entry.job_key, entry.attempt, "")
    name = (task.input_filename or "").lower()
    return name == marker or name.startswith(f"{marker}.")


def _preference(task: Listed) -> tuple[bool, float, str]:
    """Those that did not fail first, then the oldest."""
    return task.status == "failed", task.created_at or 0.0, task.task_id


def _is_alike(task: Listed, intent: Intent) -> bool:
    return task.model_name in {None, intent.model_name} and _asks_the_same(task, intent)


def _asks_the_same(task: Listed, intent: Intent) -> bool:
    """Whether it is of the same URL, cut in the same way: by whatever name its model goes."""
    scope = task.video_embedding_scope
    return (
        task.url_digest == intent.url_digest
        and task.video_clip_length in {None, intent.video_clip_length}
        and (scope is None or set(scope) == set(intent.video_embedding_scope))
    )


def _may_be(task: Listed, intent: Intent | None) -> bool:
    """Whether it can't be told that this is another's: it is nameless, or its model has an alias."""
    if not task.named:
        return True
    return intent is not None and intent.url_digest is not None and _asks_the_same(task, intent)


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
