"""The clients against servers that behave as no scripted one can: over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from batchembed import AsyncTasksClient, TasksClient
from batchembed.api import lanes
from batchembed.errors import ApiTimeoutError, SubmissionUnknown

CREATED = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"_id":"t1"}'
ONCE = {"timeout_in_seconds": 0.3, "max_retries": 0}
PATIENCE_S = 20.0


@contextlib.contextmanager
def serving(
    handle: Callable[[socket.socket], None], *, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """The base URL of a server that gives each connection to `handle`, in a thread of its own."""
    threads: list[threading.Thread] = []

    def one(connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        with contextlib.suppress(OSError):
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            with connection:
                handle(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=one, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            scheme = "http" if tls is None else "https"
            yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/v1.3"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def received(connection: socket.socket) -> bytes:
    """What comes next; `ConnectionError` at the end."""
    came = connection.recv(65_536)
    if not came:
        raise ConnectionError
    return came


def read_request(connection: socket.socket) -> bytes:
    """One whole request."""
    came = b""
    while b"\r\n\r\n" not in came:
        came += received(connection)
    head, _, body = came.partition(b"\r\n\r\n")
    length = next(
        (
            int(line[15:])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        ),
        0,
    )
    while len(body) < length:
        body += received(connection)
    return head


def drip_head(connection: socket.socket) -> None:
    """A head that goes on for ever."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    pause = threading.Event()
    while True:
        connection.sendall(b"a")
        pause.wait(0.05)


def drip_body(connection: socket.socket) -> None:
    """A body that goes on for ever."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    pause = threading.Event()
    while True:
        connection.sendall(b" ")
        pause.wait(0.05)


def promise(connection: socket.socket) -> None:
    """One interim answer after the other."""
    read_request(connection)
    pause = threading.Event()
    while True:
        connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
        pause.wait(0.05)


@pytest.mark.parametrize("handle", [drip_head, drip_body, promise])
@pytest.mark.parametrize("chunk_size", [None, 65_536])
def test_a_timeout_is_kept_whatever_drips(
    handle: Callable[[socket.socket], None], chunk_size: int | None
) -> None:
    options: Any = {**ONCE, "chunk_size": chunk_size}

    async def in_a_loop(base_url: str) -> None:
        async with AsyncTasksClient(base_url=base_url) as client:
            with pytest.raises(ApiTimeoutError):
                await client.status("t1", request_options=options)
            with pytest.raises(SubmissionUnknown):
                await client.create(
                    model_name="m",
                    video_file=b"film",
                    request_options=options,
                )

    with serving(handle) as base_url:
        began = time.monotonic()
        with TasksClient(base_url=base_url) as client:
            with pytest.raises(ApiTimeoutError):
                client.status("t1", request_options=options)
            with pytest.raises(SubmissionUnknown):
                client.create(
                    model_name="m",
                    video_file=b"film",
                    request_options=options,
                )
        asyncio.run(in_a_loop(base_url))
        took_s = time.monotonic() - began

    assert took_s < PATIENCE_S


def test_waiting_ends_at_its_timeout_whatever_drips() -> None:
    with serving(drip_head) as base_url, TasksClient(base_url=base_url) as client:
        began = time.monotonic()
        with pytest.raises(ApiTimeoutError, match="task t1"):
            client.wait_for_done("t1", timeout=0.5)
        assert time.monotonic() - began < PATIENCE_S


@pytest.fixture(params=["http", "https"])
def tls(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ssl.SSLContext | None:
    """What a server speaks; clients trust it."""
    if request.param == "http":
        return None
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def require_ended(name: str) -> None:
    """That the threads of this name end."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def test_a_cancelled_create_ends_its_connection_and_tells_what_to_look_for(
    tls: ssl.SSLContext | None,
) -> None:
    asked, gone = threading.Event(), threading.Event()

    def think(connection: socket.socket) -> None:
        read_request(connection)
        asked.set()
        if connection.recv(1) == b"":
            gone.set()

    async def cancel(base_url: str) -> BaseException | None:
        async with AsyncTasksClient(base_url=base_url, uploads=1) as client:
            creating = asyncio.create_task(client.create(model_name="m", video_file=b"film"))
            await asyncio.to_thread(asked.wait, PATIENCE_S)
            creating.cancel()
            await asyncio.wait({creating})
            await asyncio.to_thread(gone.wait, PATIENCE_S)
            assert creating.cancelled()
            # The one place is free again.
            again = asyncio.create_task(client.create(model_name="m", video_file=b"film"))
            asked.clear()
            await asyncio.to_thread(asked.wait, PATIENCE_S)
            again.cancel()
            try:
                await again
            except asyncio.CancelledError as error:
                return error.__cause__
        return None

    with serving(think, tls=tls) as base_url:
        cause = asyncio.run(cancel(base_url))
        require_ended("batchembed")

    assert gone.is_set()
    assert isinstance(cause, SubmissionUnknown)
    assert cause.submitted is not None
    assert cause.submitted.idempotency_key


def test_a_create_is_never_lost_on_a_connection_that_was_just_closed() -> None:
    def answer_once(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(CREATED)

    with serving(answer_once) as base_url, TasksClient(base_url=base_url) as client:
        made = [client.create(model_name="m", video_file=b"film").id for _ in range(30)]

    assert made == ["t1"] * 30


def test_a_create_shares_no_client_with_another_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection would be idle for a moment, taken by the other, and closed by the first."""
    together = threading.Barrier(4)
    used: list[httpx.Client] = []
    send = httpx.Client.send

    def seen(self: httpx.Client, *arguments: Any, **options: Any) -> httpx.Response:
        used.append(self)
        return send(self, *arguments, **options)

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        together.wait(PATIENCE_S)
        connection.sendall(CREATED)

    async def create_many(base_url: str) -> None:
        async with AsyncTasksClient(base_url=base_url, uploads=4) as client:
            creates = (client.create(model_name="m", video_file=b"film") for _ in range(20))
            await asyncio.gather(*creates)

    monkeypatch.setattr(httpx.Client, "send", seen)
    with serving(answer) as base_url:
        asyncio.run(create_many(base_url))

    assert len(used) == 20
    assert len(set(map(id, used))) == 20
    assert all(client.is_closed for client in used)


def test_closing_a_client_ends_a_create_that_is_on_its_way(tls: ssl.SSLContext | None) -> None:
    asked, over = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def think(connection: socket.socket) -> None:
        read_request(connection)
        asked.set()
        over.wait(PATIENCE_S)

    def create(client: TasksClient) -> None:
        try:
            client.create(model_name="m", video_file=b"film")
        except SubmissionUnknown as error:
            raised.append(error)

    with serving(think, tls=tls) as base_url:
        client = TasksClient(base_url=base_url)
        creating = threading.Thread(target=create, args=(client,))
        creating.start()
        assert asked.wait(PATIENCE_S)
        client.close()
        creating.join(PATIENCE_S)
        assert not creating.is_alive()
        over.set()

    assert len(raised) == 1


def test_an_upload_that_nobody_reads_ends_when_it_is_cancelled() -> None:
    asked, over = threading.Event(), threading.Event()

    def stare(connection: socket.socket) -> None:
        connection.recv(1)
        asked.set()
        over.wait(PATIENCE_S)

    async def cancel(base_url: str) -> None:
        async with AsyncTasksClient(base_url=base_url) as client:
            creating = asyncio.create_task(
                client.create(model_name="m", video_file=bytes(64 << 20))
            )
            await asyncio.to_thread(asked.wait, PATIENCE_S)
            creating.cancel()
            await asyncio.wait({creating})

    with serving(stare) as base_url:
        before = threading.active_count()
        asyncio.run(cancel(base_url))
        require_ended("batchembed")
        over.set()
        assert threading.active_count() <= before + 1


def test_a_request_without_a_limit_of_its_own_ends_where_its_answer_drips(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "_SLOWEST_S", 0.3)

    async def ask(base_url: str) -> None:
        async with AsyncTasksClient(base_url=base_url, timeout=0.3) as client:
            with pytest.raises(ApiTimeoutError):
                await client.list(request_options={"max_retries": 0})
            with pytest.raises(ApiTimeoutError):
                await client.retrieve_body("t1", request_options={"max_retries": 0})
            with pytest.raises(SubmissionUnknown):
                await client.create(model_name="m", video_file=b"film")

    for handle in (drip_head, drip_body, promise):
        with serving(handle) as base_url:
            began = time.monotonic()
            asyncio.run(ask(base_url))
            assert time.monotonic() - began < PATIENCE_S
            require_ended("batchembed")


def test_a_long_answer_over_a_slow_line_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_SLOWEST_S", 0.3)
    monkeypatch.setattr(lanes, "_SLOWEST_BYTES", 1_000)
    body = b'{"_id":"t1"%s}' % (b" " * 5_000)

    def answer_slowly(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        pause = threading.Event()
        for at in range(0, len(body), 500):
            pause.wait(0.05)
            connection.sendall(body[at : at + 500])

    async def retrieve(base_url: str) -> bytearray:
        async with AsyncTasksClient(base_url=base_url, timeout=5.0) as client:
            return await client.retrieve_body("t1", request_options={"max_retries": 0})

    with serving(answer_slowly) as base_url:
        assert asyncio.run(retrieve(base_url)) == body
