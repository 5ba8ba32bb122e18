"""What waiting for a task is made of, whichever client waits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

from batchembed.api import calls
from batchembed.api.calls import Call
from batchembed.api.models import TaskError, TasksStatusResponse
from batchembed.api.options import RequestOptions, check_options
from batchembed.api.retry import PollPolicy
from batchembed.api.uploads import CallersError
from batchembed.errors import ApiTimeoutError, ArgumentError, TaskFailedError

_TERMINAL = frozenset({"ready", "failed"})
#: For the last look, at the deadline itself.
_SHORTEST_LOOK_S = 1.0


def pace(sleep_interval: float, timeout: float | None, policy: PollPolicy | None) -> PollPolicy:
    """The policy, or else the document's constant pace; a timeout bounds either."""
    if not sleep_interval > 0:
        raise ArgumentError("sleep_interval must be greater than 0")
    if timeout is not None and not timeout > 0:
        raise ArgumentError("timeout must be greater than 0")
    if policy is None:
        return PollPolicy(
            first_wait_s=sleep_interval, longest_wait_s=sleep_interval, deadline_s=timeout
        )
    bounds = [each for each in (policy.deadline_s, timeout) if each is not None]
    return replace(policy, deadline_s=min(bounds, default=None))


def is_done(answer: TasksStatusResponse) -> bool:
    return answer.status in _TERMINAL


class Looks:
    """The looks at one task until it is done, each within what is left of the whole time."""

    def __init__(self, task_id: str, options: RequestOptions | None, policy: PollPolicy) -> None:
        self._task_id = task_id
        self._options = check_options(options)
        self._began = time.monotonic()
        self.policy = policy

    def call(self) -> Call[TasksStatusResponse]:
        """One look."""
        options = self._options
        if self.policy.deadline_s is not None:
            left_s = max(_SHORTEST_LOOK_S, self.policy.deadline_s - time.monotonic() + self._began)
            own_s = options.get("timeout_in_seconds") or left_s
            options = {**options, "timeout_in_seconds": min(left_s, own_s)}
        return calls.status(self._task_id, options)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Say which task it is that took too long; what a callback raised is raised as it was."""
        try:
            yield
        except ApiTimeoutError as error:
            raise ApiTimeoutError(f"task {self._task_id}: {error}") from error
        except CallersError as raised:
            raise raised.error from None

    def outcome(self, answer: TasksStatusResponse, *, raise_on_failed: bool) -> TasksStatusResponse:
        """The answer of a task that is done, or its failure."""
        if raise_on_failed and answer.status == "failed":
            raise TaskFailedError(self._task_id, TaskError.of(answer.error).message)
        return answer
