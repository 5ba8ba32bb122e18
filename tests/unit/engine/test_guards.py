"""Who may ask: keys, hosts and origins."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from batchembed.engine.web.guards import Guards, is_loopback


async def _app(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def ask(
    headers: dict[str, str] | list[tuple[str, str]],
    *,
    path: str = "/v1.3/embed/tasks",
    host: str = "127.0.0.1",
    api_key: str | None = None,
) -> tuple[int, str | None]:
    """Status and code of the answer to a request with these headers."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    pairs = headers.items() if isinstance(headers, dict) else headers
    scope = {
        "type": "http",
        "path": path,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
    }
    guards: Any = Guards(_app, host=host, api_key=api_key)
    asyncio.run(guards(scope, None, send))
    body = sent[1]["body"]
    return sent[0]["status"], json.loads(body)["code"] if body else None


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8080", "127.0.0.1", "127.9.9.9:80", "[::1]:8080", "10.1.2.3:8080"],
)
def test_this_machine_and_the_bound_address_are_answered(host: str) -> None:
    assert ask({"host": host}, host="10.1.2.3") == (200, None)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "10.1.2.3",
        "[::2]",
        "",
        "[",
        "127.0.0.1@evil.example",
        "evil.example@localhost",
        "localhost/evil",
        "localhost?evil",
        "localhost#evil",
        "localhost\\evil",
        "localhost evil",
        "localhost\n",
        "localhost:80:80",
        "localhost:80a",
        "[::1",
        "[localhost]",
        "::1",
    ],
)
def test_another_host_is_refused_without_a_key(host: str) -> None:
    assert ask({"host": host}) == (403, "api_not_allowed")


def test_any_host_is_answered_with_the_key() -> None:
    headers = {"host": "engine.example", "x-api-key": "s3cret"}

    assert ask(headers, host="0.0.0.0", api_key="s3cret") == (200, None)  # noqa: S104  a name


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "http://a@localhost",
        "localhost",
        "",
    ],
)
@pytest.mark.parametrize("api_key", [None, "s3cret"])
def test_a_page_of_another_site_is_refused(origin: str, api_key: str | None) -> None:
    headers = {"host": "localhost:8080", "origin": origin, "x-api-key": "s3cret"}

    assert ask(headers, api_key=api_key) == (403, "api_not_allowed")


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1", "https://engine.example"]
)
def test_a_page_of_this_machine_or_this_server_is_answered(origin: str) -> None:
    headers = {"host": "engine.example", "origin": origin, "x-api-key": "s3cret"}

    assert ask(headers, api_key="s3cret") == (200, None)


@pytest.mark.parametrize(
    "keys", [[], ["wrong"], [""], ["s3cret "], ["s3cret", "s3cret"], ["é"], ["s3cret\0"]]
)
def test_a_wrong_key_is_refused(keys: list[str]) -> None:
    headers = [("host", "localhost"), *(("x-api-key", key) for key in keys)]

    assert ask(headers, api_key="s3cret") == (401, "api_key_invalid")


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json"])
def test_health_and_description_need_no_key(path: str) -> None:
    assert ask({"host": "localhost"}, path=path, api_key="s3cret") == (200, None)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("::1", True), ("127.8.8.8", True), ("0.0.0.0", False), ("lan", False)],  # noqa: S104  names
)
def test_what_means_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
