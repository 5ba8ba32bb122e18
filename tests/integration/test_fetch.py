"""Videos fetched over real connections; the addresses of names are told by the tests."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
import trustme

from batchembed.core.problems import Reason
from batchembed.engine.fetching.fetch import FetchError, FetchRules, Resolver, fetch, resolve_host

RULES = FetchRules(stall_s=20, timeout_s=20)
LOCAL = replace(RULES, allow_private=True)
PUBLIC = "93.184.216.34"
FILM = bytes(range(256)) * 10_000
URL = "https://films.example/a.mp4?sig=secret"


def head(status: str = "200 OK", *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def film(content: bytes = FILM, *headers: str) -> bytes:
    return head("200 OK", f"Content-Length: {len(content)}", *headers) + content


def found(location: str) -> bytes:
    return head("302 Found", f"Location: {location}", "Content-Length: 0")


@dataclass(slots=True)
class Server:
    """Gives its answers in order, and the last one for ever; keeps what it was asked."""

    answers: list[bytes]
    hangs: bool = False  #: after the answer, the connection stays open and silent
    port: int = 0
    heads: list[str] = field(default_factory=list)
    end: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(asked.decode("ascii"))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                writer.write(answer)
                await writer.drain()
                if self.hangs:
                    await self.end.wait()
                if b"302 Found" not in answer:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client has heard enough
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def served(
    *answers: bytes, hangs: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server(answers=list(answers), hangs=hangs)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        server.end.set()
        listening.close()
        await listening.wait_closed()


class Wire(httpx.AsyncBaseTransport):
    """Leads to a server on loopback whatever address is asked for, and keeps the requests.

    It speaks TLS only if it gets a context.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._scheme = "https" if tls else "http"
        self._inner = httpx.AsyncHTTPTransport(verify=tls or False, trust_env=False)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        url = request.url.copy_with(scheme=self._scheme, host="127.0.0.1", port=self._port)
        moved = httpx.Request("GET", url, headers=request.headers, extensions=request.extensions)
        return await self._inner.handle_async_request(moved)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Names:
    """A resolver that knows some names, and keeps what it was asked."""

    def __init__(self, **known: Sequence[str]) -> None:
        self._known = {name.replace("_", "."): addresses for name, addresses in known.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._known[host]


NOWHERE = Names()
FILMS = Names(films_example=[PUBLIC], other_example=["8.8.8.8"])


def fetched(
    folder: Path,
    *answers: bytes,
    url: str = URL,
    rules: FetchRules = RULES,
    resolve: Resolver = FILMS,
    hangs: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Server, Wire]:
    """Fetch to `folder/film`, from a server with these answers."""

    async def run() -> tuple[Server, Wire]:
        async with served(*answers, hangs=hangs) as server:
            wire = Wire(server.port)
            await fetch(url, folder / "film", rules, resolve=resolve, transport=wire, clock=clock)
            return server, wire

    return asyncio.run(run())


def refusal(folder: Path, *answers: bytes, **options: object) -> Reason:
    """Why nothing was fetched; and nothing is left."""
    with pytest.raises(FetchError) as caught:
        fetched(folder, *answers, **options)  # type: ignore[arg-type]
    assert list(folder.iterdir()) == []
    reason = caught.value.reason
    assert str(caught.value) == reason.message
    assert "secret" not in repr(reason)
    assert reason.hint
    assert reason.field == "video_url"
    return reason


def locally(folder: Path, *answers: bytes, path: str = "/a.mp4", hangs: bool = False) -> Server:
    """Fetch from 127.0.0.1 with the transport that strangers' URLs get."""

    async def run() -> Server:
        async with served(*answers, hangs=hangs) as server:
            await fetch(f"http://127.0.0.1:{server.port}{path}", folder / "film", LOCAL)
            return server

    return asyncio.run(run())


def test_a_video_arrives_as_it_is(tmp_path: Path) -> None:
    locally(tmp_path, film())
    assert (tmp_path / "film").read_bytes() == FILM


def test_a_video_in_chunks_arrives_as_it_is(tmp_path: Path) -> None:
    parts = [FILM[at : at + 700_000] for at in range(0, len(FILM), 700_000)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    locally(tmp_path, head("200 OK", "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n")
    assert (tmp_path / "film").read_bytes() == FILM


def test_a_video_that_ends_with_its_connection_arrives_as_it_is(tmp_path: Path) -> None:
    locally(tmp_path, head() + FILM)
    assert (tmp_path / "film").read_bytes() == FILM


def test_a_signature_arrives_as_it_was_written_and_is_in_no_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = "/a%20b/%C3%BC.mp4?sig=a%2Fb%2Bsecret%3D%3D&x=1+2&y=~"
    server = locally(tmp_path, film(), path=path)
    assert server.heads[0].startswith(f"GET {path} HTTP/1.1\r\n")
    assert "secret" not in caplog.text


def test_a_request_names_the_host_and_carries_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login me password secret\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "to").mkdir()
    server, _ = fetched(
        tmp_path / "to", film(b"x", "Set-Cookie: a=b"), url="http://Films.example./a"
    )
    line, *headers = server.heads[0].strip().split("\r\n")
    assert line == "GET /a HTTP/1.1"
    assert dict(header.lower().split(": ") for header in headers) == {
        "host": "films.example",
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": "batchembed",
    }


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    locally(tmp_path, film(b"x"))
    assert (tmp_path / "film").read_bytes() == b"x"


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%eth0"],
        ["64:ff9b::7f00:1"],
        [PUBLIC, "192.168.1.1"],
        [*[PUBLIC] * 9, "127.0.0.1"],
        ["fd00::1", PUBLIC],
    ],
)
def test_a_name_with_an_address_that_is_not_public_is_refused_before_a_connection(
    tmp_path: Path, addresses: list[str]
) -> None:
    names = Names(films_example=addresses)
    wire = Wire(9)

    async def run() -> None:
        await fetch(URL, tmp_path / "film", RULES, resolve=names, transport=wire)

    with pytest.raises(FetchError) as caught:
        asyncio.run(run())
    reason = caught.value.reason
    assert reason.code == "parameter_invalid"
    assert "https://films.example/a.mp4 leads to an address that is not public" in reason.message
    assert "--allow-private-urls" in str(reason.hint)
    # Nobody is to learn from us what an inner name's address is.
    assert not any(address in repr(reason) for address in addresses)
    assert wire.requests == []
    assert list(tmp_path.iterdir()) == []


def test_the_real_resolver_finds_localhost_and_it_is_refused(tmp_path: Path) -> None:
    reason = refusal(tmp_path, film(), url="http://localhost/a.mp4", resolve=resolve_host)
    assert reason.code == "parameter_invalid"


def test_a_name_is_resolved_once_and_that_very_address_is_connected_to(tmp_path: Path) -> None:
    answers = itertools.chain([[PUBLIC]], itertools.repeat(["127.0.0.1"]))

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return next(answers)

    _, wire = fetched(tmp_path, film(), resolve=rebinding)
    assert [str(request.url.host) for request in wire.requests] == [PUBLIC]
    assert next(answers) == ["127.0.0.1"]  # it was asked once
    assert (tmp_path / "film").read_bytes() == FILM


def test_the_next_address_is_tried_where_one_does_not_answer(tmp_path: Path) -> None:
    class HalfDeaf(Wire):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.host == "2606:4700::1":
                self.requests.append(request)
                raise httpx.ConnectError("Network is unreachable")
            return await super().handle_async_request(request)

    async def run() -> Wire:
        async with served(film()) as server:
            wire = HalfDeaf(server.port)
            names = Names(films_example=["2606:4700::1", PUBLIC])
            await fetch(URL, tmp_path / "film", RULES, resolve=names, transport=wire)
            return wire

    assert [request.url.host for request in asyncio.run(run()).requests] == ["2606:4700::1", PUBLIC]
    assert (tmp_path / "film").read_bytes() == FILM


def test_host_and_server_name_are_those_of_the_url_and_the_address_is_the_checked_one(
    tmp_path: Path,
) -> None:
    _, wire = fetched(tmp_path, found("https://Other.example./b.mp4"), film())
    first, second = wire.requests
    assert (first.url.scheme, first.url.host, first.url.port) == ("https", PUBLIC, None)
    assert (first.headers["host"], first.extensions["sni_hostname"]) == (("films.example",) * 2)
    assert second.url.host == "8.8.8.8"
    assert (second.headers["host"], second.extensions["sni_hostname"]) == (("other.example",) * 2)


def over_tls(folder: Path, url: str) -> list[str]:
    """Fetch from a server that has the certificate of films.example; the names it was asked for."""
    asked: list[str] = []
    authority = trustme.CA()
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("films.example").configure_cert(serving)
    authority.configure_trust(trusting)
    serving.sni_callback = lambda _socket, name, _context: asked.append(name)

    async def run() -> None:
        async with served(film(), tls=serving) as server:
            wire = Wire(server.port, trusting)
            await fetch(url, folder / "film", RULES, resolve=FILMS, transport=wire)

    asyncio.run(run())
    return asked


def test_the_certificate_is_that_of_the_name_though_an_address_is_connected_to(
    tmp_path: Path,
) -> None:
    assert over_tls(tmp_path, URL) == ["films.example"]
    assert (tmp_path / "film").read_bytes() == FILM


def test_the_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="certificate") as caught:
        over_tls(tmp_path, "https://other.example/a.mp4")
    assert caught.value.reason.code == "video_url_unreachable"
    assert list(tmp_path.iterdir()) == []


def test_redirects_are_followed_each_resolved_and_checked(tmp_path: Path) -> None:
    names = Names(films_example=[PUBLIC], other_example=["8.8.8.8"])
    hops = [found("/b?sig=2"), found("https://other.example/c"), found("d")]
    server, _ = fetched(tmp_path, *hops, film(), resolve=names)
    assert [head.split(" ")[1] for head in server.heads] == [
        "/a.mp4?sig=secret",
        "/b?sig=2",
        "/c",
        "/d",
    ]
    assert names.asked == ["films.example", "films.example", "other.example", "other.example"]
    assert (tmp_path / "film").read_bytes() == FILM


def test_a_redirect_meets_a_new_connection(tmp_path: Path) -> None:
    server = locally(tmp_path, found("/b.mp4"), film())
    assert server.connections == 2


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/a.mp4",
        "https://inner.example/a.mp4",
        "//169.254.169.254/latest/meta-data",
        "https://0x7f000001/",
        "https://[::ffff:127.0.0.1]/",
        "file:///etc/passwd",
        "https://user:secret@other.example/",
        "https://other.example:22/",
        "http://other.example/a.mp4",
    ],
)
def test_a_redirect_to_where_we_do_not_go_is_refused(tmp_path: Path, location: str) -> None:
    names = Names(films_example=[PUBLIC], other_example=["8.8.8.8"], inner_example=["10.0.0.1"])
    wires: list[Wire] = []

    async def run() -> None:
        async with served(found(location), film()) as server:
            wires.append(Wire(server.port))
            await fetch(URL, tmp_path / "film", RULES, resolve=names, transport=wires[0])

    with pytest.raises(FetchError) as caught:
        asyncio.run(run())
    assert caught.value.reason.code == "parameter_invalid"
    assert "secret" not in repr(caught.value.reason)
    assert len(wires[0].requests) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("location", ["http://exa\tmple/", "http://[::1/", f"/{'a' * 70_000}"])
def test_a_redirect_to_what_is_no_url_is_said(tmp_path: Path, location: str) -> None:
    reason = refusal(tmp_path, found(location))
    assert reason.message.startswith("https://films.example/a.mp4 redirects to ")


def test_plain_http_may_lead_to_https(tmp_path: Path) -> None:
    hops = (found("https://other.example/a.mp4"), film(b"x"))
    fetched(tmp_path, *hops, url="http://films.example/a.mp4")
    assert (tmp_path / "film").read_bytes() == b"x"


def test_redirects_without_an_end_are_given_up(tmp_path: Path) -> None:
    names = Names(films_example=[PUBLIC])
    reason = refusal(tmp_path, found("/a.mp4"), resolve=names)
    assert reason.code == "video_url_unreachable"
    assert "redirects more than 5 times" in reason.message
    assert len(names.asked) == 6


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (head("404 Not Found", "Content-Length: 0"), "answered 404 instead of 200"),
        (head("503 Busy", "Content-Length: 0"), "answered 503 instead of 200"),
        (head("204 No Content"), "answered 204 instead of 200"),
        (head("206 Partial Content", "Content-Length: 1") + b"x", "answered 206"),
        (head("302 Found", "Content-Length: 0"), "answered 302 instead of 200"),
        (film(b"x", "Content-Type: Text/HTML; charset=utf-8"), "web page, not a raw video file"),
        (film(b"x", "Content-Type: application/x-mpegURL"), "a playlist, not a raw video file"),
        (film(b"x", "Content-Encoding: gzip"), "compressed"),
        (film(b"x", "Transfer-Encoding: gzip"), "no answer that is HTTP"),
        (head("200 OK", "Content-Length: 10") + b"x", "broke off its answer"),
        (head("200 OK", "Transfer-Encoding: chunked") + b"zz\r\n", "broke off its answer"),
        (b"220 secret.example ESMTP\r\n", "no answer that is HTTP"),
        (head("200 OK", f"X: {'x' * 200_000}"), "no answer that is HTTP"),
        (b"", "no answer that is HTTP"),
    ],
)
def test_an_answer_without_a_video_is_refused(tmp_path: Path, answer: bytes, said: str) -> None:
    reason = refusal(tmp_path, answer)
    assert said in reason.message
    assert reason.message.startswith("https://films.example/a.mp4 ")
    assert reason.code == "video_url_unreachable"


def test_an_announced_size_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    huge = head("200 OK", "Content-Length: 2000000001")
    reason = refusal(tmp_path, huge, hangs=True)
    assert (reason.code, reason.value, reason.limit) == (
        "video_filesize_too_large",
        2_000_000_001,
        2_000_000_000,
    )
    assert "https://films.example/a.mp4 has 2,000,000,001 bytes" in reason.message


def test_bytes_over_the_limit_are_refused_where_no_size_was_announced(tmp_path: Path) -> None:
    rules = replace(RULES, max_bytes=len(FILM) - 1)
    reason = refusal(tmp_path, head() + FILM, rules=rules)
    assert (reason.code, reason.limit) == ("video_filesize_too_large", len(FILM) - 1)


def test_as_many_bytes_as_allowed_are_fetched(tmp_path: Path) -> None:
    fetched(tmp_path, head() + FILM, rules=replace(RULES, max_bytes=len(FILM)))
    assert (tmp_path / "film").read_bytes() == FILM


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nX-A", head() + b"x"])
def test_a_server_that_falls_silent_is_given_up(tmp_path: Path, begun: bytes) -> None:
    reason = refusal(tmp_path, begun, hangs=True, rules=replace(RULES, stall_s=0.1))
    assert reason.code == "video_url_unreachable"
    assert "kept us waiting over 0.1 s" in reason.message


def test_a_server_that_drips_is_given_up(tmp_path: Path) -> None:
    """By this clock 100 kB come in about a second each, where 1 MB are asked for."""
    ticks = itertools.count()
    rules = replace(RULES, stall_s=5, min_bytes_per_s=1_000_000)
    reason = refusal(tmp_path, film(), rules=rules, clock=lambda: float(next(ticks)))
    assert reason.code == "video_url_unreachable"
    assert "sent only" in reason.message


def test_a_server_that_is_fast_at_first_and_drips_then_is_given_up(tmp_path: Path) -> None:
    now_s = 0.0

    async def drops() -> AsyncIterator[bytes]:
        nonlocal now_s
        for size_bytes in [100_000] * 5 + [10] * 6:
            now_s += 1
            yield bytes(size_bytes)

    async def run() -> None:
        wire = httpx.MockTransport(lambda _: httpx.Response(200, content=drops()))
        rules = replace(RULES, stall_s=5, min_bytes_per_s=10_000)
        await fetch(
            URL, tmp_path / "film", rules, resolve=FILMS, transport=wire, clock=lambda: now_s
        )

    with pytest.raises(FetchError, match="sent only 50 bytes in 5 s"):
        asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_just_fast_enough_is_heard_to_its_end(tmp_path: Path) -> None:
    ticks = itertools.count()
    rules = replace(RULES, stall_s=5, min_bytes_per_s=1)
    fetched(tmp_path, film(), rules=rules, clock=lambda: float(next(ticks)))
    assert (tmp_path / "film").read_bytes() == FILM


def test_the_whole_fetch_has_an_end(tmp_path: Path) -> None:
    reason = refusal(tmp_path, head() + b"x", hangs=True, rules=replace(RULES, timeout_s=0.2))
    assert reason.code == "video_url_unreachable"
    assert "https://films.example/a.mp4 was not fetched within 0.2 s" in reason.message


def test_a_resolver_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    async def mute(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    reason = refusal(tmp_path, film(), resolve=mute, rules=replace(RULES, stall_s=0.1))
    assert "for its host to be found" in reason.message


@pytest.mark.parametrize("error", [OSError(-2, "Name or service not known"), None])
def test_a_host_that_is_not_found_is_said(tmp_path: Path, error: OSError | None) -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        if error:
            raise error
        return []

    reason = refusal(tmp_path, film(), resolve=unknown)
    assert reason.code == "video_url_unreachable"
    assert "https://films.example/a.mp4 names a host that is not found" in reason.message


def test_a_server_that_is_away_is_said(tmp_path: Path) -> None:
    async def run() -> None:
        async with served(film()) as server:
            port = server.port
        await fetch(f"http://127.0.0.1:{port}/a.mp4", tmp_path / "film", LOCAL)

    with pytest.raises(FetchError, match="could not be connected to") as caught:
        asyncio.run(run())
    assert caught.value.reason.code == "video_url_unreachable"
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_fetch_leaves_nothing(tmp_path: Path) -> None:
    async def run() -> bool:
        begun = asyncio.Event()
        ticks = itertools.count()

        def clock() -> float:
            if next(ticks) == 1:  # the first bytes are here
                begun.set()
            return 0.0

        async with served(head() + FILM, hangs=True) as server:
            wire = Wire(server.port)
            fetching = asyncio.create_task(
                fetch(URL, tmp_path / "film", RULES, resolve=FILMS, transport=wire, clock=clock)
            )
            await begun.wait()
            there = (tmp_path / "film").exists()
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching
            return there

    assert asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_that_fails_at_its_very_end_leaves_nothing(tmp_path: Path) -> None:
    closing: list[bool] = []

    class Sticky(Wire):
        async def aclose(self) -> None:
            await super().aclose()
            closing.append((tmp_path / "film").exists())
            await asyncio.Event().wait()

    async def run() -> None:
        async with served(film()) as server:
            rules = replace(RULES, timeout_s=0.5)
            wire = Sticky(server.port)
            await fetch(URL, tmp_path / "film", rules, resolve=FILMS, transport=wire)

    with pytest.raises(FetchError, match="was not fetched within"):
        asyncio.run(run())
    assert closing == [True]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        locally(tmp_path, film())
    assert (tmp_path / "film").read_bytes() == b"mine"


def test_a_url_that_is_refused_by_its_text_is_not_even_resolved(tmp_path: Path) -> None:
    for url in ("http://127.1/a.mp4", "ftp://films.example/a.mp4", "https://me@films.example/"):
        assert refusal(tmp_path, film(), url=url, resolve=NOWHERE).code == "parameter_invalid"
    assert NOWHERE.asked == []


def test_private_urls_still_do_not_reach_what_clouds_tell_their_machines(tmp_path: Path) -> None:
    names = Names(films_example=["169.254.169.254"])
    reason = refusal(tmp_path, film(), url="http://films.example/", rules=LOCAL, resolve=names)
    assert reason.code == "parameter_invalid"


def test_a_private_name_is_fetched_from_on_request(tmp_path: Path) -> None:
    names = Names(nas=["192.168.1.9"])
    _, wire = fetched(tmp_path, film(), url="http://nas:9000/a.mp4", rules=LOCAL, resolve=names)
    assert str(wire.requests[0].url) == "http://192.168.1.9:9000/a.mp4"
    assert wire.requests[0].headers["host"] == "nas:9000"
    assert (tmp_path / "film").read_bytes() == FILM
