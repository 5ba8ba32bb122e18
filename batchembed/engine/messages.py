"""What pool and worker say to each other: msgpack behind a length, over a Unix socket.

No pickle: what a worker says comes from a process that decodes strangers' files, so it is read as
plain data of known types and sizes. A request carries the open file as a descriptor.
"""

from __future__ import annotations

import socket
import struct
from typing import TypeVar

import msgspec
import numpy as np

from batchembed.core.problems import Reason
from batchembed.engine.embed import Embedded, EmbeddedSegment, EmbedPlan

_LENGTH = struct.Struct(">I")
#: Two hours in clips of 2 s with both options are 30 MB.
MAX_MESSAGE = 256 << 20
_BYTES_PER_NUMBER = 4


class ProtocolError(Exception):
    """The other side said something that is no message, or nothing more."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker has loaded its model."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The video, or the start of the worker, failed."""

    reason: Reason


class Done(msgspec.Struct, frozen=True, tag=True):
    """An `Embedded`; `vectors` are its float32 numbers, little-endian, row by row."""

    duration_sec: float
    segments: tuple[EmbeddedSegment, ...]
    dimension: int
    vectors: bytes
    warnings: tuple[Reason, ...]


T = TypeVar("T")

_greetings: msgspec.msgpack.Decoder[Ready | Failed] = msgspec.msgpack.Decoder(Ready | Failed)
_answers: msgspec.msgpack.Decoder[Done | Failed] = msgspec.msgpack.Decoder(Done | Failed)
_plans: msgspec.msgpack.Decoder[EmbedPlan] = msgspec.msgpack.Decoder(EmbedPlan)


def done(embedded: Embedded) -> Done:
    """As a message."""
    return Done(
        duration_sec=embedded.duration_sec,
        segments=embedded.segments,
        dimension=int(embedded.vectors.shape[1]),
        vectors=np.ascontiguousarray(embedded.vectors, "<f4").tobytes(),
        warnings=embedded.warnings,
    )


def embedded(message: Done) -> Embedded:
    """From a message.

    Raises:
        ProtocolError: vectors and segments do not belong together, or a number is not finite.
    """
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


def send_answer(connection: socket.socket, answer: Ready | Done | Failed) -> None:
    """Send one answer whole. Raises `OSError` where nobody listens."""
    payload = msgspec.msgpack.encode(answer)
    connection.sendall(_LENGTH.pack(len(payload)) + payload)


def read_greeting(connection: socket.socket) -> Ready | Failed:
    """Wait for a worker's first words; raises as `read_answer` does."""
    return _decode(_greetings, connection)


def read_answer(connection: socket.socket) -> Done | Failed:
    """Wait for the answer to a request.

    Raises:
        ProtocolError: the other side ended, or what came is no answer.
        TimeoutError: the socket's timeout passed while nothing came.
    """
    return _decode(_answers, connection)


def _decode(decoder: msgspec.msgpack.Decoder[T], connection: socket.socket) -> T:
    try:
        return decoder.decode(_read(connection, _read_length(_read(connection, _LENGTH.size))))
    except (msgspec.MsgspecError, ConnectionError) as error:
        raise ProtocolError(str(error)) from error


def send_request(connection: socket.socket, plan: EmbedPlan, descriptor: int) -> None:
    """Ask for one video. The descriptor stays the caller's to close."""
    payload = msgspec.msgpack.encode(plan)
    socket.send_fds(connection, [_LENGTH.pack(len(payload))], [descriptor])
    connection.sendall(payload)


def read_request(connection: socket.socket) -> tuple[EmbedPlan, int] | None:
    """Wait for a request: a plan, and the open file, which is the caller's to close.

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
        return _plans.decode(_read(connection, _read_length(header))), descriptors[0]
    except msgspec.MsgspecError as error:
        raise ProtocolError(str(error)) from error


def _read_length(header: bytes) -> int:
    (length,) = _LENGTH.unpack(header)
    if length > MAX_MESSAGE:
        raise ProtocolError(f"a message of {length} bytes is longer than {MAX_MESSAGE}")
    return int(length)


def _read(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = connection.recv(min(length - len(data), 1 << 20))
        if not part:
            raise ProtocolError(f"the other side ended after {len(data)} of {length} bytes")
        data += part
    return bytes(data)
