"""What a call is held to while it is sent."""

from __future__ import annotations

import threading
from typing import Any, cast

from batchembed.api.sending import Watch


class _Call:
    options: dict[str, Any] = {}  # noqa: RUF012  it stays empty


def alarms() -> list[threading.Timer]:
    return [each for each in threading.enumerate() if isinstance(each, threading.Timer)]


def test_the_answer_of_a_proxy_begins_no_time_for_that_of_an_upload() -> None:
    watch = Watch(cast("Any", _Call()))
    watch.answer_s = 600.0

    # Asked to connect, a proxy answers before anything of the upload has left.
    watch.trace("http11.receive_response_headers.started", {})
    (of_the_proxy,) = alarms()
    watch.trace("http11.send_request_headers.started", {})
    of_the_proxy.join(timeout=10)
    assert alarms() == []

    watch.trace("http11.receive_response_headers.started", {})
    (own,) = alarms()
    watch.ended()
    own.join(timeout=10)
    assert alarms() == []
