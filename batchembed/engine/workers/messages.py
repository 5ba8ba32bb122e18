"""What a parent and a child that opens videos say to each other: msgpack behind a length.

No pickle: what a child says comes from a process that decodes strangers' files, so it is read as
plain data of known types and sizes. A request carries the open file as a descriptor.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import msgspec
import numpy as np

from batchembed.core.model import Facts
from batchembed.core.problems import Reason
from batchembed.engine.video.embed import Embedded, EmbeddedSegment, EmbedPlan
from batchembed.engine.workers.sandbox import Confinement

_LENGTH = struct.Struct(">I")
#: Two hours in clips of 2 s with both options are 30 MB.
MAX_MESSAGE = 256 << 20
_BYTES_PER_NUMBER = 4


class ProtocolError(Exception):
    """The other side said something that is no message, or nothing more."""


class Embed(msgspec.Struct, frozen=True, tag=True):
    """Asks for `Done`."""

    plan: EmbedPlan


class Probe(msgspec.Struct, frozen=True, tag=True):
    """Asks for `Found` or `Unreadable`."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The child has loaded what it needs, and is confined as far as it can be."""

    confinement: Confinement


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The video, or the start of the child, failed; it ends."""

    reason: Reason


class Done(msgspec.Struct, frozen=True, tag=True):
    """An `Embedded`; `vectors` are its float32 numbers, little-endian, row by row."""

    duration_sec: float
    segments: tuple[EmbeddedSegment, ...]
    dimension: int
    vectors: bytes
    warnings: tuple[Reason, ...]


class Found(msgspec.Struct, frozen=True, tag=True):
    """What probing found."""

    facts: Facts


class Unreadable(msgspec.Struct, frozen=True, tag=True):
    """Why the file can't be used as a video; the child goes on."""

    reason: Reason


Request: TypeAlias = Embed | Probe
Result: TypeAlias = Done | Found | Unreadable
Remaining: TypeAlias = Callable[[], float]
T = TypeVar("T")

_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_greetings: msgspec.msgpack.Decoder[Ready | Failed] = msgspec.msgpack.Decoder(Ready | Failed)
_answers: msgspec.msgpack.Decoder[Result | Failed] = msgspec.msgpack.Decoder(Result | Failed)


def done(embedded: Embedded) -> Done:
    """As a message."""
    return Done(
        duration_sec=embedded.duration_sec,
        segments=embedded.segments,
        dimension=int(embedded.vectors.shape[1]),
        vectors=np.ascontiguousarray(embedded.vectors, "<f4").tobytes(),
        warnings=embedded.warnings,
    )


def embedded(message: Result) -> Embedded:
    """From a message.

    Raises:
        ProtocolError: it answers something else, vectors and segments do not belong together, or a
            number is not finite.
    """
    if not isinstance(message, Done):
        raise ProtocolError(f"{type(message).__name__} is no answer to Embed")
    numbers = message.dimension * len(message.segments)
    if numbers <= 0 or len(message.vectors) != _BYTES_PER_NUMBER * numbers:
        raise ProtocolError(
            f"{len(message.vectors)} bytes are no {len(message.segments)} vectors "
            f"of {message.dimension} numbers"
        )
    vectors = np.frombuffer(message.vectors, "<f4").reshape(-1, message.dimension)
    if not np.isfinite(vectors).all():
        raise ProtocolError("a vector has a number that is not finite")
    return Embedded(
        duration_sec=message.duration_sec,
        segments=message.segments,
        vectors=vectors.astype(np.float32),
        warnings=message.warnings,
    )


def found(message: Result) -> Facts | Reason:
    """From a message.

    Raises:
        ProtocolError: it answers something else, or a number is not finite.
    """
    match message:
        case Unreadable():
            return message.reason
        case Done():
            raise ProtocolError("Done is no answer to Probe")
        case Found(facts):
            numbers = (facts.aspect_ratio, facts.duration_sec, facts.frame_rate or 0.0)
            if not all(map(math.isfinite, numbers)):
                raise ProtocolError("a fact is not finite")
            return facts


def send_answer(connection: socket.socket, answer: Ready | Result | Failed) -> None:
    """Send one answer whole. Raises `OSError` where nobody listens."""
    payload = msgspec.msgpack.encode(answer)
    connection.sendall(_LENGTH.pack(len(payload)) + payload)


def read_greeting(connection: socket.socket, remaining_s: Remaining) -> Ready | Failed:
    """Wait for a child's first words; as `read_answer`."""
    return _decode(_greetings, connection, remaining_s)


def read_answer(connection: socket.socket, remaining_s: Remaining) -> Result | Failed:
    """Wait for the answer to a request.

    Args:
        connection: its timeout is changed.
        remaining_s: how long it may still take to come whole.

    Raises:
        ProtocolError: the other side ended, or what came is no answer.
        TimeoutError: no time remained.
    """
    return _decode(_answers, connection, remaining_s)


def _decode(
    decoder: msgspec.msgpack.Decoder[T], connection: socket.socket, remaining_s: Remaining
) -> T:
    try:
        header = _read(connection, _LENGTH.size, remaining_s)
        return decoder.decode(_read(connection, _read_length(header), remaining_s))
    except (msgspec.MsgspecError, ConnectionError) as error:
        raise ProtocolError(str(error)) from error


def send_request(connection: socket.socket, request: Request, descriptor: int) -> None:
    """Ask for one video. The descriptor stays the caller's to close."""
    payload = msgspec.msgpack.encode(request)
    socket.send_fds(connection, [_LENGTH.pack(len(payload))], [descriptor])
    connection.sendall(payload)


def read_request(connection: socket.socket) -> tuple[Request, int] | None:
    """Wait for a request and its open file, which is the caller's to close.

    Returns:
        None when the other side has closed.

    Raises:
        ProtocolError: what came is no request.
    """
    header, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, 1)
    if not header:
        return None
    if len(descriptors) != 1:
        raise ProtocolError("a request came without its file")
    header += _read(connection, _LENGTH.size - len(header))
    try:
        return _requests.decode(_read(connection, _read_length(header))), descriptors[0]
    except msgspec.MsgspecError as error:
        raise ProtocolError(str(error)) from error


def _read_length(header: bytes) -> int:
    (length,) = _LENGTH.unpack(header)
    if length > MAX_MESSAGE:
        raise ProtocolError(f"a message of {length} bytes is longer than {MAX_MESSAGE}")
    return int(length)


def _read(connection: socket.socket, length: int, remaining_s: Remaining | None = None) -> bytes:
    data = bytearray()
    while len(data) < length:
        if remaining_s is not None:
            # Each part gets what is left: a child that speaks byte by byte wins nothing.
            connection.settimeout(_positive(remaining_s()))
        part = connection.recv(min(length - len(data), 1 << 20))
        if not part:
            raise ProtocolError(f"the other side ended after {len(data)} of {length} bytes")
        data += part
    return bytes(data)


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise TimeoutError("no time remains")
    return seconds
