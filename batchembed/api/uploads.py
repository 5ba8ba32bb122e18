"""The video of a create on its way: what stands for one, how it is read, whether it changed."""

from __future__ import annotations

import io
import mimetypes
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from batchembed.api.models import Upload
from batchembed.errors import ArgumentError, VideoChangedError

#: What `video_file` takes: the official SDK's `core.File`, a path, or an `Upload`.
Content: TypeAlias = BinaryIO | bytes | str | os.PathLike[str]
VideoFile: TypeAlias = (
    Upload
    | Content
    | tuple[str | None, Content]
    | tuple[str | None, Content, str | None]
    | tuple[str | None, Content, str | None, Mapping[str, str]]
)
#: Told of each step of an upload: bytes sent, and of how many; None where nobody knows.
Progress: TypeAlias = Callable[[int, int | None], None]

#: httpx asks for 64 KiB at a time, which costs three times the CPU.
_CHUNK_BYTES = 1 << 20
_OCTETS = "application/octet-stream"


def as_upload(video_file: object) -> Upload:
    """What to send for `video_file`.

    Raises:
        ArgumentError: a `str` that names no file (the official SDK would upload the text itself),
            a file opened as text, or a value of another type.
    """
    if isinstance(video_file, Upload):
        return video_file
    if isinstance(video_file, tuple):
        return _named(video_file)
    if isinstance(video_file, (str, os.PathLike)):
        return _opened(Path(video_file))
    if isinstance(video_file, (bytes, bytearray, memoryview)):
        return Upload(file=io.BytesIO(video_file), filename="upload", owned=True)
    if isinstance(video_file, io.TextIOBase):
        raise ArgumentError("video_file is open as text: open it with mode 'rb'")
    if getattr(video_file, "closed", False):
        raise ArgumentError("video_file is closed: open it again")
    if hasattr(video_file, "read"):
        name = getattr(video_file, "name", None)
        filename = Path(name).name if isinstance(name, str) else "upload"
        return Upload(
            file=cast("BinaryIO", video_file), filename=filename, content_type=_guessed(filename)
        )
    raise ArgumentError(
        f"video_file can't be of type {type(video_file).__name__}: give an open binary file, "
        "bytes, a path, or (name, content)"
    )


def _opened(path: Path) -> Upload:
    try:
        if not path.is_file():  # a pipe would wait for a writer
            raise ArgumentError(f"video_file {str(path)[:200]!r} is no file: give a path that is")
        file = path.open("rb")
    except OSError as error:
        raise ArgumentError(
            f"video_file {str(path)[:200]!r} can't be opened: {error.strerror}"
        ) from error
    return Upload(
        file=file,
        filename=path.name,
        content_type=_guessed(path.name),
        path=str(path.absolute()),
        owned=True,
    )


def _named(video_file: tuple[object, ...]) -> Upload:
    if not 2 <= len(video_file) <= 4:
        raise ArgumentError("video_file as a tuple is (name, content[, type[, headers]])")
    name, content, kind, headers = (*video_file, None, None)[:4]
    inner = as_upload(content)
    filename = inner.filename if name is None else str(name)
    return Upload(
        file=inner.file,
        filename=filename,
        content_type=str(kind) if kind else _guessed(filename),
        path=inner.path,
        owned=inner.owned,
        headers=dict(cast("Mapping[str, str]", headers or {})),
    )


def _guessed(filename: str) -> str:
    return mimetypes.guess_type(filename)[0] or _OCTETS


class Reader:
    """An upload's file as httpx reads it: from its beginning, no further than it was announced.

    Each attempt of a create makes its own.
    """

    def __init__(
        self, upload: Upload, progress: Progress | None, going: Callable[[], None]
    ) -> None:
        """Take the file.

        Args:
            upload: whose file is read.
            progress: told of each chunk.
            going: called before each chunk; raises where the upload is to end.
        """
        self._file = upload.file
        self._size = size_bytes(upload)
        self._progress = progress
        self._going = going
        self._sent = 0

    def read(self, _asked: int = -1) -> bytes:
        """The next chunk: larger than httpx asks for."""
        self._going()
        left = _CHUNK_BYTES if self._size is None else min(_CHUNK_BYTES, self._size - self._sent)
        chunk = self._file.read(left) if left else b""
        self._sent += len(chunk)
        if chunk and self._progress is not None:
            self._progress(self._sent, self._size)
        return chunk

    def tell(self) -> int:
        """How far it is read."""
        return self._sent

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go where httpx does: to the end to measure the file, and to its beginning before it reads.

        Raises:
            io.UnsupportedOperation: the file has no end that is known, and no way back.
        """
        if self._size is None:
            raise io.UnsupportedOperation("seek")
        if whence == os.SEEK_END:
            return self._size
        self._sent = self._file.seek(offset)
        return self._sent


def size_bytes(upload: Upload) -> int | None:
    """How many bytes will be sent; None where that can't be known before."""
    found = _found(upload)
    if found is not None:
        return found.st_size
    try:
        place = upload.file.tell()
        size = upload.file.seek(0, os.SEEK_END)
        upload.file.seek(place)
    except (AttributeError, OSError, ValueError):
        return None
    return size


def _found(upload: Upload) -> os.stat_result | None:
    """What the open file is, where it is a regular one of the file system."""
    try:
        found = os.fstat(upload.file.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


class Unchanged:
    """Notices that a file changed between two looks at the same descriptor."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._before = _identity(upload)

    def require(self, task_id: str | None) -> None:
        """Look again.

        Raises:
            VideoChangedError: the file is not what it was.
        """
        if _identity(self._upload) != self._before:
            raise VideoChangedError(self._upload.filename, task_id)


def _identity(upload: Upload) -> tuple[int, int] | None:
    found = _found(upload)
    return None if found is None else (found.st_size, found.st_mtime_ns)
