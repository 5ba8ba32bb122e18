"""What waiting for a task is made of, whichever client waits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from batchembed.api import calls
from batchembed.api.calls import Call
from batchembed.api.models import TasksStatusResponse
from batchembed.api.options import REQUEST_TIMEOUT_S, RequestOptions
from batchembed.api.retry import PollPolicy
from batchembed.errors import ApiTimeoutError, ArgumentError, TaskFailedError

_TERMINAL = frozenset({"ready", "failed"})


def constant_pace(sleep_interval: float, timeout: float | None) -> PollPolicy:
    """The document's pace."""
    if not sleep_interval > 0:
        raise ArgumentError("sleep_interval must be greater than 0")
    return PollPolicy(
        first_wait_s=sleep_interval, longest_wait_s=sleep_interval, deadline_s=timeout
    )


def is_done(answer: TasksStatusResponse) -> bool:
    return answer.status in _TERMINAL


class Looks:
    """The looks at one task until it is done, each within what is left of the whole time."""

    def __init__(self, task_id: str, options: RequestOptions | None, policy: PollPolicy) -> None:
        self._task_id = task_id
        self._options = options or {}
        self._began = time.monotonic()
        self.policy = policy

    def call(self) -> Call[TasksStatusResponse]:
        """One look."""
        options = self._options
        if self.policy.deadline_s is not None:
            left_s = max(0.001, self.policy.deadline_s - (time.monotonic() - self._began))
            own_s = options.get("timeout_in_seconds", REQUEST_TIMEOUT_S)
            options = {**options, "timeout_in_seconds": min(left_s, own_s)}
        return calls.status(self._task_id, options)

    @contextlib.contextmanager
    def naming_the_task(self) -> Iterator[None]:
        """Say which task it is that took too long."""
        try:
            yield
        except ApiTimeoutError as error:
            raise ApiTimeoutError(f"task {self._task_id}: {error}") from error

    def outcome(self, answer: TasksStatusResponse, *, raise_on_failed: bool) -> TasksStatusResponse:
        """The answer of a task that is done, or its failure."""
        if raise_on_failed and answer.status == "failed":
            raise TaskFailedError(self._task_id, answer.error.message if answer.error else None)
        return answer
