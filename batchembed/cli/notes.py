"""What a server says while it serves: it waits for no reader, and fails for none."""

from __future__ import annotations

import os
import queue
import threading
from types import TracebackType
from typing import Self, TextIO

from batchembed.report.text import printable

#: Lines that wait for the reader; more are dropped.
_MOST_WAITING = 1000
#: How long the last lines have at the end.
_LAST_WORDS_S = 1.0


class Notes:
    """Writes lines to a stream, from a thread of its own. Use it as a context manager.

    Lines that find no room are dropped, and counted in a line of their own when there is room
    again. A stream that is closed or broken ends the notes.
    """

    def __init__(self, stream: TextIO | None, *, most_waiting: int = _MOST_WAITING) -> None:
        self._descriptor = _descriptor(stream)
        self._waiting: queue.Queue[str | None] = queue.Queue(most_waiting)
        self._dropped = 0
        self._lock = threading.Lock()
        # The thread may be in a write for ever. The interpreter's own lock of the stream would be
        # held all that time, and its end would wait for it: so the thread writes to the descriptor.
        self._writer = threading.Thread(target=self._write_all, name="notes", daemon=True)

    def __enter__(self) -> Self:
        self._writer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let what waits be written, for a moment."""
        try:
            self._waiting.put(None, timeout=_LAST_WORDS_S)
        except queue.Full:
            return
        self._writer.join(_LAST_WORDS_S)

    def tell(self, line: str) -> None:
        """Have a line written, soon. It never blocks, and never raises."""
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            with self._lock:
                self._dropped += 1

    def _write_all(self) -> None:
        while (line := self._waiting.get()) is not None:
            with self._lock:
                dropped, self._dropped = self._dropped, 0
            self._write(line)
            if dropped:
                self._write(f"({dropped} lines were dropped: nobody read them in time)")

    def _write(self, line: str) -> None:
        if self._descriptor is None:
            return
        left = f"{printable(line)}\n".encode(errors="backslashreplace")
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            self._descriptor = None


def _descriptor(stream: TextIO | None) -> int | None:
    """Of the stream, if it has one."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None
