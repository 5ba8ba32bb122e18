"""An answer that refuses: the API's error object with its status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict


class RefusalBody(TypedDict):
    """The error object of the wire."""

    code: str
    message: str


class Refusal(Exception):  # noqa: N818  it becomes an answer, not a failure of the engine
    """Refuses a request. `code` and `message` are the document's where it has them."""

    def __init__(
        self,
        status_code: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status_code = status_code
        self.code = code
        self.headers = dict(headers or {})
        super().__init__(message)

    def body(self) -> RefusalBody:
        """What the answer carries."""
        return {"code": self.code, "message": str(self)}


def unknown_task(task_id: str) -> Refusal:
    """The answer to an id that is not, or no longer, known."""
    return Refusal(
        404, "resource_not_exist", f"Resource with id {task_id} does not exist in embed_tasks"
    )


def invalid(name: str, why: str) -> Refusal:
    """The answer to a parameter with a wrong value."""
    return Refusal(400, "parameter_invalid", f"The {name} parameter is invalid. {why}")


def unavailable(why: str) -> Refusal:
    """The answer while the server can't do what is asked."""
    return Refusal(503, "service_unavailable", why)
