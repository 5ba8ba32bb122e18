"""Values that the tests of reports share."""

from __future__ import annotations

from batchembed.core.model import Facts, FileSource, JobKey, Parameters, TaskId, Video, VideoId
from batchembed.core.outcome import Outcome, VideoOutcome
from batchembed.core.problems import Place, Reason
from batchembed.core.run_report import RunReport
from batchembed.core.states import Entry, State
from batchembed.errors import ExitCode

#: 2026-11-25 23:10:00 UTC.
BEGAN_AT = 1_795_648_200.0


def a_video(
    name: str, outcome: Outcome, *reasons: Reason, entry: Entry | None = None, seconds: float = 60.0
) -> VideoOutcome:
    """A video of a file, `seconds` long, that ended so."""
    return VideoOutcome(
        video=Video(
            video_id=VideoId(name),
            source=FileSource(path=f"/v/{name}", shown=name),
            parameters=Parameters(
                model_name="local-v1", video_clip_length=6, video_embedding_scope=("clip",)
            ),
            embedding_option=None,
            metadata={},
            skip=None,
            place=Place(file="m.yaml", line=1, column=1, path="$"),
            places={},
        ),
        outcome=outcome,
        reasons=reasons,
        facts=Facts(
            width=640,
            height=360,
            aspect_ratio=16 / 9,
            rotation=0,
            duration_sec=seconds,
            size_bytes=1000,
            frame_rate=25.0,
            format_name="mp4",
            video_codec="h264",
            audio_codec=None,
        ),
        job_key=None if entry is None else entry.job_key,
        entry=entry,
    )


def a_job(
    name: str,
    state: State,
    *,
    task: str | None = None,
    reason: Reason | None = None,
    submitted_at: float | None = None,
    unknown_since: float | None = None,
) -> Entry:
    """A job's row in the ledger."""
    return Entry(
        job_key=JobKey(name),
        state=state,
        attempt=1,
        task_id=None if task is None else TaskId(task),
        reason=reason,
        submitted_at=submitted_at,
        unknown_since=unknown_since,
        updated_at=BEGAN_AT,
    )


REPORT = RunReport(
    run_id="20261125T231000Z-0a1b2c",
    began_at=BEGAN_AT,
    manifest="/m.yaml",
    name="scenes",
    engine="local",
    model_name="local-v1",
    dataset="/out",
    dataset_id="d",
    record=3,
    published=True,
    rows=1234,
    kept=(),
    submitted=1,
    submitted_sec=90.0,
    adopted=0,
    collected_sec=90.0,
    price_per_minute=None,
    currency="USD",
    requests=(("create", 1), ("status", 2)),
    parked=None,
    wall_s=2.0,
    videos=(a_video("a", Outcome.COMMITTED),),
    warnings=(),
    halted=None,
    exit_code=ExitCode.OK,
)
