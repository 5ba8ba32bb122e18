"""A length of time as a person types it."""

from __future__ import annotations

import re

import click

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)?")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds_of(
    _context: click.Context, _parameter: click.Parameter, typed: str | None
) -> float | None:
    """An option's seconds: a number, with its unit or without: 90s, 45m, 8h, 2d. More than 0."""
    if typed is None:
        return None
    found = _LENGTH.fullmatch(typed.strip().lower())
    seconds = 0.0 if found is None else float(found[1]) * _SECONDS[found[2]]
    if seconds <= 0:
        raise click.BadParameter(f"{typed!r} is no length of time: write it as 90s, 45m or 8h")
    return seconds
