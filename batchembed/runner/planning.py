"""What a run will do with each video, from what was read of it and what the ledger knows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from batchembed.core.failures import is_retried
from batchembed.core.forecast import (
    COLLECT,
    DROP,
    LOOK_UP,
    NOTHING,
    READ,
    REJECT,
    SKIP,
    SUBMIT,
    WAIT,
    Forecast,
    Planned,
    forecast,
)
from batchembed.core.model import EngineKind, Job, JobKey, Manifest, Profile, Video
from batchembed.core.plan import Collect, LookUp, Skip, Submit, Wait, decide
from batchembed.core.quota import Charge, Charges
from batchembed.core.segments import window
from batchembed.core.states import Entry
from batchembed.dataset.record import RowSpec
from batchembed.runner.holdings import Holdings
from batchembed.runner.presume import is_forgotten
from batchembed.runner.survey import Surveyed

_IF_NOT_LISTED = "unless the service lists a task of it: the ledger may not know its create"


def drops(manifest: Manifest, specs: Iterable[RowSpec]) -> tuple[Planned, ...]:
    """The videos of a dataset's record that the next one has no longer, by `on_removed: drop`."""
    if manifest.on_removed != "drop":
        return ()
    asked = {video.video_id for video in manifest.videos if video.skip is None}
    return tuple(
        Planned(video_id=spec.video_id, action=DROP, why=f"its {_rows(spec)} go: on_removed: drop")
        for spec in specs
        if spec.video_id not in asked and spec.published_rows
    )


def _rows(spec: RowSpec) -> str:
    return f"{spec.published_rows:,} row{'' if spec.published_rows == 1 else 's'}"


@dataclass(kw_only=True)
class Planner:
    """Plans a run over what earlier ones left. Moments are in seconds since 1970."""

    manifest: Manifest
    profile: Profile
    entries: Mapping[JobKey, Entry]
    holdings: Holdings | None  #: None: there is no dataset yet
    charges: Iterable[Charge]
    blocked_until: float | None  #: as the service said to an earlier run
    now: float
    retry: str | None = None  #: which failed jobs are tried again, as `--retry` says
    limit: int | None = None  #: creates
    lacking: bool = False  #: the ledger may not know every create
    named: Collection[JobKey] = ()  #: jobs of videos that this run is not asked for
    dropped: Iterable[Planned] = ()  #: what leaves the dataset
    _seen: set[JobKey] = field(default_factory=set)

    def forecast(self, videos: Iterable[tuple[Video, Surveyed | None]]) -> Forecast:
        """Foresee a run over these videos; with None, a video must be read first."""
        planned = [self._plan(video, found) for video, found in videos]
        unread = any(each.action == READ for each in planned)
        return forecast(
            (*planned, *self.dropped),
            charges=Charges(
                self.manifest.quota,
                self.manifest.budget,
                earlier=self.charges,
                longest_video_sec=self.profile.longest_video_sec,
                now=self.now,
            ),
            blocked_until=self.blocked_until,
            now=self.now,
            limit=self.limit,
            unnamed=0 if unread else sum(map(self._is_unnamed, self.entries.values())),
        )

    def _is_unnamed(self, entry: Entry) -> bool:
        """Whether a task is paid for, or may be, and no video asks for it any more."""
        if entry.job_key in self._seen or entry.job_key in self.named:
            return False
        return isinstance(decide(entry, idempotent=self._idempotent), (Wait, Collect, LookUp))

    @property
    def _idempotent(self) -> bool:
        return self.manifest.engine.kind is EngineKind.LOCAL

    def _plan(self, video: Video, found: Surveyed | None) -> Planned:
        """What is owed to a video; `found` is None where it must be read first."""
        if video.skip is not None:
            return Planned(video_id=video.video_id, action=SKIP, why=video.skip)
        if found is None:
            return Planned(video_id=video.video_id, action=READ)
        if found.job is None:
            why = "; ".join(reason.message for reason in found.reasons)
            action = READ if found.denied else REJECT
            return Planned(video_id=video.video_id, action=action, why=why)
        if found.job.job_key in self._seen:
            why = "the same content and parameters as another"
            return Planned(video_id=video.video_id, action=NOTHING, why=why)
        self._seen.add(found.job.job_key)
        return self._owed(video, found.job)

    def _owed(self, video: Video, job: Job) -> Planned:
        entry = self.entries.get(job.job_key)
        if self.holdings is not None:
            entry = self.holdings.as_it_is(entry, video)
        action = decide(
            entry,
            idempotent=self._idempotent,
            retry_failed=is_retried(entry, self.retry),
            resubmit_lost=self.manifest.on_lost == "resubmit",
        )
        match action:
            case Submit():
                seconds = _submitted_sec(job)
                first = self.lacking and not self._idempotent and is_forgotten(entry)
                return Planned(
                    video_id=video.video_id,
                    action=SUBMIT,
                    why=_IF_NOT_LISTED if first else "",
                    video_sec=seconds,
                )
            case LookUp():
                why = "its create got no answer: it is looked for before anything is sent again"
                return Planned(video_id=video.video_id, action=LOOK_UP, why=why)
            case Wait(task_id=task_id):
                return Planned(video_id=video.video_id, action=WAIT, why=f"task {task_id}")
            case Collect(task_id=task_id):
                return Planned(video_id=video.video_id, action=COLLECT, why=f"task {task_id}")
            case Skip(why=why):
                return Planned(video_id=video.video_id, action=NOTHING, why=why)


def _submitted_sec(job: Job) -> float | None:
    """How much of the video is submitted, where that is known."""
    start, end = job.parameters.video_start_offset_sec, job.parameters.video_end_offset_sec
    if job.facts is None and end is None:
        return None
    whole = window(0.0 if job.facts is None else job.facts.duration_sec, start, end)
    return (whole.end_ms - whole.start_ms) / 1000
