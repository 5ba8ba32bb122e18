"""Finds what earlier runs left in flight: paid for, or perhaps, and not collected."""

from __future__ import annotations

from dataclasses import replace

from batchembed.core.model import JobKey
from batchembed.core.plan import Collect, LookUp, Wait, decide
from batchembed.core.states import KEPT_S, State
from batchembed.runner.crew import Crew
from batchembed.runner.stopping import Stop, unless_stopped


async def find_again(crew: Crew, *, stop: Stop, now: float) -> dict[JobKey, bool]:
    """The jobs in flight, oldest first, and whether there is something to collect.

    Tasks that an earlier run called lost are looked at too, as long as the service keeps results:
    an address or a key may have been wrong. `now` is in seconds since 1970.

    Raises:
        StoppedError: the run drains.
        ServiceError: the service is away.
    """
    book, idempotent = crew.book, crew.carrier.service.idempotent
    entries = [each for each in book.entries.values() if each.intent is not None]
    entries.sort(key=lambda entry: entry.submitted_at or 0.0)
    lost = [
        entry
        for entry in entries
        if entry.state is State.LOST
        and not idempotent
        and (entry.submitted_at or 0.0) > now - KEPT_S
    ]
    asked = [entry for entry in entries if entry.state is State.PROCESSING] + lost
    ids = [entry.task_id for entry in asked if entry.task_id is not None]
    seen = await unless_stopped(stop, crew.desk.first_looks(ids))
    for entry in lost:
        if entry.task_id in seen:
            await book.move(replace(entry, state=State.PROCESSING, reason=None), old=State.LOST)
    ready = {task_id for task_id, told in seen.items() if told.status == "ready"}
    found = (book[entry.job_key] for entry in entries)
    return {
        entry.job_key: entry.state is State.READY or entry.task_id in ready
        for entry in found
        if isinstance(decide(entry, idempotent=idempotent), (Wait, Collect, LookUp))
    }
