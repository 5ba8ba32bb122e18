"""An S3 server on loopback for tests: moto's, in a process of its own.

`s3` is a bucket of the test's own, with the usual variables pointing there. The server can be
stopped, which cuts every connection and keeps its data, and started again on the same port; it can
refuse, or cut off, the requests that a test names.
"""

from __future__ import annotations

import http.client
import itertools
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import quote

import pytest

from batchembed.core.model import StoreOptions

_ROOT = Path(__file__).parents[2]
_ALL = ("GET", "HEAD", "PUT", "POST", "DELETE")
#: Keys that open nothing: the server takes any.
KEY_ID = "AKIATEST0000000000"
SECRET = "not-a-secret-of-anybody"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "us-east-1",
}
#: The server looks at the name of the key alone, but lets nobody write over what is there without.
_SIGNED = {
    "Authorization": f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
}
#: What a person's own machine may have set.
_OTHERS = (
    "AWS_CONFIG_FILE",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)


class Asked(NamedTuple):
    """A request that the server had; `answer_bytes` as its headers say, of a HEAD too."""

    method: str
    path: str
    query: str
    range: str | None
    status: int  #: 0: none, the connection was cut
    answer_bytes: int


class S3Server:
    """The server, running. Paths are `/bucket/key`."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "requests.jsonl"
        self._log.touch()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.s3_process", str(self._log)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = self._tell(do="start")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._process as process:
            process.kill()

    def _tell(self, **command: object) -> int:
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("made without pipes")
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> StoreOptions:
        return StoreOptions(endpoint_url=self.endpoint_url, region="us-east-1")

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which any client finds the server."""
        return {**ENVIRONMENT, "AWS_ENDPOINT_URL": self.endpoint_url}

    # -- its life

    def stop(self) -> None:
        """Cut every connection and take no more. What it holds, it keeps."""
        self._tell(do="stop")

    def start(self) -> None:
        """Take connections again, on the same port."""
        self._tell(do="start")

    def refuse(
        self,
        path: str,
        status: int,
        code: str,
        *,
        methods: tuple[str, ...] = _ALL,
        times: int = -1,
        after: int = 0,
    ) -> None:
        """Answer requests whose path begins so with an error, `after` so many; `times` < 0: for good."""
        self._rule(path, status, code, methods=methods, times=times, after=after)

    def cut(
        self, path: str, *, methods: tuple[str, ...] = ("PUT",), times: int = 1, after: int = 0
    ) -> None:
        """Cut the connection of such requests, when half of the body has come."""
        self._rule(path, 0, None, methods=methods, times=times, after=after)

    def lose(
        self, path: str, *, methods: tuple[str, ...] = ("PUT",), times: int = 1, after: int = 0
    ) -> None:
        """Do what such requests ask for, and cut their connection instead of an answer."""
        self._rule(path, 200, None, methods=methods, times=times, after=after)

    def _rule(
        self,
        path: str,
        status: int,
        code: str | None,
        *,
        methods: tuple[str, ...],
        times: int,
        after: int,
    ) -> None:
        self._tell(
            do="rule",
            path=path,
            status=status,
            code=code,
            methods=methods,
            times=times,
            after=after,
        )

    def shorten_pages(self, keys: int) -> None:
        """List so many keys on a page, in place of 1,000."""
        self._tell(do="pages", keys=keys)

    def heal(self) -> None:
        """Forget the rules, and the length of pages."""
        self._tell(do="heal")

    def asked(self) -> list[Asked]:
        """Every request so far."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return [Asked(**json.loads(line)) for line in lines]

    def forget_asked(self) -> None:
        """Begin to count anew."""
        with self._log.open("r+") as log:
            log.truncate(0)

    # -- what it holds

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Ask it, past all clients; `path` is quoted. Returns status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {**_SIGNED, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def make_bucket(self, name: str) -> Bucket:
        """A new, empty bucket."""
        status, body = self.request("PUT", f"/{name}")
        if status != 200:
            raise AssertionError(f"no bucket {name}: {body!r}")
        return Bucket(self, name)


class Bucket:
    """A bucket of the server."""

    def __init__(self, server: S3Server, name: str) -> None:
        self.server = server
        self.name = name

    def uri(self, key: str = "") -> str:
        return f"s3://{self.name}/{key}"

    def _path(self, key: str) -> str:
        return f"/{self.name}/{quote(key)}"

    def put(self, key: str, content: bytes) -> str:
        """Make or replace an object. Returns its URI."""
        status, body = self.server.request("PUT", self._path(key), content)
        if status != 200:
            raise AssertionError(f"{key} was not put: {status} {body!r}")
        return self.uri(key)

    def put_folder(self, folder: Path, key: str) -> str:
        """Copy a folder's files, as any tool may. Returns the URI of what they are below."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{key}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return self.uri(key)

    def get(self, key: str) -> bytes:
        status, body = self.server.request("GET", self._path(key))
        if status != 200:
            raise AssertionError(f"there is no {key}: {status} {body!r}")
        return body

    def delete(self, key: str) -> None:
        self.server.request("DELETE", self._path(key))

    def keys(self) -> list[str]:
        """Of all objects, sorted as S3 sorts them; at most 1,000."""
        _, body = self.server.request("GET", f"/{self.name}?list-type=2&max-keys=1000")
        found = ET.fromstring(body)  # noqa: S314  the test's own server
        return [each.text or "" for each in found.iter() if each.tag.rpartition("}")[2] == "Key"]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests of a process, begun with the first that asks for it."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


_NUMBERS = itertools.count(1)


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket of this test's own, found by the usual variables; the server is whole again after it."""
    for name in _OTHERS:
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    s3_server.heal()
    yield s3_server.make_bucket(f"bucket-{next(_NUMBERS)}")
    s3_server.heal()
