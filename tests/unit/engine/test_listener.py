"""What a server listens on: it leaves the others their descriptors."""

from __future__ import annotations

import errno
import logging
import os
import socket

import pytest

from batchembed.engine.web.listener import Room, SeldomShort, listen, room_for


@pytest.mark.parametrize(
    ("descriptors", "room"),
    [
        (None, Room(served=1000, below=None)),
        (1 << 20, Room(served=1000, below=(1 << 20) - 256 - 1000)),
        (8192, Room(served=1000, below=8192 - 256 - 1000)),
        (1024, Room(served=256, below=1024 - 256 - 256)),
        (256, Room(served=64, below=256 - 64 - 64)),
        (16, Room(served=4, below=16 - 4 - 4)),
    ],
)
def test_connections_their_files_and_the_engine_have_room_beside_each_other(
    descriptors: int | None, room: Room
) -> None:
    assert room_for(1000, descriptors) == room


def test_fewer_connections_are_served_where_fewer_are_asked_for() -> None:
    assert room_for(5, 8192).served == 5


def test_a_connection_from_the_others_descriptors_is_dropped() -> None:
    with listen("127.0.0.1", 0, below=0) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            with pytest.raises(ConnectionAbortedError):
                listener.accept()
            assert client.recv(1) == b""
        listener.below = None
        with socket.create_connection(listener.getsockname()) as client:
            connection, address = listener.accept()
            with connection:
                assert address == client.getsockname()


def test_a_shortage_is_told_once_in_each_round_of_accepting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def short(_: socket.socket) -> tuple[int, object]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket.socket, "_accept", short)
    told = list[int | None]()
    with listen("127.0.0.1", 0, below=None) as listener:
        for _ in range(4):
            try:
                listener.accept()
            except OSError as error:
                told.append(error.errno)

    assert told == [errno.EMFILE, errno.EAGAIN] * 2


def test_a_shortage_is_logged_once_a_minute_and_anything_else_always() -> None:
    def record(message: str, created: float) -> logging.LogRecord:
        made = logging.LogRecord("asyncio", logging.ERROR, "", 0, message, None, None)
        made.created = created
        return made

    seldom = SeldomShort()
    shortage = "socket.accept() out of system resource\nsocket: ..."
    passed = [seldom.filter(record(shortage, at)) for at in (100.0, 101.0, 159.0, 160.0, 161.0)]

    assert passed == [True, False, False, True, False]
    assert seldom.filter(record("Task was destroyed but it is pending!", 162.0))
