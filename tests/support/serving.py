"""The installed `batchembed serve`, and what tests ask of any server."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

COMMAND = str(Path(sys.executable).with_name("batchembed"))


@contextlib.contextmanager
def serving(
    folder: Path, *options: str, env: dict[str, str] | None = None, **popen: Any
) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A server in a process, and a client of it. A process that still runs is killed."""
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", "0", "--workers", "1", *options],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        start_new_session=True,
        **popen,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("batchembed serves http://"), line + process.stderr.read()
        with httpx.Client(base_url=line.split()[-1], timeout=60) as client:
            yield process, client
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stderr.close()
        process.wait()


def status(client: httpx.Client, task_id: str) -> dict[str, Any]:
    body: dict[str, Any] = client.get(f"/embed/tasks/{task_id}/status").json()
    return body


def until_ended(client: httpx.Client, task_id: str) -> dict[str, Any]:
    while True:
        body = status(client, task_id)
        if body["status"] != "processing":
            return body


@contextlib.contextmanager
def films_at(folder: Path, released: threading.Event) -> Iterator[str]:
    """The files of a folder over HTTP; what begins with `slow` waits for `released`."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def do_GET(self) -> None:
            if self.path.startswith("/slow"):
                released.wait(60)
                self.path = self.path.replace("/slow-", "/")
            with contextlib.suppress(ConnectionError):
                super().do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            released.set()
            server.shutdown()
            thread.join()
