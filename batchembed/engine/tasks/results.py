"""The vectors of ready tasks: a file for each, written durably and read as it is used."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import zlib
from collections.abc import Collection
from pathlib import Path

import msgspec
import numpy as np

from batchembed.engine.video.embed import Embedded, EmbeddedSegment

_SUFFIX = ".msgpack"
#: What the folder's own files are called; whatever else is there is somebody's.
_OWN_NAME = re.compile(r"([0-9a-f]{24})\.(msgpack|inprogress)")


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    duration_sec: float
    dimension: int
    segments: list[tuple[int, int, str, str]]
    vectors: memoryview  #: float32, little-endian, row by row


class _Checked(msgspec.Struct, frozen=True):
    """A file's content: `crc32` is of the bytes of `stored`, a `_Stored`."""

    crc32: int
    stored: msgspec.Raw


class ResultFolder:
    """Results by the id of their task. Calls may come from any thread."""

    def __init__(self, folder: Path) -> None:
        """Make the folder where there is none; may raise `OSError`."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, task_id: str, embedded: Embedded) -> None:
        """Write a result durably, in place of one that is there; may raise `OSError`."""
        stored = _Stored(
            duration_sec=embedded.duration_sec,
            dimension=int(embedded.vectors.shape[1]),
            segments=[
                (seg.start_ms, seg.end_ms, seg.embedding_option, seg.embedding_scope)
                for seg in embedded.segments
            ],
            vectors=memoryview(np.ascontiguousarray(embedded.vectors, dtype="<f4").tobytes()),
        )
        content = msgspec.msgpack.encode(stored)
        checked = _Checked(crc32=zlib.crc32(content), stored=msgspec.Raw(content))
        path = self._path(task_id)
        temporary = path.with_suffix(".inprogress")
        with temporary.open("wb") as sink:
            sink.write(msgspec.msgpack.encode(checked))
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(path)
        sync_folder(self._folder)

    def read(self, task_id: str) -> Embedded | None:
        """A result, its vectors mapped from the file; None where there is none, or a damaged one.

        May raise `OSError`, where it is there and can't be read now.
        """
        try:
            with self._path(task_id).open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            checked = msgspec.msgpack.decode(content, type=_Checked)
            if zlib.crc32(checked.stored) != checked.crc32:
                return None
            stored = msgspec.msgpack.decode(checked.stored, type=_Stored)
        except (FileNotFoundError, ValueError, msgspec.DecodeError):  # ValueError: an empty file
            return None
        return Embedded(
            duration_sec=stored.duration_sec,
            segments=tuple(
                EmbeddedSegment(
                    start_ms=start, end_ms=end, embedding_option=option, embedding_scope=scope
                )
                for start, end, option, scope in stored.segments
            ),
            vectors=np.frombuffer(stored.vectors, dtype="<f4").reshape(-1, stored.dimension),
            warnings=(),
        )

    def keep_only(self, task_ids: Collection[str]) -> None:
        """Remove the results of all other tasks, and what a kill left half written.

        A result that is being written belongs to one of the tasks. What can't be removed stays.
        """
        for path in self._folder.iterdir():
            own = _OWN_NAME.fullmatch(path.name)
            if own is not None and own[1] not in task_ids:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _path(self, task_id: str) -> Path:
        return self._folder / f"{task_id}{_SUFFIX}"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; may raise `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
