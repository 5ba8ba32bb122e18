"""A create's multipart body, taken in as it comes: the file to the spool, the rest to memory.

Starlette's own form would put files of any size and number into the folder for temporary files.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from batchembed.engine.received import Received, SpooledFile
from batchembed.engine.refusal import Refusal, invalid
from batchembed.engine.spool import Spool, SpoolWriter

#: The largest video that the model takes, and room for the form around it.
MAX_UPLOAD_BYTES = 2_000_000_000 + (1 << 20)
_MAX_FIELDS = 16
_MAX_FIELD_BYTES = 64 << 10
_MAX_PART_HEADERS = 8
_MAX_PART_HEADER_BYTES = 4096
_FILE_PART = "video_file"
#: So much is gathered before a thread writes it.
_PIECE_BYTES = 1 << 20


def declared_bytes(content_length: str | None, max_bytes: int) -> int:
    """The body's length, 0 where none is declared.

    Raises:
        Refusal: 413, it is more than `max_bytes`.
    """
    length = int(content_length) if content_length and content_length.isascii() else 0
    _require_size(length, max_bytes)
    return length


async def receive_form(
    chunks: AsyncIterator[bytes], *, content_type: str, spool: Spool, max_bytes: int
) -> Received:
    """Take a form in.

    Args:
        chunks: the body.
        content_type: the header.
        spool: where the file goes; nothing stays there unless this returns.
        max_bytes: of the whole body.

    Raises:
        Refusal: 400, the body is no such form; 413, it is too large; 503, the disk is full.
        OSError: the spool can't be written.
    """
    parts = _Parts(spool)
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise Refusal(
            400, "parameter_invalid", "The request must be multipart/form-data with a boundary."
        )
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.header_field,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_headers_finished": parts.headers_finished,
                "on_part_data": parts.data,
                "on_part_end": parts.part_end,
                "on_end": parts.end,
            },
            max_header_count=_MAX_PART_HEADERS,
            max_header_size=_MAX_PART_HEADER_BYTES,
        )
        received_bytes = 0
        async for chunk in chunks:
            received_bytes += len(chunk)
            _require_size(received_bytes, max_bytes)
            parser.write(chunk)
            await parts.flush(_PIECE_BYTES)
        return await parts.finish()
    except FormParserError as error:
        await asyncio.to_thread(parts.abandon)
        raise Refusal(
            400, "parameter_invalid", f"The multipart body is malformed: {error}"
        ) from error
    except BaseException:
        await asyncio.to_thread(parts.abandon)
        raise


class _Parts:
    """What the parser finds, checked as it is found."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._fields: list[tuple[str, str]] = []
        self._ended = False
        # The part that is being read.
        self._header_name = b""
        self._header_value = b""
        self._disposition: bytes | None = None
        self._name = ""
        self._in_file = False
        self._value = bytearray()
        # The file, which is written later than it is read.
        self._filename: str | None = None
        self._writer: SpoolWriter | None = None
        self._pending = bytearray()

    def begin(self) -> None:
        self._disposition = None
        self._value = bytearray()
        self._in_file = False

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise FormParserError("a part has no name")
        self._name = _text(options[b"name"], "the name of a part")
        self._in_file = self._name == _FILE_PART
        if not self._in_file and b"filename" in options:
            raise Refusal(
                400, "parameter_unknown", f"The {self._name[:200]} parameter is unknown as a file."
            )
        if self._in_file:
            self._begin_file(options.get(b"filename"))
        elif len(self._fields) >= _MAX_FIELDS:
            raise Refusal(400, "parameter_invalid", f"The form has over {_MAX_FIELDS} fields.")

    def _begin_file(self, filename: bytes | None) -> None:
        if self._writer is not None:
            raise invalid(_FILE_PART, "It is given twice")
        self._filename = None if filename is None else filename.decode(errors="replace")
        self._writer = self._spool.open()

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._pending += memoryview(data)[start:end]
            return
        self._value += memoryview(data)[start:end]
        if len(self._value) > _MAX_FIELD_BYTES:
            raise invalid(self._name, f"It is longer than {_MAX_FIELD_BYTES} bytes")

    def part_end(self) -> None:
        if not self._in_file:
            value = _text(bytes(self._value), f"the value of {self._name}")
            if not value.isprintable():
                raise invalid(self._name, "It has control characters")
            self._fields.append((self._name, value))

    def end(self) -> None:
        self._ended = True

    async def flush(self, at_least_bytes: int) -> None:
        if self._writer is None or len(self._pending) < at_least_bytes:
            return
        piece, self._pending = self._pending, bytearray()
        await asyncio.to_thread(self._spool.require_room, len(piece))
        await asyncio.to_thread(self._writer.write, piece)

    async def finish(self) -> Received:
        if not self._ended:
            raise FormParserError("it ends before its last boundary")
        await self.flush(1)
        return Received(fields=tuple(self._fields), file=await asyncio.to_thread(self._finished))

    def _finished(self) -> SpooledFile | None:
        writer = self._writer
        if writer is None:
            return None
        if writer.size_bytes == 0 and self._filename is None:
            writer.abandon()  # an empty part is how the official SDK says None
            return None
        return SpooledFile(
            path=str(writer.path), filename=self._filename or "upload", sha256=writer.finish()
        )

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FormParserError(f"{what} is not UTF-8") from error


def _require_size(size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise Refusal(
            413,
            "video_filesize_too_large",
            "The video is too large. Please use a video with a size less than "
            f"{max_bytes:,} bytes. The current size is {size_bytes:,} bytes or more.",
        )
