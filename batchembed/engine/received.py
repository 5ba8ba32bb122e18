"""A create's form as the engine takes it: what it says, and the file that came with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledFile:
    """A file that came whole. `filename` is what the client calls it: data, never a path."""

    path: str
    filename: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A form that came whole; its file is the receiver's to remove."""

    fields: tuple[tuple[str, str], ...]
    file: SpooledFile | None
