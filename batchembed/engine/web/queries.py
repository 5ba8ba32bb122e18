"""What a request asks in its path, query and headers, refused where it can't be meant. Pure."""

from __future__ import annotations

import re
from datetime import datetime

from starlette.datastructures import QueryParams

from batchembed.engine.refusal import invalid
from batchembed.engine.tasks.listing import ListingQuery

STATUSES = ("processing", "ready", "failed")
OPTIONS = ("visual-text", "audio")
MAX_PAGE_LIMIT = 50
MAX_PAGE = 1_000_000_000
TASK_ID = "^[0-9a-f]{24}$"
IDEMPOTENCY_KEY = "^[ -~]{1,255}$"

_TASK_ID = re.compile(TASK_ID.strip("^$"))
_IDEMPOTENCY_KEY = re.compile(IDEMPOTENCY_KEY.strip("^$"))
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})",
    re.IGNORECASE,
)


def task_id(text: str) -> str:
    """An id that could be a task's.

    Raises:
        Refusal: 400, in the document's words.
    """
    if not _TASK_ID.fullmatch(text):
        raise invalid("task_id", "task_id value is invalid")
    return text


def idempotency_key(*headers: str | None) -> str | None:
    """The key of a create, of all its headers of that name, if it has one.

    Raises:
        Refusal: 400, it can't be one, or there are two.
    """
    if len(headers) > 1:
        raise invalid("Idempotency-Key", "It is given twice")
    header = headers[0] if headers else None
    if header is not None and not _IDEMPOTENCY_KEY.fullmatch(header):
        raise invalid("Idempotency-Key", "It is 1 to 255 printable ASCII characters")
    return header


def embedding_options(query: QueryParams) -> tuple[str, ...]:
    """The options that a retrieve wants; empty: all. Raises `Refusal`: 400."""
    wanted = query.getlist("embedding_option")
    if len(set(wanted)) < len(wanted) or not set(wanted) <= set(OPTIONS):
        raise invalid("embedding_option", f"It is one of, or each once: {', '.join(OPTIONS)}")
    return tuple(wanted)


def listing_query(query: QueryParams) -> ListingQuery:
    """What a listing asks. Unknown keys are ignored. Raises `Refusal`: 400."""
    status = _single(query, "status")
    if status is not None and status not in STATUSES:
        raise invalid("status", f"It is one of: {', '.join(STATUSES)}")
    return ListingQuery(
        status=status,
        started_at=_time(query, "started_at"),
        ended_at=_time(query, "ended_at"),
        page=_count(query, "page", default=1, most=MAX_PAGE),
        page_limit=_count(query, "page_limit", default=10, most=MAX_PAGE_LIMIT),
    )


def _single(query: QueryParams, name: str) -> str | None:
    values = query.getlist(name)
    if len(values) > 1:
        raise invalid(name, "It is given twice")
    return values[0] if values else None


def _count(query: QueryParams, name: str, *, default: int, most: int) -> int:
    text = _single(query, name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) <= most:
        raise invalid(name, f"It is a number from 1 to {most}")
    return int(text)


def _time(query: QueryParams, name: str) -> float | None:
    text = _single(query, name)
    if text is None:
        return None
    why = "It is a time as RFC 3339 writes it: 2026-01-31T12:00:00Z"
    if not _RFC_3339.fullmatch(text):
        raise invalid(name, why)
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError) as error:
        raise invalid(name, why) from error
