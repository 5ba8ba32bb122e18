"""One task of the engine: what was asked, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from batchembed.core.model import FileIdentity, Parameters
from batchembed.core.problems import Reason


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file that a task embeds, as it was when the task was created.

    `owned` files were uploaded: the engine removes them when the task has ended.
    """

    identity: FileIdentity
    sha256: str
    owned: bool


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task: what was asked, and how it ended.

    Of a file, `input_filename`, `source` and `duration_sec` are set; of a URL, `input_url`, and the
    duration once the task has ended. `ended_at` is there from then on.
    """

    task_id: str
    status: str
    created_at: float
    parameters: Parameters
    input_filename: str | None = None
    input_url: str | None = None
    duration_sec: float | None = None
    source: SourceFile | None = None
    request_digest: str
    idempotency_key: str | None = None
    ended_at: float | None = None
    error: Reason | None = None
    warnings: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a listing, newest first."""

    tasks: tuple[Task, ...]
    total: int
