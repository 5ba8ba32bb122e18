"""What happens when the reader of our output goes away, as `| head` does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TextIO


def silence(stream: TextIO) -> None:
    """Send what is still to come on a broken stream nowhere, so that nothing more fails on it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextlib.contextmanager
def quietly(stream: TextIO) -> Iterator[None]:
    """Write to `stream` while somebody reads; what comes out as exit code is not theirs to change."""
    try:
        yield
        stream.flush()
    except BrokenPipeError:
        silence(stream)
