"""Streams on which nothing can be written."""

from __future__ import annotations

import errno
import io
import os


class Full(io.StringIO):
    """As a file on a disk without room."""

    def write(self, text: str) -> int:
        if super().write(text):  # bytes are another error
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return 0


class Gone(io.StringIO):
    """As a pipe that nobody reads any more."""

    def write(self, text: str) -> int:
        if super().write(text):  # bytes are another error
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return 0
