"""How long the service keeps what was paid for."""

from __future__ import annotations

from collections.abc import Iterable

from batchembed.core.model import EngineKind
from batchembed.core.states import IN_DOUBT, IN_FLIGHT, KEPT_S, Entry

#: Less time than this is left: a person is warned.
WARN_S = 2 * 86_400.0


def expires_at(entry: Entry | None, engine: str) -> float | None:
    """When the service deletes a task's segments, in seconds since 1970.

    None where nothing of the job is there alone. Counted from the task's creation, since nobody
    tells when it was ready: no later than it may happen.
    """
    if engine != EngineKind.TWELVELABS or entry is None or entry.state not in IN_DOUBT | IN_FLIGHT:
        return None
    created = entry.intended_at if entry.submitted_at is None else entry.submitted_at
    return None if created is None else created + KEPT_S


def nearest_expiry(entries: Iterable[Entry | None], engine: str) -> float | None:
    """The first of these moments."""
    moments = (expires_at(entry, engine) for entry in entries)
    return min((moment for moment in moments if moment is not None), default=None)
