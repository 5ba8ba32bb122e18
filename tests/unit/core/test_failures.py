"""Classes of failures, and which of them are tried again."""

from __future__ import annotations

import pytest

from batchembed.core.failures import (
    FailureClass,
    failure_class,
    is_of_no_video,
    is_retried,
    is_transient,
    names_a_failure,
    retry_names,
    way_out,
)
from batchembed.core.model import JobKey, TaskId
from batchembed.core.problems import Reason
from batchembed.core.states import Entry, State


def entry(state: State, code: str | None = None, *, task: str | None = None) -> Entry:
    return Entry(
        job_key=JobKey("k"),
        state=state,
        attempt=1,
        task_id=None if task is None else TaskId(task),
        reason=None if code is None else Reason(code=code, message="so it was said"),
    )


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (entry(State.LOST, "task_lost", task="t"), FailureClass.LOST),
        (entry(State.FAILED, "parameter_invalid"), FailureClass.REFUSED),
        (entry(State.FAILED, "video_file_broken", task="t"), FailureClass.TASK),
        (entry(State.FAILED, "embed_no_embeddings_found", task="t"), FailureClass.TASK),
        (entry(State.FAILED, "embedding_dimension", task="t"), FailureClass.ANSWER),
        (entry(State.FAILED, "answer_empty", task="t"), FailureClass.ANSWER),
        (entry(State.FAILED, "segment_outside", task="t"), FailureClass.ANSWER),
        (entry(State.FAILED, "video_file_changed"), FailureClass.CHANGED),
        (entry(State.FAILED, "submission_unknown"), FailureClass.UNKNOWN),
        (entry(State.FAILED), FailureClass.REFUSED),
        (entry(State.PROCESSING, task="t"), None),
        (entry(State.UNKNOWN, "submission_unknown"), None),
    ],
)
def test_a_failure_has_the_class_of_what_went_wrong(
    failed: Entry, expected: FailureClass | None
) -> None:
    assert failure_class(failed) is expected


@pytest.mark.parametrize(
    "code", ["worker_crashed", "http_503", "http_429", "http_408", "video_url_unreachable"]
)
def test_what_says_nothing_against_the_video_may_pass(code: str) -> None:
    assert is_transient(code)


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (entry(State.LOST, "task_lost", task="t"), True),
        (entry(State.FAILED, "answer_unreadable", task="t"), True),
        (entry(State.FAILED, "submission_unknown"), True),
        (entry(State.FAILED, "worker_crashed", task="t"), True),
        (entry(State.FAILED, "video_file_changed"), True),
        (entry(State.FAILED, "video_file_broken", task="t"), False),
        (entry(State.FAILED, "parameter_invalid"), False),
        (entry(State.FAILED), False),
        (entry(State.PROCESSING, task="t"), False),
    ],
)
def test_only_some_failures_say_something_of_the_video(failed: Entry, expected: bool) -> None:
    assert is_of_no_video(failed) is expected


@pytest.mark.parametrize(
    "code", ["video_file_broken", "http_400", "http_4000", "task_failed", "parameter_invalid", ""]
)
def test_what_is_the_videos_own_fault_does_not_pass(code: str) -> None:
    assert not is_transient(code)


def test_retry_takes_all_failures_or_those_of_a_class_or_code() -> None:
    lost = entry(State.LOST, "task_lost", task="t")
    crashed = entry(State.FAILED, "worker_crashed", task="t")
    broken = entry(State.FAILED, "video_file_broken", task="t")
    told = {
        wanted: [is_retried(each, wanted) for each in (lost, crashed, broken)]
        for wanted in (
            "failed",
            "failed:lost",
            "failed:task",
            "failed:transient",
            "failed:video_file_broken",
            "failed:task_lost",
            "lost",
            None,
        )
    }
    assert told == {
        "failed": [True, True, True],
        "failed:lost": [True, False, False],
        "failed:task": [False, True, True],
        "failed:transient": [False, True, False],
        "failed:video_file_broken": [False, False, True],
        "failed:task_lost": [True, False, False],
        "lost": [False, False, False],
        None: [False, False, False],
    }


@pytest.mark.parametrize(
    "state",
    [State.PLANNED, State.SUBMITTING, State.UNKNOWN, State.PROCESSING, State.READY],
)
def test_nothing_is_tried_again_that_has_not_failed(state: State) -> None:
    assert not is_retried(entry(state, "worker_crashed", task="t"), "failed")


def test_a_job_that_is_not_known_has_not_failed() -> None:
    assert not is_retried(None, "failed")


def test_a_lost_task_is_paid_for_again_only_by_its_name() -> None:
    """A nightly `--retry failed:transient` must not pay twice, whatever words a loss has."""
    assert not is_retried(entry(State.LOST, "http_503", task="t"), "failed:transient")


def test_a_retry_can_name_what_does_not_fail_tonight() -> None:
    assert names_a_failure("worker_crashed", ())
    assert names_a_failure("http_503", ())
    assert names_a_failure("lost", ())
    assert not names_a_failure("rejected", ())
    assert not names_a_failure("worker_crached", ())


def test_a_code_of_the_service_that_nobody_foresaw_can_be_named_once_it_is_there() -> None:
    assert not names_a_failure("sunspots", ())
    assert names_a_failure("sunspots", [entry(State.FAILED, "sunspots")])
    assert "sunspots" in retry_names([entry(State.FAILED, "sunspots")])


#: Those that the users' document and its service name for a create or a task.
CODES = [
    "api_allowed_for_paid_plan",
    "api_key_invalid",
    "api_not_allowed",
    "audio_file_broken",
    "embed_no_embeddings_found",
    "parameter_invalid",
    "parameter_not_provided",
    "parameter_unknown",
    "region_not_allowed",
    "request_canceled_or_timed_out",
    "resource_not_exist",
    "too_many_requests",
    "unauthorized",
    "unsupported_file_type",
    "usage_limit_exceeded",
    "video_duration_too_long",
    "video_duration_too_short",
    "video_file_broken",
    "video_filesize_too_large",
    "video_resolution_invalid_aspect_ratio",
    "video_resolution_too_high",
    "video_resolution_too_low",
]


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_the_service_has_a_way_out_of_its_own(code: str) -> None:
    own = way_out(FailureClass.TASK, Reason(code=code, message="m"))
    other = way_out(FailureClass.TASK, Reason(code="sunspots", message="m"))
    assert own != other
    assert "{" not in own
    assert "\n" not in own


@pytest.mark.parametrize("failure", FailureClass)
def test_every_class_has_a_way_out(failure: FailureClass) -> None:
    assert way_out(failure, None)
    assert way_out(failure, Reason(code="sunspots", message="m"))


def test_a_lost_task_is_no_matter_of_its_code() -> None:
    told = way_out(FailureClass.LOST, Reason(code="resource_not_exist", message="m"))
    assert "--retry failed:lost" in told
    assert "pays for it again" in told


def test_a_rejection_says_what_its_check_says() -> None:
    told = way_out(
        FailureClass.REJECTED, Reason(code="video_file_broken", message="m", hint="remux")
    )
    assert told == "remux"
