"""What of a run's videos is lost or in doubt, and what it would cost to create it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from batchembed.core.failures import FailureClass, failure_class
from batchembed.core.model import EngineKind
from batchembed.core.outcome import Outcome, VideoOutcome
from batchembed.core.run_report import RunReport
from batchembed.core.segments import window
from batchembed.core.states import IN_DOUBT


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Some jobs of a run, each counted once."""

    tasks: int
    seconds: float  #: of video in them, as far as it is known
    unmeasured: int  #: tasks whose video's length is not known
    cost: float | None  #: of `seconds`, at the manifest's price


def class_of(video: VideoOutcome) -> FailureClass | None:
    """The class of a video's failure; None where it has not failed."""
    if video.outcome is Outcome.REJECTED:
        return FailureClass.REJECTED
    return None if video.entry is None else failure_class(video.entry)


def seconds_of(video: VideoOutcome) -> float | None:
    """How much of the video is embedded; None where its length is not known."""
    if video.facts is None:
        return None
    asked = video.video.parameters
    whole = window(
        video.facts.duration_sec, asked.video_start_offset_sec, asked.video_end_offset_sec
    )
    return (whole.end_ms - whole.start_ms) / 1000


def lost(report: RunReport) -> Account:
    """The tasks that the service no longer has; their cost is that of creating them again."""
    return _account(
        report, (video for video in report.videos if class_of(video) is FailureClass.LOST)
    )


def in_doubt(report: RunReport) -> Account:
    """The creates of which nobody knows whether a task came of them."""
    return _account(report, doubted(report))


def doubted(report: RunReport) -> tuple[VideoOutcome, ...]:
    """The videos in doubt. The embedded engine's are not: the same create is simply sent again."""
    if report.engine == EngineKind.LOCAL:
        return ()
    return tuple(
        video
        for video in report.videos
        if video.entry is not None and video.entry.state in IN_DOUBT
    )


def _account(report: RunReport, videos: Iterable[VideoOutcome]) -> Account:
    jobs = {video.job_key or video.video.video_id: seconds_of(video) for video in videos}
    seconds = sum(each for each in jobs.values() if each is not None)
    return Account(
        tasks=len(jobs),
        seconds=round(seconds, 3),
        unmeasured=sum(each is None for each in jobs.values()),
        cost=report.cost_of(seconds),
    )
