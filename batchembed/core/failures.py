"""Why a video failed, in classes; which of them `--retry` tries again, and what a person can do."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

from batchembed.core.problems import Reason
from batchembed.core.states import Entry, State


class FailureClass(enum.StrEnum):
    """What kind of failure keeps a video out of the dataset."""

    #: It breaks a limit, or can't be read: nothing was sent. Looked at anew in each run.
    REJECTED = "rejected"
    #: The service refused to create the task. Nothing was paid.
    REFUSED = "refused"
    #: The service ended the task as failed.
    TASK = "task"
    #: The task's answer broke a check; it is kept as it came.
    ANSWER = "answer"
    #: The file changed between the moment it was read and the end of its upload.
    CHANGED = "changed"
    #: The service no longer has the task, which was paid for.
    LOST = "lost"
    #: Whether a task exists was never known, and the manifest says to fail then.
    UNKNOWN = "unknown"


#: What `--retry` takes.
FAILED = "failed"
#: `--retry failed:transient`: what may pass by itself, and costs nothing twice.
TRANSIENT = "transient"

#: Codes of failures that say nothing against the video itself.
_PASSING = frozenset(
    {
        "request_canceled_or_timed_out",
        "too_many_requests",
        "video_file_changed",
        "video_file_unreadable",
        "video_url_unreachable",
        "worker_crashed",
        "worker_deadline",
        "worker_error",
        "worker_memory",
        "worker_start",
    }
)
_PASSING_STATUS = re.compile(r"http_(408|409|423|425|429|5\d\d)")
_STATUS = re.compile(r"http_[1-5]\d\d")

#: Failures of what lies between us and the service.
_OF_NO_VIDEO = frozenset({FailureClass.ANSWER, FailureClass.LOST, FailureClass.UNKNOWN})

#: The code of a job whose task the service no longer has.
TASK_LOST = "task_lost"
#: The checks of an answer name their failures so.
_OF_ANSWERS = ("answer_", "segment_", "embedding_")

_ACCOUNT = "the account does not allow this: ask the service, then `--retry failed:{code}`"
_ASKED = "the service refuses what was asked: change it in the manifest"
_ENCODE = "encode the video anew: the file can't be decoded"

#: What to do about a failure, by its code. `{code}` is the code itself.
_WAYS_OUT = {
    "api_allowed_for_paid_plan": _ACCOUNT,
    "api_key_invalid": "set the key's variable to a key that is valid, then `--retry failed:{code}`",
    "api_not_allowed": _ACCOUNT,
    "audio_file_broken": "encode the video's sound anew, or remove it",
    "embed_no_embeddings_found": "ask for an embedding_option that the video has, or `skip` it",
    "parameter_invalid": _ASKED,
    "parameter_not_provided": _ASKED,
    "parameter_unknown": _ASKED,
    "region_not_allowed": _ACCOUNT,
    "request_canceled_or_timed_out": "it may pass: `--retry failed:{code}`",
    "resource_not_exist": "the service no longer has it: `--retry failed` creates it again, and pays",
    "unauthorized": "set the key's variable to a key that is valid, then `--retry failed:{code}`",
    "unsupported_file_type": "encode the video in another format, such as MP4 with H.264",
    "usage_limit_exceeded": "add credit to the account, then `--retry failed:{code}`",
    "video_duration_too_long": "split the file: offsets do not make it legal",
    "video_duration_too_short": "leave the video out, or join it with another",
    "video_file_broken": _ENCODE,
    "video_file_changed": "run again once the file is written",
    "video_file_missing": "put the file where the manifest says, or take it out of the manifest",
    "video_file_unreadable": "make the file readable, and run again",
    "video_filesize_too_large": "encode it at a lower bit rate, or split the file",
    "video_resolution_invalid_aspect_ratio": "crop or pad the video to a ratio that is allowed",
    "video_resolution_too_high": "scale the video down",
    "video_resolution_too_low": "use a larger copy of the video; scaling up adds nothing",
    "video_url_unreachable": "see that the URL answers, then `--retry failed:{code}`",
    "worker_crashed": "a decoder broke on this file: `--retry failed:{code}`, or encode it anew",
    "worker_deadline": "it took too long: `--retry failed:{code}` with fewer workers, or split it",
    "worker_memory": "it took too much memory: `--retry failed:{code}`, or scale the video down",
}
#: What to do where the code has no line of its own.
_WAYS_OUT_OF = {
    FailureClass.REJECTED: "change the video or the manifest, or give it a `skip: reason`",
    FailureClass.REFUSED: "change what the service's words name, then `--retry failed:refused`",
    FailureClass.TASK: "`--retry failed:task` creates it again, and may pay again",
    FailureClass.ANSWER: "report the kept answer to the service; `--retry failed:answer` pays again",
    FailureClass.CHANGED: "run again with `--retry failed:changed` once the file is written",
    FailureClass.LOST: "`--retry failed:lost` creates the task again, and pays for it again",
    FailureClass.UNKNOWN: "look for the task at the service; `--retry failed:unknown` may pay twice",
}
_WAY_OUT_IF_PASSING = "it may pass: `--retry failed:{code}`"


def failure_class(entry: Entry) -> FailureClass | None:
    """The class of a job's failure; None while it has not failed."""
    if entry.state is State.LOST:
        return FailureClass.LOST
    if entry.state is not State.FAILED:
        return None
    code = "" if entry.reason is None else entry.reason.code
    if code == "video_file_changed":
        return FailureClass.CHANGED
    if code == "submission_unknown":
        return FailureClass.UNKNOWN
    if code.startswith(_OF_ANSWERS):
        return FailureClass.ANSWER
    return FailureClass.REFUSED if entry.task_id is None else FailureClass.TASK


def is_transient(code: str) -> bool:
    """Whether a failure of this code may pass by itself, the video being as it is."""
    return code in _PASSING or _PASSING_STATUS.fullmatch(code) is not None


def is_of_no_video(entry: Entry) -> bool:
    """Whether a job failed by something that says nothing of its video, as what may pass does."""
    failure = failure_class(entry)
    passes = entry.reason is not None and is_transient(entry.reason.code)
    return failure is not None and (failure in _OF_NO_VIDEO or passes)


def way_out(failure: FailureClass, reason: Reason | None) -> str:
    """What a person can do about a failure, in one line."""
    code = "" if reason is None else reason.code
    if failure in {FailureClass.LOST, FailureClass.UNKNOWN}:
        return _WAYS_OUT_OF[failure]
    if failure is FailureClass.REJECTED and reason is not None and reason.hint:
        return reason.hint
    known = _WAYS_OUT.get(code)
    if known is None and failure is not FailureClass.REJECTED and is_transient(code):
        known = _WAY_OUT_IF_PASSING
    return (known or _WAYS_OUT_OF[failure]).format(code=code)


def is_retried(entry: Entry | None, wanted: str | None) -> bool:
    """Whether a job that failed is to be tried again.

    `wanted` is what `--retry` says: `failed`, or `failed:X` where X is a class, `transient`, or a
    code of a reason; None tries nothing again.
    """
    failure = None if entry is None else failure_class(entry)
    if entry is None or failure is None or wanted is None:
        return False
    which, _, narrowed = wanted.partition(":")
    if which != FAILED:
        return False
    code = "" if entry.reason is None else entry.reason.code
    if narrowed == TRANSIENT:
        return failure is not FailureClass.LOST and is_transient(code)
    return narrowed in {"", failure, code}


def retry_names(entries: Iterable[Entry]) -> frozenset[str]:
    """What may stand after `failed:`, statuses apart: classes, codes that are known, and codes there are."""
    classes = {str(each) for each in FailureClass if each is not FailureClass.REJECTED}
    found = {entry.reason.code for entry in entries if entry.reason is not None}
    return frozenset(classes | _PASSING | set(_WAYS_OUT) | found | {TRANSIENT})


def names_a_failure(narrowed: str, entries: Iterable[Entry]) -> bool:
    """Whether `failed:` followed by this can ever mean a failure."""
    return _STATUS.fullmatch(narrowed) is not None or narrowed in retry_names(entries)
