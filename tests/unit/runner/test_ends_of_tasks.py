"""How tasks can end, or not: each leaves its video where it belongs, and nothing is paid for again.

The real loop against a service in memory; see `tests/stateful`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchembed.api.models import TaskError, TasksCreateResponse, TasksStatusResponse
from batchembed.api.pager import AsyncPager
from batchembed.core.outcome import Outcome
from batchembed.core.run_report import RunReport
from batchembed.core.states import State
from batchembed.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ExitCode,
    NotFoundError,
)
from tests.stateful.bench import Bench, FileVideo
from tests.stateful.service import DAY_S, Fate, ModelClient, ModelTask

Said = str | TasksStatusResponse | Exception | None
Says = Callable[[ModelTask, int], Said]

UNKNOWN_TASK = BadRequestError(status_code=400, code="parameter_invalid", message="no such task")
GONE = NotFoundError(status_code=404, code="resource_not_exist", message="no such task")
FIRST_TASK = f"{1:024x}"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(folder=tmp_path)
    bench.put(0, FileVideo(content=b"one"))
    bench.put(1, FileVideo(content=b"two"))
    return bench


def run(bench: Bench) -> RunReport:
    report = bench.run()
    assert report is not None
    return report


def outcomes(report: RunReport) -> list[Outcome]:
    return sorted(video.outcome for video in report.videos)


def is_the_first(task: ModelTask) -> bool:
    return task.task_id == FIRST_TASK


def of_the_first(answer: Said, *, times: int = 10**9) -> Says:
    """The first task's status is so, as often."""
    said: list[int] = []

    def says(task: ModelTask, _number: int) -> Said:
        if not is_the_first(task) or len(said) >= times:
            return None
        said.append(1)
        return answer

    return says


@pytest.mark.parametrize("times", [1, 2])
def test_a_task_that_is_denied_once_or_twice_is_not_lost(bench: Bench, times: int) -> None:
    bench.service.says = of_the_first(GONE, times=times)

    report = run(bench)

    assert outcomes(report) == [Outcome.COMMITTED] * 2
    assert len(bench.service.tasks) == 2


def test_a_task_that_is_denied_for_ever_is_lost_and_not_created_again(bench: Bench) -> None:
    bench.service.says, bench.service.hides = of_the_first(GONE), is_the_first

    reports = [run(bench), run(bench), run(bench)]

    assert {tuple(outcomes(report)) for report in reports} == {(Outcome.COMMITTED, Outcome.FAILED)}
    assert {entry.state for entry in bench.entries().values()} == {State.COMMITTED, State.LOST}
    assert len(bench.service.tasks) == 2
    assert reports[-1].exit_code is ExitCode.INCOMPLETE


def test_a_lost_task_is_created_again_once_where_the_manifest_says_so(bench: Bench) -> None:
    bench.on_lost = "resubmit"
    bench.service.says = lambda task, _: GONE if task.content == bench.content(0) else None
    bench.service.hides = lambda task: task.content == bench.content(0)

    reports = [run(bench), run(bench), run(bench)]

    assert [len(bench.service.tasks), reports[-1].submitted] == [3, 0]
    assert outcomes(reports[-1]) == [Outcome.COMMITTED, Outcome.FAILED]


def test_a_task_that_a_400_denies_stops_no_other_video(bench: Bench) -> None:
    bench.tasks = 1
    bench.service.says = of_the_first(UNKNOWN_TASK)

    reports = [run(bench), run(bench)]

    assert reports[-1].halted is None
    assert Outcome.COMMITTED in outcomes(reports[-1])
    assert len(bench.service.tasks) == 2


def test_results_that_have_expired_are_lost_and_not_paid_for_again(bench: Bench) -> None:
    bench.service.fates.extend([Fate(lasts_s=40.0), Fate(lasts_s=40.0)])
    bench.run(once=(lambda: bench.world.monotonic() > 10.0, "stop"))
    assert {entry.state for entry in bench.entries().values()} == {State.PROCESSING}
    bench.world.passed_s += 8 * DAY_S

    report = run(bench)

    assert outcomes(report) == [Outcome.FAILED] * 2
    assert {entry.state for entry in bench.entries().values()} == {State.LOST}
    assert len(bench.service.tasks) == 2
    assert {reason.code for video in report.videos for reason in video.reasons} == {"task_lost"}


def test_a_ready_result_is_collected_on_its_seventh_day_before_anything_is_sent(
    bench: Bench,
) -> None:
    bench.videos.pop(1)
    bench.service.fates.append(Fate(lasts_s=40.0))
    bench.run(once=(lambda: bench.world.monotonic() > 10.0, "stop"))
    bench.world.passed_s += 7 * DAY_S - 60.0
    bench.put(1, FileVideo(content=b"two"))

    report = run(bench)

    assert outcomes(report) == [Outcome.COMMITTED] * 2
    assert len(bench.service.tasks) == 2


def test_a_task_that_never_ends_is_left_to_the_next_run_and_kept(bench: Bench) -> None:
    bench.service.fates.append(Fate(lasts_s=100 * DAY_S))

    reports = [run(bench), run(bench)]

    for report in reports:
        assert outcomes(report) == [Outcome.COMMITTED, Outcome.PENDING]
        assert report.exit_code is ExitCode.AGAIN
    assert len(bench.service.tasks) == 2
    # Its deadline, and for the second run what is left of it.
    assert bench.world.monotonic() == pytest.approx(64.0, abs=10.0)


def test_a_status_that_nobody_knows_is_waited_for(bench: Bench) -> None:
    words = ["validating", "indexing", "", "READY", "done?"]
    bench.service.says = lambda _, number: words[number] if number < len(words) else None

    report = run(bench)

    assert outcomes(report) == [Outcome.COMMITTED] * 2
    assert len(bench.service.tasks) == 2


def before_its_time(task: ModelTask) -> dict[str, Any]:
    """A status and no segments."""
    return {"_id": task.task_id, "status": "processing"}


def half(task: ModelTask) -> dict[str, Any]:
    """A status and some of the segments."""
    segments = ModelClient.answer(task)["video_embedding"]["segments"][:1]
    return {"status": "processing", "video_embedding": {"segments": segments}}


@pytest.mark.parametrize("early", [before_its_time, half])
def test_a_retrieve_that_comes_before_the_segments_is_asked_again_in_the_same_run(
    bench: Bench, early: Callable[[ModelTask], dict[str, Any]]
) -> None:
    bench.videos.pop(1)
    bench.service.gives = lambda task, number: early(task) if number <= 2 else None

    report = run(bench)

    (video,) = report.videos
    assert (video.outcome, video.rows, video.warnings) == (Outcome.COMMITTED, 2, ())
    assert bench.service.fetches == 3


@pytest.mark.parametrize(
    "early",
    [before_its_time, half, lambda _: {"code": "x", "message": "wait"}, lambda _: {}],
    ids=["a status", "some segments", "other words", "nothing"],
)
def test_segments_that_are_not_there_yet_are_left_to_the_next_run(
    bench: Bench, early: Callable[[ModelTask], dict[str, Any]]
) -> None:
    bench.videos.pop(1)
    bench.service.gives = lambda task, _: early(task)
    waiting = run(bench)
    bench.service.gives = lambda _task, _number: None

    (video,) = waiting.videos
    assert (video.outcome, waiting.exit_code) == (Outcome.PENDING, ExitCode.AGAIN)
    assert [reason.code for reason in video.reasons] == ["not_collected"]
    assert outcomes(run(bench)) == [Outcome.COMMITTED]
    assert len(bench.service.tasks) == 1


def test_answers_of_two_tasks_that_are_swapped_are_never_staged(bench: Bench) -> None:
    def swapped(task: ModelTask, _number: int) -> dict[str, Any] | None:
        others = [each for each in bench.service.tasks if each is not task]
        return {"_id": others[0].task_id, "status": "ready"} | ModelClient.answer(others[0])

    bench.service.gives = swapped

    report = run(bench)

    assert outcomes(report) == [Outcome.FAILED] * 2
    assert {reason.code for video in report.videos for reason in video.reasons} == {
        "answer_unreadable"
    }
    assert bench.service.fetches == 6


def test_an_answer_that_is_anothers_once_is_fetched_again(bench: Bench) -> None:
    def swapped(task: ModelTask, number: int) -> dict[str, Any] | None:
        return (
            {"_id": "f" * 24, "status": "ready"} | ModelClient.answer(task) if number == 1 else None
        )

    bench.service.gives = swapped

    assert outcomes(run(bench)) == [Outcome.COMMITTED] * 2


REFUSED = [
    ApiError(status_code=302),
    ApiError(status_code=405, message="not allowed"),
    AuthenticationError(status_code=403, code="not_yours", message="another's"),
]


def refuses(number: int, error: Exception) -> Callable[[ModelTask, int], Exception | None]:
    """A service that answers every GET of its first tasks so, up to this number."""
    return lambda task, _: error if int(task.task_id, 16) <= number else None


@pytest.mark.parametrize("error", REFUSED, ids=["302", "405", "403"])
@pytest.mark.parametrize("asked", ["status", "retrieve"])
def test_one_task_that_is_refused_stops_no_other_video(
    bench: Bench, asked: str, error: ApiError
) -> None:
    setattr(bench.service, "says" if asked == "status" else "gives", refuses(1, error))

    reports = [run(bench)]
    bench.put(2, FileVideo(content=b"three"))
    reports.append(run(bench))

    assert outcomes(reports[-1]) == [Outcome.COMMITTED] * 2 + [Outcome.PENDING]
    assert [(report.halted, report.exit_code) for report in reports] == [(None, ExitCode.AGAIN)] * 2
    reasons = [reason for video in reports[-1].videos for reason in video.reasons]
    assert [reason.code for reason in reasons] == [error.code or f"http_{error.status_code}"]
    assert FIRST_TASK in reasons[0].message
    assert len(bench.service.tasks) == 3


class UnlistedClient(ModelClient):
    """A client of a service that lists no tasks: no page says of one what its status does not."""

    async def list(self, **_: Any) -> AsyncPager:
        raise ApiError(status_code=501)


@pytest.mark.parametrize("error", REFUSED, ids=["302", "405", "403"])
def test_where_every_task_is_refused_the_run_ends(bench: Bench, error: ApiError) -> None:
    bench.tasks, bench.connect = 1, UnlistedClient
    for slot in (2, 3):
        bench.put(slot, FileVideo(content=b"%d" % slot))
    bench.service.says = refuses(4, error)

    report = run(bench)

    assert (report.halted, report.exit_code) == (str(error), error.exit_code)
    assert outcomes(report) == [Outcome.PENDING] * 4
    assert len(bench.service.tasks) == 3


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError(status_code=401),
        AuthenticationError(status_code=403, code="api_key_invalid"),
        AuthenticationError(status_code=410, code="api_key_invalid"),
    ],
    ids=["401", "403", "410"],
)
def test_a_refused_key_ends_the_run_at_the_first_task(bench: Bench, error: ApiError) -> None:
    bench.tasks = 1
    bench.service.says = refuses(1, error)

    reports = [run(bench), run(bench)]

    assert [report.exit_code for report in reports] == [ExitCode.NO_PERMISSION] * 2
    assert len(bench.service.tasks) == 1


def test_a_task_that_is_gone_is_lost_and_stops_no_other_video(bench: Bench) -> None:
    bench.service.says = of_the_first(ApiError(status_code=410, message="gone"))
    bench.service.hides = is_the_first

    report = run(bench)

    assert outcomes(report) == [Outcome.COMMITTED, Outcome.FAILED]
    assert {entry.state for entry in bench.entries().values()} == {State.COMMITTED, State.LOST}


TORN = TasksStatusResponse(
    status="failed", error=TaskError(code="video_file_broken", message="the film is torn")
)
NO_SEGMENTS = [
    GONE,
    UNKNOWN_TASK,
    ApiError(status_code=409, message="it failed"),
    {"status": "failed"},
]


@pytest.mark.parametrize("refusal", NO_SEGMENTS, ids=["404", "400", "409", "a status"])
def test_a_task_that_was_ready_and_has_failed_fails_its_video(
    bench: Bench, refusal: Exception | dict[str, Any]
) -> None:
    bench.videos.pop(1)
    bench.service.gives = lambda _task, _number: refusal
    bench.service.says = lambda _, number: None if number < 5 else TORN
    seen = [run(bench).exit_code]
    bench.service.says = lambda _task, _number: TORN

    report = run(bench)

    (video,) = report.videos
    assert (seen, report.exit_code) == ([ExitCode.AGAIN], ExitCode.INCOMPLETE)
    assert [(reason.code, reason.message) for reason in video.reasons] == [
        ("video_file_broken", "the film is torn")
    ]
    assert {entry.state for entry in bench.entries().values()} == {State.FAILED}


def test_a_task_that_was_ready_and_is_at_work_again_is_left_and_told(bench: Bench) -> None:
    bench.videos.pop(1)
    bench.service.gives = lambda _task, _number: UNKNOWN_TASK
    run(bench)
    bench.service.says = lambda _task, _number: "processing"

    report = run(bench)

    (reason,) = report.videos[0].reasons
    assert (reason.code, report.exit_code) == ("not_collected", ExitCode.AGAIN)
    assert reason.message.endswith("; its status is 'processing' now")


@pytest.mark.parametrize("on_lost", ["fail", "resubmit"])
@pytest.mark.parametrize(
    "denial", [GONE, UNKNOWN_TASK, ApiError(status_code=410)], ids=["404", "400", "410"]
)
def test_a_task_that_is_denied_and_listed_is_not_lost(
    bench: Bench, denial: ApiError, on_lost: str
) -> None:
    bench.videos.pop(1)
    bench.on_lost = on_lost
    bench.service.says = of_the_first(denial)
    denied = run(bench)
    bench.service.says = lambda _task, _number: None

    (reason,) = denied.videos[0].reasons
    assert (reason.code, denied.exit_code) == ("task_denied", ExitCode.AGAIN)
    assert outcomes(run(bench)) == [Outcome.COMMITTED]
    assert len(bench.service.tasks) == 1


def test_results_that_are_denied_of_a_listed_task_are_not_lost(bench: Bench) -> None:
    bench.videos.pop(1)
    bench.service.gives = lambda _task, _number: GONE
    bench.service.says = lambda _, number: None if bench.service.fetches == 0 else GONE

    report = run(bench)

    assert [reason.code for reason in report.videos[0].reasons] == ["task_denied"]
    assert {entry.state for entry in bench.entries().values()} == {State.READY}


@pytest.mark.parametrize("on_lost", ["fail", "resubmit"])
def test_a_create_that_was_answered_with_another_id_has_its_task_found(
    bench: Bench, on_lost: str
) -> None:
    class MixedUpClient(ModelClient):
        async def create(self, **form: Any) -> TasksCreateResponse:
            await super().create(**form)
            return TasksCreateResponse(id="f" * 24)

    bench.videos.pop(1)
    bench.on_lost, bench.connect = on_lost, MixedUpClient

    report = run(bench)

    assert (outcomes(report), report.adopted) == ([Outcome.COMMITTED], 1)
    assert [entry.task_id for entry in bench.entries().values()] == [FIRST_TASK]
    assert len(bench.service.tasks) == 1


def test_a_denied_task_of_a_service_without_a_listing_is_lost(bench: Bench) -> None:
    bench.videos.pop(1)
    bench.connect = UnlistedClient
    bench.service.says = of_the_first(GONE)

    assert [reason.code for reason in run(bench).videos[0].reasons] == ["task_lost"]
