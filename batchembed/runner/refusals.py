"""What the refusal of one task's GET says: of that task alone, or of everything that is asked."""

from __future__ import annotations

from batchembed.api.repeats import is_transient
from batchembed.core.model import TaskId
from batchembed.core.problems import Reason
from batchembed.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    UsageLimitError,
)

#: What a service says of a task that it does not have: the documents name no status for it.
_DENIED = (NotFoundError, BadRequestError)
_GONE = 410
#: Codes of a 403 that are about the key or its account; with another it is of what was asked for.
_OF_THE_KEY = frozenset(
    {
        "api_allowed_for_paid_plan",
        "api_key_invalid",
        "api_not_allowed",
        "region_not_allowed",
        "unauthorized",
    }
)
#: Where so many tasks are refused, and none was answered, it is not the tasks.
_TASKS = 3


def denies(error: Exception) -> bool:
    """Whether the service says by it that it does not have the task."""
    if type(error) is ApiError:  # of no class that its code would give it
        return error.status_code == _GONE
    return isinstance(error, _DENIED)


def is_of_one_task(error: Exception) -> bool:
    """Whether an answer may be that of this task alone: not the key's or the account's, nor passing."""
    if isinstance(error, AuthenticationError):
        return error.status_code == 403 and error.code not in _OF_THE_KEY
    whole = isinstance(error, UsageLimitError) or is_transient(error)
    return isinstance(error, ApiError) and not whole


class Refusals:
    """Tells tasks that are refused from a service that refuses everything, for one run."""

    def __init__(self) -> None:
        self._tasks: set[TaskId] = set()
        self._was_answered = False

    def answered(self) -> None:
        """A task's GET was answered as it should be: key and address are right."""
        self._was_answered = True

    def set_aside(self, task_id: TaskId, error: ApiError) -> Reason:
        """Why this task's job is left for a later run.

        Raises:
            ApiError: this one, where it is not of the task alone.
        """
        self._tasks.add(task_id)
        none = not self._was_answered and len(self._tasks) >= _TASKS
        if none or not is_of_one_task(error):
            raise error
        return Reason(
            code=error.code or f"http_{error.status_code}",
            message=f"the service does not tell of task {task_id}: {error}",
            hint="the task is kept: the next run asks for it again",
        )
