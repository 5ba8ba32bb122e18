"""The video of a create on its way: what stands for one, how it is read, whether it changed."""

from __future__ import annotations

import contextlib
import io
import mimetypes
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, BinaryIO, TypeAlias, cast

from batchembed.api.models import Upload
from batchembed.errors import ArgumentError, VideoChangedError

#: What `video_file` takes: the official SDK's `core.File`, a path, or an `Upload`.
Content: TypeAlias = IO[bytes] | bytes | bytearray | memoryview | str | os.PathLike[str]
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


class CallersError(Exception):
    """Carries what the caller's own code raised past all that looks at errors of the service."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        super().__init__(str(error))


@contextlib.contextmanager
def callers_code() -> Iterator[None]:
    """Around code of the caller's: whatever it raises is not handled here, but carried out to it."""
    try:
        yield
    except Exception as error:  # any: a caller's callback may raise what it likes, and gets it back
        raise CallersError(error) from error


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
    if getattr(video_file, "closed", False):
        raise ArgumentError("video_file is closed: open it again")
    if hasattr(video_file, "read"):
        file = cast("BinaryIO", video_file)
        if isinstance(file.read(0), str):
            raise ArgumentError("video_file is open as text: open it with mode 'rb'")
        name = getattr(file, "name", None)
        filename = _text(Path(os.fsdecode(name)).name) if isinstance(name, str | bytes) else ""
        return Upload(
            file=file, filename=filename or "upload", content_type=_guessed(filename or "upload")
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
        filename=_text(path.name),
        content_type=_guessed(path.name),
        path=str(path.absolute()),
        owned=True,
    )


def _named(video_file: tuple[object, ...]) -> Upload:
    name, content, kind, headers = (*video_file, None, None, None)[:4]
    more = {} if headers is None else headers
    if not 2 <= len(video_file) <= 4 or not isinstance(more, Mapping):
        raise ArgumentError("video_file as a tuple is (name, content[, type[, headers]])")
    sent = [str(kind or ""), *(str(word) for pair in more.items() for word in pair)]
    if not all(word.isprintable() for word in sent):
        raise ArgumentError("video_file: a type or a header has control characters")
    inner = as_upload(content)
    filename = inner.filename if name is None else _text(str(name))
    return Upload(
        file=inner.file,
        filename=filename,
        content_type=str(kind) if kind else _guessed(filename),
        path=inner.path,
        owned=inner.owned,
        headers={str(key): str(value) for key, value in more.items()},
    )


def _text(name: str) -> str:
    """A file's name as UTF-8 can say it."""
    return name.encode("utf-8", "replace").decode()


def _guessed(filename: str) -> str:
    return mimetypes.guess_type(filename)[0] or _OCTETS


class Reader:
    """An upload's file as httpx reads it: from its beginning, exactly as long as it was announced.

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
        self._upload = upload
        self._size = size_bytes(upload)
        self._progress = progress
        self._going = going
        self._sent = 0

    def read(self, _asked: int = -1) -> bytes:
        """The next chunk: larger than httpx asks for.

        Raises:
            VideoChangedError: the file has ended before the size that was announced.
            CallersError: the file, or `progress`, raised something.
        """
        self._going()
        left = _CHUNK_BYTES if self._size is None else min(_CHUNK_BYTES, self._size - self._sent)
        with callers_code():
            chunk = self._taken(left)
            self._sent += len(chunk)
            if chunk and self._progress is not None:
                self._progress(self._sent, self._size)
        if len(chunk) > left or (left and not chunk and self._size is not None):
            raise VideoChangedError(self._upload.filename, None)
        return chunk

    def _taken(self, most: int) -> bytes:
        chunk: bytes | None = self._upload.file.read(most) if most else b""
        if chunk is None:
            raise BlockingIOError("video_file is not blocking, and has nothing to read yet")
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
        self._sent = self._upload.file.seek(offset)
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
    """What the open file is, where it is itself a regular one of the file system.

    A wrapper, such as `gzip.open` gives, has the descriptor of what it wraps.
    """
    raw = getattr(upload.file, "raw", upload.file)
    if not isinstance(raw, io.FileIO):
        return None
    try:
        found = os.fstat(raw.fileno())
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) and found.st_size else None


class Unchanged:
    """Notices that a file changed between two looks at the same descriptor."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._before: tuple[int, ...] | None = None

    def begin(self) -> None:
        """Look, before an attempt."""
        self._before = self._identity()

    def require(self, task_id: str | None) -> None:
        """Look again.

        Raises:
            VideoChangedError: the file is not what it was.
        """
        if self._identity() != self._before:
            raise VideoChangedError(self._upload.filename, task_id)

    def _identity(self) -> tuple[int, ...] | None:
        found = _found(self._upload)
        return None if found is None else (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
