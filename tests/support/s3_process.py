"""An S3 server of its own process: moto's, with a door that can be closed, and faults on demand.

It reads one command a line, as JSON, from its standard input, and answers each with one line.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

_HOST = "127.0.0.1"
#: Below those that the system gives to clients: one that asks for a port where nobody listens any
#: more may be given that very port, and keep it.
_PORTS = range(20_000, 32_000)


class _Quiet(WSGIRequestHandler):
    """Logs nothing: what was asked is in the file of requests."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  werkzeug's own name
        pass


class _Door(ThreadedWSGIServer):
    """Knows its open connections, to cut them."""

    def __init__(self, bound: socket.socket, app: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(_HOST, 0, app, handler=_Quiet, fd=bound.fileno())
        bound.close()  # the server has another descriptor of it

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was cut is no news."""

    def cut(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Rules:
    """Stands before moto: writes each request down, refuses some, and cuts some off."""

    def __init__(self, app: Any, log: Path) -> None:
        self._app = app
        self._log = log.open("a", encoding="utf-8")
        self._turn = threading.Lock()
        self.rules: list[dict[str, Any]] = []
        self.page_keys: int | None = None

    def _rule(self, method: str, path: str) -> dict[str, Any] | None:
        with self._turn:
            for rule in self.rules:
                if method in rule["methods"] and path.startswith(rule["path"]) and rule["times"]:
                    rule["after"] -= 1
                    if rule["after"] < 0:
                        rule["times"] -= 1
                        return rule
        return None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if self.page_keys is not None:
            shorter = f"max-keys={self.page_keys}"
            environ["QUERY_STRING"] = environ["QUERY_STRING"].replace("max-keys=1000", shorter)
        rule = self._rule(method, path)
        told: list[tuple[int, dict[str, str]]] = []

        def started(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            told.append((int(status[:3]), {key.lower(): value for key, value in headers}))
            return start_response(status, headers, *more)

        try:
            if rule is None:
                answer: Iterable[bytes] = self._app(environ, started)
                return answer
            if rule["code"] is None:
                if rule["status"]:
                    list(self._app(environ, lambda *_: None))
                else:
                    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                raise ConnectionAbortedError
            body = f"<Error><Code>{rule['code']}</Code><Message>as told</Message></Error>".encode()
            started(f"{rule['status']} Refused", [("Content-Length", str(len(body)))])
            return [] if method == "HEAD" else [body]
        finally:
            self._write(environ, told)

    def _write(self, environ: dict[str, Any], told: list[tuple[int, dict[str, str]]]) -> None:
        status, headers = told[-1] if told else (0, dict[str, str]())
        with self._turn:
            self._log.write(
                json.dumps(
                    {
                        "method": environ["REQUEST_METHOD"],
                        "path": environ["PATH_INFO"].encode("latin-1").decode(),
                        "query": environ["QUERY_STRING"],
                        "range": environ.get("HTTP_RANGE"),
                        "status": status,
                        "answer_bytes": int(headers.get("content-length", 0)),
                    }
                )
                + "\n"
            )
            self._log.flush()


def _bound(port: int) -> socket.socket | None:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HOST, port))
    except OSError:
        listening.close()
        return None
    listening.listen()
    return listening


def main(log: Path) -> None:
    """Serve until the commands end."""
    rules = _Rules(DomainDispatcherApplication(create_backend_app), log)
    port = 0
    door: _Door | None = None

    def opened() -> _Door:
        ports = [port] if port else random.sample(_PORTS, 100)
        bound = next(found for found in map(_bound, ports) if found is not None)
        made = _Door(bound, rules)
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        return made

    for line in sys.stdin:
        command = json.loads(line)
        match command.pop("do"):
            case "start":
                door = door or opened()
                port = door.port
            case "stop":
                if door is not None:
                    door.cut()
                door = None
            case "rule":
                rules.rules.append(command)
            case "pages":
                rules.page_keys = command["keys"]
            case "heal":
                rules.rules.clear()
                rules.page_keys = None
            case _:
                raise SystemExit(f"no such command: {line}")
        print(port, flush=True)  # noqa: T201  the answer


if __name__ == "__main__":
    main(Path(sys.argv[1]))
