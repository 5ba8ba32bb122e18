"""Settles doubts without a run: what `batchembed reconcile` does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.core.keys import read_upload_name, upload_stem
from batchembed.core.model import JobKey, TaskId, VideoId
from batchembed.core.problems import Reason
from batchembed.core.reconcile import Listing
from batchembed.core.states import Entry, State
from batchembed.errors import ApiError, BatchembedError, UsageError
from batchembed.manifest.explain import closest
from batchembed.runner.crew import Crew
from batchembed.runner.opening import opened
from batchembed.runner.refusals import denies
from batchembed.runner.setting import Setting
from batchembed.runner.tasks_listed import NoListingError
from batchembed.store.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A job that was in doubt, as it is now; `unknown` says why it still is."""

    video_id: VideoId
    before: Entry
    entry: Entry
    unknown: Reason | None
    failure: BatchembedError | None = None  #: it could not be looked for


async def settle_doubts(
    setting: Setting, *, adopt: Mapping[VideoId, TaskId], forget: AbstractSet[VideoId]
) -> tuple[Settled, ...]:
    """Look for the task of every create that got no answer, or do with it what a person says.

    What a person says is checked as a whole, and done, before anything is looked for.

    Args:
        setting: as of a run; of its manifest no video is looked at.
        adopt: these tasks are what became of these videos' creates.
        forget: of these videos' creates nothing has become.

    Raises:
        UsageError: a video is named that there is not, or whose create is not in doubt, or a task
            that is another's, or that the service does not have.
        ServiceError: the service does not say whether it has a task.
    """
    async with opened(setting) as open_:
        crew, names = open_.crew, open_.names
        doubts = [(_named(entry, names, {*adopt, *forget}), entry) for entry in crew.book.in_doubt]
        known = {*names.values(), *map(VideoId, crew.book.entries)}
        known |= {video.video_id for video in setting.manifest.videos}
        _require_known({*adopt, *forget}, known)
        _check(crew, [video_id for video_id, _ in doubts], adopt, forget)

        for video_id, entry in doubts:
            if video_id in adopt:
                await _require_own(crew, setting, entry, adopt[video_id], names)

        settled: list[Settled] = []
        for video_id, entry in doubts:
            if video_id in adopt:
                await crew.reconciler.adopt(await _as_unknown(crew, entry), adopt[video_id])
            elif video_id in forget:
                await _forget(crew, await _as_unknown(crew, entry))
            else:
                continue
            now = crew.book[entry.job_key]
            settled.append(Settled(video_id=video_id, before=entry, entry=now, unknown=None))

        others = [doubt for doubt in doubts if doubt[0] not in {*adopt, *forget}]
        settled += await asyncio.gather(*(_look_for(crew, *doubt) for doubt in others))
        return tuple(sorted(settled, key=lambda each: each.video_id))


async def _look_for(crew: Crew, video_id: VideoId, entry: Entry) -> Settled:
    """An error is one of the doubts' own: the others may be settled all the same."""
    failure = None
    if crew.carrier.service.idempotent:
        unknown: Reason | None = _SENT_AGAIN
    else:
        try:
            unknown = await crew.reconciler.settle(entry)
        except BatchembedError as error:
            failure, message = error, f"it can't be looked for now: {error}"
            unknown = Reason(code="submission_unknown", message=message, hint="run this again")
    return Settled(
        video_id=video_id,
        before=entry,
        entry=crew.book[entry.job_key],
        unknown=unknown,
        failure=failure,
    )


def _named(entry: Entry, names: Mapping[JobKey, VideoId], asked: AbstractSet[VideoId]) -> VideoId:
    """The video of a job; or the job itself, where that is how it was named."""
    own = VideoId(entry.job_key)
    return own if own in asked else names.get(entry.job_key, own)


_SENT_AGAIN = Reason(
    code="submission_unknown",
    message="the next run sends it again: the embedded engine makes no task twice",
)


def _require_known(asked: AbstractSet[VideoId], known: AbstractSet[VideoId]) -> None:
    """A video may also be of an earlier manifest, or be named by its job."""
    for video_id in sorted(asked - known):
        near = closest(video_id, sorted(known))
        meant = f"; did you mean {near}?" if near else ""
        raise UsageError(f"there is no video {video_id!r} in the manifest{meant}")


def _check(
    crew: Crew,
    in_doubt: Sequence[VideoId],
    adopt: Mapping[VideoId, TaskId],
    forget: AbstractSet[VideoId],
) -> None:
    for video_id in sorted({*adopt, *forget}):
        if video_id not in in_doubt:
            raise UsageError(f"the create of {video_id!r} is not in doubt: nothing to settle")
        if in_doubt.count(video_id) > 1:
            raise UsageError(
                f"{video_id!r} has several creates in doubt, of different parameters: name their "
                "jobs, as `batchembed show` prints them, in place of the video"
            )
        if video_id in adopt and video_id in forget:
            raise UsageError(f"{video_id!r} is to be adopted and forgotten: say one of them")
        if adopt.get(video_id) in crew.book.claimed:
            raise UsageError(f"task {adopt[video_id]} is another video's already")
    if len(set(adopt.values())) != len(adopt):
        raise UsageError("one task can't be two videos'")


async def _require_own(
    crew: Crew, setting: Setting, entry: Entry, task_id: TaskId, names: Mapping[JobKey, VideoId]
) -> None:
    """See that the service has a task, and that its name is not one that another job's create gave.

    Raises:
        UsageError: it has not, or it is.
        ServiceError: the service does not say.
    """
    name = await name_of(crew.carrier.service.client, crew.reconciler.read, task_id)
    marker = read_upload_name(name or "")
    if marker is None:
        return
    stem, _ = marker
    dataset_id = setting.dataset.dataset_id
    if stem == upload_stem(dataset_id, entry.job_key):
        return
    others = (key for key in crew.book.entries if upload_stem(dataset_id, key) == stem)
    other = next(others, None)
    whose = f"that of a job that this dataset does not know ({stem})"
    if other is not None:
        whose = f"that of {names.get(other, other)!r}"
    raise UsageError(
        f"task {task_id} is {whose}, as the name of its upload says: nothing is done; adopt the one "
        "that is this video's"
    )


async def name_of(
    client: AsyncTasksClient, read: Callable[[], Awaitable[Listing]], task_id: TaskId
) -> str | None:
    """What a task's upload was called, as its status or, where that says nothing, a listing has it.

    Raises:
        UsageError: the service has no such task.
        ServiceError: it does not say.
    """
    try:
        answer = await client.status(task_id)
    except ApiError as error:
        if not denies(error):
            raise
        raise UsageError(
            f"the service has no task {task_id} ({error}): nothing is done; look for the id in the "
            "service's own list of tasks"
        ) from error
    about = None if answer.video_embedding is None else answer.video_embedding.metadata
    if about is not None and (about.input_filename or about.input_url):
        return about.input_filename
    try:
        listing = await read()
    except NoListingError:
        return None
    return next((task.input_filename for task in listing.tasks if task.task_id == task_id), None)


async def _as_unknown(crew: Crew, entry: Entry) -> Entry:
    if entry.state is State.UNKNOWN:
        return entry
    return await crew.book.move(replace(entry, state=State.UNKNOWN), old=entry.state)


async def _forget(crew: Crew, entry: Entry) -> None:
    def also(ledger: Ledger) -> None:
        ledger.withdraw(entry.job_key, entry.attempt)

    planned = replace(entry, state=State.PLANNED, unknown_since=None, absences=0)
    await crew.book.move(planned, old=State.UNKNOWN, also=also)
