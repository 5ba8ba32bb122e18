"""The guards of the tests themselves bite."""

from __future__ import annotations

import socket

import pytest

from tests.conftest import NetworkForbiddenError


def test_a_connection_off_this_machine_is_refused() -> None:
    with socket.socket() as client, pytest.raises(NetworkForbiddenError, match=r"192\.0\.2\.1"):
        client.connect(("192.0.2.1", 80))
