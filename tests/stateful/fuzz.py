"""Answers of the service, broken in every way; each is made from its number alone."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

#: Texts that no value of Python's gives, in place of a value.
_RAW = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1e400",
    "1e39",
    "-0",
    "1E-400",
    "0x10",
    "01",
    "9" * 5_000,
    "-" + "9" * 400,
    "1." + "3" * 2_000,
    "true",
    "null",
    "nul",
    "'a'",
    "undefined",
    '"\\ud800"',
    '"\\u0000"',
    '"\\x41"',
    '"' + "a" * 70_000 + '"',
    "[" * 100_000,
    "[" * 300 + "]" * 300,
    '{"a":' * 20_000,
    "[1, 2",
    "{",
    "",
)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    1e308,
    2**63,
    10**30,
    "",
    "ready",
    "failed",
    "READY",
    "../..",
    "validating\x1b[31m",
    "é" * 300,
    [],
    [[]],
    {},
    {"a": 1},
    [None],
    [0.0, 0.0],
    [1.0],
    [1.0, 2.0, 3.0],
    ["1", "2"],
    [1e39, 1.0],
    [True, False],
    "2026-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999+23:59",
    "000000000000000000000001",
)
_HEADERS: tuple[tuple[str, str], ...] = (
    ("retry-after", "nan"),
    ("retry-after", "inf"),
    ("retry-after", "-5"),
    ("retry-after", "1e400"),
    ("retry-after", "soon"),
    ("retry-after", "0"),
    ("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT"),
    ("retry-after-ms", "nan"),
    ("date", "Fri, 99 Foo 2026 99:99:99 GMT"),
    ("date", "Fri, 31 Dec 9999 23:59:59 -2359"),
    ("date", "Mon, 01 Jan 0001 00:00:00 +2359"),
    ("date", ""),
    ("x-ratelimit-remaining", "nan"),
    ("x-ratelimit-remaining", "-1"),
    ("x-ratelimit-remaining", "inf"),
    ("x-ratelimit-limit", "1e400"),
    ("x-ratelimit-reset", "99999999999999999999"),
    ("x-ratelimit-request-remaining", "0"),
    ("x-ratelimit-request-reset", "1762553468"),
    ("x-trace-id", "\x7f\x01" * 40),
    ("x-trace-id", "t" * 9_000),
    ("content-type", "text/html"),
    ("content-type", "application/json; charset=utf-16"),
    ("content-type", "\xff"),
    ("content-encoding", "br"),
    ("content-encoding", "gzip"),
    ("content-encoding", "deflate"),
    ("content-encoding", "gzip, gzip"),
    ("location", "http://127.0.0.1:1/"),
    ("set-cookie", "a=b; Domain=example.com"),
)
_STATUSES = (199, 201, 202, 204, 206, 301, 304, 307, 400, 401, 402, 403, 404, 405, 408, 409, 410)
_MORE_STATUSES = (413, 415, 418, 422, 425, 429, 431, 451, 500, 501, 502, 503, 504, 511, 599)
_MARK = '"@raw@"'


@dataclass(kw_only=True)
class Answer:
    """Of an answer, what can be broken."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def broken(number: int, answer: Answer) -> Answer:
    """The answer, broken in the way, or the ways, of this number."""
    chance = random.Random(number)  # noqa: S311  nothing is secret here
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        chance.choice(_WAYS)(chance, answer)
    return answer


def response(answer: Answer) -> httpx.Response:
    """As a transport gives it; its body is decoded when it is read."""
    headers = [(name.encode(), text.encode("latin-1")) for name, text in answer.headers]
    return httpx.Response(answer.status, headers=headers, stream=httpx.ByteStream(answer.body))


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Each (container, key) in a document."""
    children = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, child in children:
        found.append((value, key))
        _places(child, found)
    return found


def _somewhere(chance: random.Random, answer: Answer, change: Callable[[Any, Any], None]) -> None:
    """Change the document at a place, if it is one."""
    try:
        document = json.loads(answer.body)
        places = _places(document, [])
        if places:
            change(*chance.choice(places))
        answer.body = json.dumps(document).encode()
    except (ValueError, RecursionError):
        return


def _replace(chance: random.Random, answer: Answer) -> None:
    def change(holder: Any, key: Any) -> None:
        holder[key] = chance.choice(_VALUES)

    _somewhere(chance, answer, change)


def _write_raw(chance: random.Random, answer: Answer) -> None:
    def change(holder: Any, key: Any) -> None:
        holder[key] = "@raw@"

    _somewhere(chance, answer, change)
    answer.body = answer.body.replace(_MARK.encode(), chance.choice(_RAW).encode(), 1)


def _remove(chance: random.Random, answer: Answer) -> None:
    def change(holder: Any, key: Any) -> None:
        del holder[key]

    _somewhere(chance, answer, change)


def _repeat(chance: random.Random, answer: Answer) -> None:
    """A list's item twice, or more often."""

    def change(holder: Any, key: Any) -> None:
        if isinstance(holder, list):
            holder.extend([holder[key]] * chance.choice((1, 3, 200)))

    _somewhere(chance, answer, change)


def _name_twice(chance: random.Random, answer: Answer) -> None:
    """The same key again, with another value: the last one counts for some readers."""
    text = answer.body.decode("utf-8", "replace")
    keys = ("_id", "status", "float", "data", "video_embedding", "segments", "page_info")
    name, value = chance.choice(keys), json.dumps(chance.choice(_VALUES))
    answer.body = text.replace("{", f'{{"{name}":{value},', 1).encode("utf-8", "replace")
    if chance.random() < 0.5 and answer.body.endswith(b"}"):
        answer.body = answer.body[:-1] + f',"{name}":{value}}}'.encode()


def _cut(chance: random.Random, answer: Answer) -> None:
    answer.body = answer.body[: chance.randrange(len(answer.body) + 1)]


def _flip(chance: random.Random, answer: Answer) -> None:
    data = bytearray(answer.body)
    for _ in range(chance.choice((1, 2, 10)) if data else 0):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    answer.body = bytes(data)


def _other_body(chance: random.Random, answer: Answer) -> None:
    answer.body = chance.choice(
        (
            b"",
            b"null",
            b"[]",
            b"{}",
            b"0",
            b'"ready"',
            b"\xef\xbb\xbf{}",
            b"\xff\xfe{\x00}\x00",
            b"<html>502</html>",
            b"}" * 1_000,
            answer.body * 2,
            answer.body + b"\n\x00",
            b" " * 100_000 + answer.body,
        )
    )


def _other_status(chance: random.Random, answer: Answer) -> None:
    answer.status = chance.choice(_STATUSES + _MORE_STATUSES)


def _fault(chance: random.Random, answer: Answer) -> None:
    """An error of the API, or something like one."""
    _other_status(chance, answer)
    code = chance.choice(
        ("parameter_invalid", "too_many_requests", "resource_not_exist", "api_key_invalid", "", 7)
    )
    message = chance.choice(("no", None, "model_name is wrong", "a\nb\x1b[2J" * 100, {"a": 1}))
    answer.body = json.dumps({"code": code, "message": message}).encode()


def _header(chance: random.Random, answer: Answer) -> None:
    answer.headers.append(chance.choice(_HEADERS))


def _many_headers(chance: random.Random, answer: Answer) -> None:
    answer.headers += [(f"x-{number}", "a" * chance.choice((1, 500))) for number in range(150)]


def _packed(chance: random.Random, answer: Answer) -> None:
    """Rightly packed, cut short, or damaged."""
    pack = chance.choice((gzip.compress, zlib.compress))
    answer.headers.append(("content-encoding", "gzip" if pack is gzip.compress else "deflate"))
    answer.body = pack(answer.body)
    chance.choice((lambda *_: None, _cut, _flip))(chance, answer)


_WAYS: tuple[Callable[[random.Random, Answer], None], ...] = (
    _replace,
    _replace,
    _replace,
    _write_raw,
    _write_raw,
    _write_raw,
    _remove,
    _remove,
    _repeat,
    _name_twice,
    _cut,
    _flip,
    _other_body,
    _other_status,
    _fault,
    _header,
    _header,
    _many_headers,
    _packed,
)
