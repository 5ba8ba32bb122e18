"""What a listing of the tasks is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingQuery:
    """Which tasks a listing is to show; times in seconds since 1970."""

    status: str | None
    started_at: float | None
    ended_at: float | None
    page: int
    page_limit: int
