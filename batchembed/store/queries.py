"""Reads the ledger's SQL: named queries and numbered migrations, as text files."""

from __future__ import annotations

import functools
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / "sql"
_MARK = "-- name: "


@functools.cache
def queries() -> dict[str, str]:
    """The queries of `sql/queries.sql`, by name."""
    text = (_FOLDER / "queries.sql").read_text(encoding="utf-8")
    named = (block.partition("\n") for block in text.split(_MARK) if block.strip())
    return {name.strip(): query.strip() for name, _, query in named}


@functools.cache
def migrations() -> tuple[str, ...]:
    """The scripts that lead from an empty file to today's version, in order."""
    return tuple(
        path.read_text(encoding="utf-8") for path in sorted(_FOLDER.glob("[0-9][0-9][0-9]_*.sql"))
    )
