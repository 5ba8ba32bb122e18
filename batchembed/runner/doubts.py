"""Settles doubts without a run: what `batchembed reconcile` does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from batchembed.core.model import JobKey, TaskId, VideoId
from batchembed.core.problems import Reason
from batchembed.core.states import Entry, State
from batchembed.errors import UsageError
from batchembed.manifest.explain import closest
from batchembed.runner.crew import Crew
from batchembed.runner.opening import opened
from batchembed.runner.setting import Setting
from batchembed.store.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A job that was in doubt, as it is now; `unknown` says why it still is."""

    video_id: VideoId
    before: Entry
    entry: Entry
    unknown: Reason | None


async def settle_doubts(
    setting: Setting, *, adopt: Mapping[VideoId, TaskId], forget: AbstractSet[VideoId]
) -> tuple[Settled, ...]:
    """Look for the task of every create that got no answer, or do with it what a person says.

    Args:
        setting: as of a run; of its manifest no video is looked at.
        adopt: these tasks are what became of these videos' creates.
        forget: of these videos' creates nothing has become.

    Raises:
        UsageError: a video is named that there is not, or whose create is not in doubt, or a task
            that is another's.
    """
    async with opened(setting) as open_:
        crew, names = open_.crew, open_.names
        doubts = [(_named(entry, names, {*adopt, *forget}), entry) for entry in crew.book.in_doubt]
        known = {*names.values(), *map(VideoId, crew.book.entries)}
        known |= {video.video_id for video in setting.manifest.videos}
        _require_known({*adopt, *forget}, known)
        _check(crew, [video_id for video_id, _ in doubts], adopt, forget)

        async def settle(video_id: VideoId, entry: Entry) -> Settled:
            unknown = None
            if video_id in adopt:
                await crew.reconciler.adopt(await _as_unknown(crew, entry), adopt[video_id])
            elif video_id in forget:
                await _forget(crew, await _as_unknown(crew, entry))
            elif crew.carrier.service.idempotent:
                unknown = _SENT_AGAIN
            else:
                unknown = await crew.reconciler.settle(entry)
            now = crew.book[entry.job_key]
            return Settled(video_id=video_id, before=entry, entry=now, unknown=unknown)

        settled = await asyncio.gather(*(settle(*doubt) for doubt in doubts))
        return tuple(sorted(settled, key=lambda each: each.video_id))


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


async def _as_unknown(crew: Crew, entry: Entry) -> Entry:
    if entry.state is State.UNKNOWN:
        return entry
    return await crew.book.move(replace(entry, state=State.UNKNOWN), old=entry.state)


async def _forget(crew: Crew, entry: Entry) -> None:
    def also(ledger: Ledger) -> None:
        ledger.withdraw(entry.job_key, entry.attempt)

    planned = replace(entry, state=State.PLANNED, unknown_since=None, absences=0)
    await crew.book.move(planned, old=State.UNKNOWN, also=also)
