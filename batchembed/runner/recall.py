"""Lets a ledger know again what the dataset's record knows: where it was lost, or is an old copy.

The record has every committed job. `tasks.jsonl` has the tasks and attempts of these and of those
that failed, and `videos.jsonl` says why they did. What was in flight only the service knows: the
ledger remembers since when it may be ignorant of that, and `presume` sees to the rest.

A ledger that has every job of the record may lack creates for all that: another one has paid since.
So the dataset says which run paid last, and the ledger which one it knows of.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import msgspec

from batchembed.core.failures import TASK_LOST
from batchembed.core.model import JobKey, TaskId, VideoId
from batchembed.core.outcome import Outcome
from batchembed.core.problems import Reason
from batchembed.core.quota import Charge
from batchembed.core.states import Entry, State
from batchembed.dataset.payer import read_payer
from batchembed.dataset.publish import Dataset
from batchembed.dataset.record import Record
from batchembed.dataset.storage import META
from batchembed.runner.book import Calls
from batchembed.runner.holdings import staged_of
from batchembed.runner.listing import TASKS, VIDEOS
from batchembed.runner.writing import Writing
from batchembed.store.ledger import Beginning, Ledger

T = TypeVar("T")


class _Task(msgspec.Struct, frozen=True):
    """A line of `tasks.jsonl`."""

    job_key: JobKey
    task_id: TaskId | None = None
    attempt: int = 1
    submitted_at: datetime | None = None


class _Length(msgspec.Struct, frozen=True):
    duration_sec: float


class _Video(msgspec.Struct, frozen=True):
    """A line of `videos.jsonl`."""

    video_id: VideoId
    source: str
    outcome: str
    job_key: JobKey | None = None
    facts: _Length | None = None
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownJob:
    """A job as the record knows it, and a video that is it. `video_sec` is of the whole video."""

    entry: Entry
    video_id: VideoId
    source: str
    video_sec: float | None

    @property
    def charge(self) -> Charge | None:
        """What its task cost at most; None where that is not known, or there was none."""
        if self.entry.task_id is None or self.video_sec is None:
            return None
        # Of unknown age, it is long ago: no quota counts it, and a dataset's budget does.
        return Charge(at=self.entry.submitted_at or 0.0, video_sec=self.video_sec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """What a ledger does not know, and the dataset's record may."""

    jobs: int  #: that are committed
    record: int | None  #: None: there is none yet
    is_behind: bool = False  #: there is a ledger, and others have paid since
    payer: str | None = None  #: the run that paid last, as the dataset says

    def told(self, *, hosted: bool) -> str | None:
        """One line for a person; None where nothing is to be told."""
        sought = (
            "; tasks in flight are looked for in the service's listing before anything is submitted"
        )
        if self.is_behind and not self.jobs:
            what = "the ledger does not know the last run of this dataset"
            return f"{what}: another state folder has it, or this one is an old copy{sought}"
        what = "the ledger lacks jobs of the dataset, as an old copy of it does"
        if not self.is_behind:
            what = "no ledger of this dataset was found"
        taken = "it has no record yet"
        if self.record is not None:
            count = "1 job is" if self.jobs == 1 else f"{self.jobs:,} jobs are"
            taken = f"{count} taken from its record {self.record}"
        elif not hosted:
            return None
        return f"{what}; {taken}{sought if hosted else ''}"


def known_jobs(dataset: Dataset, *, now: float) -> dict[JobKey, KnownJob]:
    """Every job of the last record: committed, or failed. It reads files.

    Side files that are missing or damaged tell nothing: then the service's listing has to.

    Raises:
        DatasetError: the record can't be read.
    """
    record = dataset.last()
    if record is None:
        return {}
    tasks = {task.job_key: task for task in _lines(dataset, record, TASKS, _Task)}
    videos = {video.job_key: video for video in _lines(dataset, record, VIDEOS, _Video)}
    known = dict(_failed(videos, tasks, now))
    for spec in dataset.specs():
        video = videos.get(spec.job_key)
        entry = replace(
            _entry(spec.job_key, tasks.get(spec.job_key), now),
            state=State.COMMITTED,
            staged=staged_of(spec),
            commit=record.number,
            warnings=() if video is None else video.warnings,
        )
        known[spec.job_key] = KnownJob(
            entry=entry,
            video_id=spec.video_id,
            source=spec.source,
            video_sec=spec.duration_sec,
        )
    return known


def _failed(
    videos: Mapping[JobKey | None, _Video], tasks: Mapping[JobKey, _Task], now: float
) -> Iterator[tuple[JobKey, KnownJob]]:
    for key, video in videos.items():
        if key is None or video.outcome != Outcome.FAILED or not video.reasons:
            continue
        entry, reason = _entry(key, tasks.get(key), now), video.reasons[0]
        lost = reason.code == TASK_LOST
        yield (
            key,
            KnownJob(
                entry=replace(
                    entry,
                    state=State.LOST if lost else State.FAILED,
                    reason=reason,
                    losses=entry.attempt if lost else 0,  # at most
                ),
                video_id=video.video_id,
                source=video.source,
                video_sec=None if video.facts is None else video.facts.duration_sec,
            ),
        )


def _entry(key: JobKey, task: _Task | None, now: float) -> Entry:
    """What the record says of a job's task."""
    if task is None:
        return Entry(job_key=key, state=State.PLANNED, attempt=1, updated_at=now)
    at = task.submitted_at
    return Entry(
        job_key=key,
        state=State.PLANNED,
        attempt=task.attempt,
        task_id=task.task_id,
        submitted_at=None if at is None else at.timestamp(),
        updated_at=now,
    )


def _lines(dataset: Dataset, record: Record, name: str, kind: type[T]) -> tuple[T, ...]:
    """The lines of a side file of the record; none where it is not the file that it names."""
    try:
        content = dataset.storage.read(f"{META}/{name}")
        if hashlib.sha256(content).hexdigest() != dict(record.side_files).get(name):
            return ()
        return tuple(msgspec.json.decode(line, type=kind) for line in content.splitlines())
    except (FileNotFoundError, msgspec.DecodeError):
        return ()


async def recall(  # noqa: PLR0913  a ledger, its dataset, and what opening them told
    calls: Calls,
    dataset: Dataset,
    entries: Mapping[JobKey, Entry],
    beginning: Beginning | None,
    *,
    hosted: bool,
    now: float,
    write: Writing,
) -> Lack | None:
    """Put into a ledger what it lacks, in one transaction. Nothing, where it knows every create.

    Args:
        calls: the ledger.
        dataset: whose it is.
        entries: what it has. Where the record has a job's rows, and it does not, the record counts.
        beginning: as it says.
        hosted: tasks cost something: it matters who paid last.
        now: seconds since 1970.
        write: runs what blocks.

    Returns:
        What it lacked; None: nothing.

    Raises:
        DatasetError: the record can't be read.
        StorageError: who paid last can't be read.
    """
    lack = await write(
        functools.partial(lacking, dataset, entries.keys(), beginning, hosted=hosted)
    )
    if lack is None:
        if beginning is None and dataset.is_new:
            await calls.do(_begin_knowing_all)
        return None
    known = await write(functools.partial(known_jobs, dataset, now=now))

    def put(ledger: Ledger) -> None:
        claimed = set(ledger.task_ids())
        for job in replaced(known, entries):
            before = entries.get(job.entry.job_key)
            if before is not None and before.task_id is not None:
                claimed.discard(before.task_id)
            _put(ledger, job, claimed, now)
        ledger.begin(Beginning(doubted_since=now, record=lack.record, payer=lack.payer))

    await calls.do(put)
    return lack


def replaced(
    known: Mapping[JobKey, KnownJob], entries: Mapping[JobKey, Entry]
) -> Iterator[KnownJob]:
    """The jobs that the record knows better than a ledger that lacks some."""
    for key, job in known.items():
        entry = entries.get(key)
        is_there = entry is not None and entry.state in {State.STAGED, State.COMMITTED}
        if entry is None or (job.entry.state is State.COMMITTED and not is_there):
            yield job


def lacking(
    dataset: Dataset,
    entries: AbstractSet[JobKey],
    beginning: Beginning | None,
    *,
    hosted: bool,
) -> Lack | None:
    """What a ledger with these entries lacks; None where it knows every create.

    Args:
        dataset: whose it is.
        entries: the jobs that it has.
        beginning: as it says.
        hosted: tasks cost something: it matters who paid last.

    Raises:
        DatasetError: the record can't be read.
        StorageError: who paid last can't be read.
    """
    payer = read_payer(dataset.storage) if hosted else None
    if dataset.is_new and beginning is None and payer is None:
        return None
    begun = beginning is not None or bool(entries)
    unknown = {spec.job_key for spec in dataset.specs()} - entries
    known = None if beginning is None else beginning.payer
    if begun and not unknown and payer in {None, known}:
        return None
    record = dataset.last()
    return Lack(
        jobs=len(unknown),
        record=None if record is None else record.number,
        is_behind=begun,
        payer=payer or None,  # a damaged file names nobody, each time anew
    )


def _begin_knowing_all(ledger: Ledger) -> None:
    ledger.begin(Beginning(doubted_since=None, record=None))


def _put(ledger: Ledger, job: KnownJob, claimed: set[TaskId], now: float) -> None:
    entry = job.entry
    if entry.task_id in claimed:  # a task is one job's: the file was edited
        entry = replace(entry, task_id=None)
    if entry.task_id is not None:
        claimed.add(entry.task_id)
    ledger.recall(entry)
    ledger.name(job.video_id, entry.job_key, source=job.source, now=now)
    if job.charge is not None:
        ledger.charge(entry.job_key, entry.attempt, job.charge)
