"""The exceptions of a run, and the exit codes.

A video's failure is data (`batchembed.core.outcome`); only what ends a run is an exception.

BatchembedError                 exit 1
├── UsageError                  exit 2    the command line, or a missing extra
│   └── ArgumentError                     an argument of a call that can't be right; a ValueError
├── ManifestError               exit 65   the manifest is wrong; in core.problems, with every problem
├── LockFileError               exit 65   the manifest's lock file is damaged
├── InputMissingError           exit 66   manifest, lock file, table, or what a glob should match
├── ServiceError                exit 69   no usable answer from the service
│   ├── ApiConnectionError                no connection, or it broke
│   │   └── NotSentError                  no connection: nothing has left
│   ├── ApiTimeoutError                   no answer, or no terminal status, in time
│   ├── SubmissionUnknown                 a create may or may not have been accepted
│   ├── AnswerError                       an answer that can't be read as the API's
│   │   └── AnswerTooLargeError
│   ├── NotReadyError                     a retrieve of a task whose segments are not there yet
│   └── ApiError                          an answer with an error status
│       ├── BadRequestError        400
│       ├── AuthenticationError    401, 403              exit 77
│       ├── NotFoundError          404
│       ├── PayloadTooLargeError   413
│       ├── RateLimitError         429                   exit 75
│       ├── UsageLimitError        402, or usage_limit_exceeded  exit 75
│       └── ServerError            5xx
├── BuildDiffersError           exit 4    in core.lock_differences: a locked build is not as locked
├── TaskFailedError             exit 3    a task that the server gave up
├── VideoChangedError           exit 3    a file that changed while it was uploaded
├── OutputRefusedError          exit 73   the output can't be created, or is something else
├── StorageError                exit 74   ledger, staging or dataset: I/O error, or damage
│   ├── LedgerError
│   ├── DatasetError
│   ├── LeaseLostError          exit 75   another run took the dataset over
│   └── StoreError                        an object store: something there can't be read or written
│       ├── StoreMissingError             no such bucket or object   exit 66
│       ├── StoreAwayError                no answer                  exit 69
│       └── StoreAccessError              no permission, or no valid credentials   exit 77
├── LockedError                 exit 75   another run holds this output
└── SignalledError              exit 130, 143   a second signal ended the run at once
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class ExitCode(enum.IntEnum):
    """What the process tells its caller; the README has the same table."""

    #: Every video of the manifest is committed.
    OK = 0
    #: A defect of batchembed.
    UNEXPECTED = 1
    #: The command line is wrong, or an extra is not installed.
    USAGE = 2
    #: Every video has ended; some were rejected or failed, now or before.
    INCOMPLETE = 3
    #: `verify` or `--locked` found a difference.
    DIFFERENCE = 4
    #: The manifest's text is wrong, or its lock file's.
    MANIFEST = 65
    #: The manifest or a table is missing, or a glob matches nothing.
    NO_INPUT = 66
    #: The service is away.
    UNAVAILABLE = 69
    #: The output can't be created, or is something else.
    CANT_CREATE = 73
    #: I/O error or full disk in ledger or output.
    IO = 74
    #: Work is left, or the output is locked: run again later.
    AGAIN = 75
    #: The API key was refused.
    NO_PERMISSION = 77
    #: SIGINT, after draining.
    INTERRUPTED = 130
    #: SIGTERM, after draining.
    TERMINATED = 143


#: Of several codes, the first of these is the one a run ends with.
PRECEDENCE: tuple[ExitCode, ...] = (
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.NO_PERMISSION,
    ExitCode.IO,
    ExitCode.UNAVAILABLE,
    ExitCode.AGAIN,
    ExitCode.INCOMPLETE,
)


class BatchembedError(Exception):
    """Ends a run. The message says what happened, to which thing, and what to do next."""

    exit_code: ExitCode = ExitCode.UNEXPECTED

    def __reduce__(self) -> tuple[object, ...]:
        # As it is, not by calling its class again: errors cross processes.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(
    kind: type[BatchembedError], args: tuple[object, ...], state: dict[str, object]
) -> BatchembedError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UsageError(BatchembedError):
    """The command line is wrong, or something that it needs is not installed."""

    exit_code = ExitCode.USAGE


class ArgumentError(UsageError, ValueError):
    """An argument that can't be right: nothing was sent."""


class LockFileError(BatchembedError):
    """The manifest's lock file is damaged, or of a newer version."""

    exit_code = ExitCode.MANIFEST


class InputMissingError(BatchembedError):
    """The manifest, its lock file or one of its tables can't be opened."""

    exit_code = ExitCode.NO_INPUT


class OutputRefusedError(BatchembedError):
    """The output path can't be created, or holds something that is not this dataset."""

    exit_code = ExitCode.CANT_CREATE


class StorageError(BatchembedError):
    """Ledger, staging or dataset can't be read or written."""

    exit_code = ExitCode.IO


class LedgerError(StorageError):
    """The ledger can't be used: damaged, of a newer version, or not writable."""


class DatasetError(StorageError):
    """The dataset on disk is not what its records say."""


class LeaseLostError(StorageError):
    """Another run has taken over a dataset on an object store, for this one stood still too long."""

    exit_code = ExitCode.AGAIN


class StoreError(StorageError):
    """Something on an object store can't be read or written."""


class StoreMissingError(StoreError):
    """There is no such bucket, or no such object in it."""

    exit_code = ExitCode.NO_INPUT


class StoreAwayError(StoreError):
    """The object store gives no answer, or is in trouble."""

    exit_code = ExitCode.UNAVAILABLE


class StoreAccessError(StoreError):
    """The credentials do not allow it.

    Attributes:
        refused: the credentials themselves are wrong, absent or expired: nothing else will go
            better with them. Otherwise it is this one thing that they do not reach.
    """

    exit_code = ExitCode.NO_PERMISSION

    def __init__(self, message: str, *, refused: bool = False) -> None:
        self.refused = refused
        super().__init__(message)


class LockedError(BatchembedError):
    """Another run holds this output."""

    exit_code = ExitCode.AGAIN


class SignalledError(BatchembedError):
    """A second signal ended the run at once; the ledger has everything that was acknowledged."""

    def __init__(self, number: int) -> None:
        self.exit_code = ExitCode(128 + number)
        super().__init__("stopped at once; run again to go on")


class TaskFailedError(BatchembedError):
    """The service ended a task as failed."""

    exit_code = ExitCode.INCOMPLETE

    def __init__(self, task_id: str, reason: str | None = None) -> None:
        self.task_id = task_id
        self.reason = reason
        super().__init__(f"task {task_id} failed: {reason or 'the service gives no reason'}")


class VideoChangedError(BatchembedError):
    """A file changed while it was uploaded: what its task embeds, if it has one, is no version of it.

    Attributes:
        task_id: the task that was made of it; None: it broke off, and none was made.
    """

    exit_code = ExitCode.INCOMPLETE

    def __init__(self, filename: str, task_id: str | None) -> None:
        self.task_id = task_id
        became = "no task was made" if task_id is None else f"task {task_id} embeds what was sent"
        super().__init__(
            f"{filename} changed while it was uploaded: {became}; create another once it is written"
        )


class ServiceError(BatchembedError):
    """The service gave no usable answer."""

    exit_code = ExitCode.UNAVAILABLE


class ApiConnectionError(ServiceError):
    """No connection could be made, or it broke. Nothing is known to have been accepted."""


class NotSentError(ApiConnectionError):
    """No connection could be made: nothing has left, so nothing was accepted."""


class ApiTimeoutError(ServiceError):
    """The answer, or a terminal status, did not come in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What a lost create had sent: by this its task is found in the service's listing.

    `since` is a moment before it left, in seconds since 1970 of this machine's clock.
    """

    model_name: str
    input_filename: str | None
    input_url: str | None = field(repr=False)  #: it may be signed
    idempotency_key: str
    since: float


class SubmissionUnknown(ServiceError):  # noqa: N818  the state's own name: it is not known to be an error
    """A create was sent and its answer was lost: the task may exist. Look for it before sending again.

    Attributes:
        submitted: what to look for in the listing.
    """

    def __init__(self, message: str, *, submitted: Submitted | None = None) -> None:
        self.submitted = submitted
        super().__init__(message)


class AnswerError(ServiceError):
    """An answer came that can't be read as the API's: broken JSON, wrong types, too large."""


class AnswerTooLargeError(AnswerError):
    """An answer is larger than any that the API gives; it was not read to its end."""


class NotReadyError(ServiceError):
    """A retrieve was answered, and not with the segments of a task that is ready: ask again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """What an answer's X-RateLimit headers say; `reset_at` is in seconds since 1970."""

    limit: int | None = None
    remaining: int | None = None
    used: int | None = None
    reset_at: float | None = None


class ApiError(ServiceError):
    """The service answered with an error.

    Attributes:
        status_code: the HTTP status.
        headers: of the answer, lower-case names.
        body: the parsed JSON, or the text, or None when empty.
        code: the API's own error code, such as `parameter_invalid`; None if it gave none.
        retry_after_s: seconds the service asks to wait, if it does.
        limits: what its X-RateLimit headers say, if it sent any.

    Its message ends in `hint`, where there is one.
    """

    def __init__(
        self,
        *,
        status_code: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        code: str | None = None,
        message: str | None = None,
        retry_after_s: float | None = None,
        limits: RateLimits | None = None,
        hint: str | None = None,
    ) -> None:
        self.status_code = status_code
        self.headers = dict(headers or {})
        self.body = body
        self.code = code
        self.server_message = message
        self.retry_after_s = retry_after_s
        self.limits = limits
        words = ": ".join(part for part in (code, message) if part)
        told = f"the service answered {status_code}" + (f" {words}" if words else "")
        super().__init__(told if hint is None else f"{told.rstrip('.')}; {hint}")


class BadRequestError(ApiError):
    """400: the request is wrong."""


class AuthenticationError(ApiError):
    """401 or 403: the key is refused, or may not do this."""

    exit_code = ExitCode.NO_PERMISSION


class NotFoundError(ApiError):
    """404: there is no such task, or no more."""


class PayloadTooLargeError(ApiError):
    """413: the upload is larger than the service takes."""


class RateLimitError(ApiError):
    """429: too many requests or minutes of video; `retry_after_s` says how long to wait."""

    exit_code = ExitCode.AGAIN

    @property
    def retry_after(self) -> float | None:
        """`retry_after_s`, under the header's own name."""
        return self.retry_after_s


class UsageLimitError(ApiError):
    """The account has no credit left: waiting does not help."""

    exit_code = ExitCode.AGAIN


class ServerError(ApiError):
    """5xx: the service is in trouble."""
