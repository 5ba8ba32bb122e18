"""Somebody to whom permissions mean something."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NOBODY = 65534


@contextlib.contextmanager
def as_no_root() -> Iterator[None]:
    """Be another user, where this one is root."""
    mine = os.geteuid()
    try:
        if mine == 0:
            os.seteuid(_NOBODY)
        yield
    finally:
        os.seteuid(mine)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that every user may look into, which pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
