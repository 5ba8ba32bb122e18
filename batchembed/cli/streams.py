"""Standard output and standard error, whatever has become of them: closed, full, or read no more."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast


class Guarded:
    """A stream that ends nothing: once a write fails, all that is written goes nowhere.

    Attributes:
        failure: why it failed; None too where there never was a reader, or the reader has gone, as
            `| head` does: that is no failure of ours.
    """

    def __init__(self, stream: TextIO | None, nowhere: TextIO) -> None:
        self._nowhere = nowhere
        self._stream = nowhere if stream is None or stream.closed else stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, if that can be."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Flush, if that can be."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        if not isinstance(error, ConnectionError):
            self.failure = error
        with contextlib.suppress(OSError):  # not every stream has a descriptor
            # What is in its buffer would fail again when the process ends.
            os.dup2(self._nowhere.fileno(), self._stream.fileno())
        self._stream = self._nowhere


@contextlib.contextmanager
def guarded_streams() -> Iterator[Guarded]:
    """Guard both streams of the process; gives standard output."""
    _fill_descriptors()
    with Path(os.devnull).open("w", encoding="utf-8", errors="replace") as nowhere:
        out, err = Guarded(sys.stdout, nowhere), Guarded(sys.stderr, nowhere)
        with (
            contextlib.redirect_stdout(cast("TextIO", out)),
            contextlib.redirect_stderr(cast("TextIO", err)),
        ):
            yield out


def is_answer_lost() -> bool:
    """Whether what was printed on standard output so far could not be written."""
    out: object = sys.stdout
    if not isinstance(out, Guarded):
        return False
    out.flush()
    return out.failure is not None


def _fill_descriptors() -> None:
    """Open what the process was started without: else a file of ours would become its output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
