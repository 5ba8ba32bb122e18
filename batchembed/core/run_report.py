"""What a run did, as one value; text and JSON are functions of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from batchembed.core.outcome import Outcome, VideoOutcome
from batchembed.errors import ExitCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """Why a run submits nothing more for now, and when to come back; None: nobody can say."""

    why: str
    until: float | None  #: seconds since 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run at its end. Times in seconds, moments in seconds since 1970."""

    run_id: str
    began_at: float

    manifest: str
    name: str
    engine: str
    model_name: str
    dataset: str
    dataset_id: str
    record: int | None  #: the dataset's last record, None where there is none yet
    published: bool  #: this run made a record
    rows: int  #: in the dataset
    kept: tuple[str, ...]  #: video ids whose rows stay although the manifest no longer names them
    submitted: int  #: tasks created by this run
    submitted_sec: float  #: of video in them, as far as it is known
    adopted: int  #: tasks found again in the service's listing
    collected_sec: float  #: of video, whose segments this run retrieved
    price_per_minute: float | None  #: of video, as the manifest says
    currency: str
    requests: tuple[tuple[str, int], ...]  #: sent, by kind: create, status, list, retrieve
    parked: Parked | None
    wall_s: float
    videos: tuple[VideoOutcome, ...]
    warnings: tuple[str, ...]
    halted: str | None  #: why the run ended before its work did
    exit_code: ExitCode

    @property
    def cost(self) -> float | None:
        """Of what was submitted, an estimate; None where the manifest names no price."""
        return self.cost_of(self.submitted_sec)

    def cost_of(self, video_sec: float) -> float | None:
        """What so much video costs at the manifest's price."""
        if self.price_per_minute is None:
            return None
        return round(video_sec / 60 * self.price_per_minute, 4)

    @property
    def counts(self) -> dict[Outcome, int]:
        """Videos by outcome; every outcome is there."""
        counted = Counter(video.outcome for video in self.videos)
        return {outcome: counted[outcome] for outcome in Outcome}
