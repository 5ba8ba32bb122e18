"""Moments and lengths of time in words. Moments are in seconds since 1970; all words are of UTC."""

from __future__ import annotations

import math
from datetime import UTC, datetime

_MINUTE_S = 60.0
_HOUR_S = 3600.0
_DAY_S = 86_400.0


def rfc3339(at: float) -> str:
    """A moment for machines, to the millisecond: 2026-11-26T02:10:00.000Z."""
    told = datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="milliseconds")
    return told.replace("+00:00", "Z")


def minute(at: float) -> str:
    """A moment for a person: 2026-11-26 02:10 UTC."""
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def length(seconds: float) -> str:
    """A length of time in its largest fitting unit: 40 s, 12 min, 3 h, 5 d."""
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / 60:.0f} min"
    if seconds < 3 * _DAY_S:
        return f"{seconds / _HOUR_S:.0f} h"
    return f"{seconds / _DAY_S:.0f} d"


def come_back(until: float | None, now: float) -> str:
    """When another run can go on: a run that begins at the minute that is told is not too early."""
    if until is None:
        return "run again once that has changed"
    told = minute(math.ceil(until / _MINUTE_S) * _MINUTE_S)
    return f"come back after {told} (in {length(until - now)})"
