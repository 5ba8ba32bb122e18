"""Guards for every test: no network but loopback, no home of the person who runs it, no secret left."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import canary

pytest_plugins = ["tests.support.s3", "tests.support.places"]

#: Tests whose output or log has a secret in it.
_SAID_IT: list[str] = []


class NetworkForbiddenError(AssertionError):
    """A test tried to leave the machine."""


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sockets connect to this machine alone."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not ipaddress.ip_address(address[0]).is_loopback:
            raise NetworkForbiddenError(f"a test connects to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def home_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep a test's hands off the home of the person who runs it, and off their API key."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("TWELVELABS_API_KEY", "TWELVE_LABS_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Look through what a test and the code under it printed and logged."""
    if any(canary.found_in(text) for _, text in report.sections):
        _SAID_IT.append(f"{report.nodeid} ({report.when})")


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After the last test (of each process), search all that was printed, logged and written."""
    yield
    left = [str(path) for path in canary.leaks(tmp_path_factory.getbasetemp())]
    assert (_SAID_IT, left) == ([], []), "a key or a signature was printed, logged or written"
