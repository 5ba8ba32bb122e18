"""Retrieves a ready task's segments, checks them, and stages the rows."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from dataclasses import dataclass, field, replace
from pathlib import Path

from batchembed.api import wire
from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.core.model import JobKey, Profile, TaskId
from batchembed.core.problems import Reason
from batchembed.core.redact import redacted_body
from batchembed.core.segments import Span
from batchembed.core.states import Entry, Intent, Staged, State
from batchembed.dataset.rows import CheckedRows
from batchembed.dataset.staging import BrokenAnswerError, check_rows, write_staged
from batchembed.errors import StorageError
from batchembed.runner.book import Book
from batchembed.runner.writing import Writing
from batchembed.store.ledger import Ledger

#: A broken answer may be no fault of the task's: it is free to ask again.
_TRIES = 3
#: Answers held at once: each may be large.
_AT_ONCE = 4


def _require_whole(checked: CheckedRows) -> None:
    """A task that was found by its URL may be another's, of another part of the video.

    Raises:
        BrokenAnswerError: it has not the segments that were asked for.
    """
    miscount = next((each for each in checked.warnings if each.code == "segment_count"), None)
    if miscount is not None:
        message = f"the task that was found is not what was asked for: {miscount.message}"
        raise BrokenAnswerError(replace(miscount, code="segment_foreign", message=message))


def whole_of(intent: Intent) -> Span | None:
    """The window that the segments must fill, where it is known."""
    if intent.start_ms is None or intent.end_ms is None:
        return None
    return Span(start_ms=intent.start_ms, end_ms=intent.end_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What is known of an answer whose rows are staged."""

    staged: Staged
    warnings: tuple[Reason, ...]
    end_sec: float  #: of the last segment


@dataclass(kw_only=True)
class Collector:
    """Collects what the service has; `collected_sec` counts the seconds of video in it."""

    client: AsyncTasksClient
    book: Book
    staging: Path
    profile: Profile
    write: Writing
    collected_sec: float = 0.0
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def collect(self, key: JobKey, task_id: TaskId, intent: Intent) -> float | None:
        """Retrieve, check and stage. An answer that breaks a check is kept: it was paid for.

        Returns:
            The seconds of video that were embedded; None where the answer stays broken.

        Raises:
            NotFoundError: the service no longer has the task.
            NotReadyError: it does not have the segments yet, although a status said so.
            BatchembedError: the answer can't be had, or not be written.
        """
        entry = self.book[key]
        async with self._turn:
            stored = await self._stored(entry, task_id, intent)
        if stored is None:
            return None
        known = {warning.code for warning in entry.warnings}
        warnings = (*entry.warnings, *(w for w in stored.warnings if w.code not in known))
        whole = whole_of(intent)
        seconds = stored.end_sec if whole is None else (whole.end_ms - whole.start_ms) / 1000

        def also(ledger: Ledger) -> None:
            if whole is None:  # now it is known how long the video is
                ledger.settle(key, entry.attempt, seconds)

        await self.book.move(
            replace(entry, state=State.STAGED, staged=stored.staged, warnings=warnings),
            old=State.READY,
            also=also,
        )
        self.collected_sec += seconds
        return seconds

    async def _stored(self, entry: Entry, task_id: TaskId, intent: Intent) -> _Stored | None:
        """The rows, on disk and no longer in memory; None where the answer stays broken."""
        for tries_left in reversed(range(_TRIES)):
            body = await self.client.retrieve_body(task_id)
            try:
                return await self.write(
                    functools.partial(self._stage, body, task_id, intent, entry)
                )
            except BrokenAnswerError as error:
                if tries_left == 0:
                    await self._fail(entry, error.reason, body)
        return None

    def _stage(self, body: bytearray, task_id: TaskId, intent: Intent, entry: Entry) -> _Stored:
        checked = self._check(body, task_id, intent, entry)
        body.clear()  # it may be large, and is not needed any more
        staged = write_staged(checked, self.staging, entry.job_key)
        with contextlib.suppress(OSError):  # of an earlier task; it harms nobody
            self._broken(entry).unlink()
        return _Stored(staged=staged, warnings=checked.warnings, end_sec=checked.end_sec)

    def _check(self, body: bytearray, task_id: TaskId, intent: Intent, entry: Entry) -> CheckedRows:
        checked = check_rows(
            wire.segments(body, task_id=task_id),
            profile=self.profile,
            dimension=self.profile.dimension,
            whole=whole_of(intent),
            clip_length_sec=intent.video_clip_length,
            scopes=intent.video_embedding_scope,
        )
        if entry.adopted and intent.url_digest is not None:
            _require_whole(checked)
        return checked

    def _broken(self, entry: Entry) -> Path:
        """Where an answer is kept that broke a check: it was paid for."""
        return self.staging / f"{entry.job_key}.answer.json"

    async def _fail(self, entry: Entry, reason: Reason, body: bytearray) -> None:
        kept = self._broken(entry)
        try:
            await self.write(lambda: kept.write_bytes(redacted_body(body)))
        except OSError as failure:
            raise StorageError(f"{kept} can't be written: {failure.strerror}") from failure
        reason = replace(reason, hint=f"the answer is kept, without what signs a URL, in {kept}")
        await self.book.move(replace(entry, state=State.FAILED, reason=reason), old=State.READY)
