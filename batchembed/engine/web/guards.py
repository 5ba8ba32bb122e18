"""Who may ask: the API key, and the Host and Origin that a browser can't be made to forge.

A page of any site can have a browser send requests to this machine. Under DNS rebinding they carry
the site's own Host; else they carry its Origin.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from batchembed.engine.refusal import Refusal
from batchembed.engine.web.answers import refused
from batchembed.engine.web.openapi import API_PREFIX

#: A name or an address, and a port. Nothing else is let pass: what takes `a@b` or `a/b` for a host
#: is not agreed on.
_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s@/?#\\:\[\]]+))(?::[0-9]{1,5})?")


class Guards:
    """An ASGI app that lets only those through to `app` who may ask it."""

    def __init__(self, app: ASGIApp, *, host: str, api_key: str | None = None) -> None:
        """Guard `app`.

        Args:
            app: what answers.
            host: the name or address that the server is bound to.
            api_key: what requests of the API must carry; None: none.
        """
        self._app = app
        self._host = host.lower()
        self._api_key = None if api_key is None else api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        await (self._app if refusal is None else refused(refusal))(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        hosts, origins = _values(headers, b"host"), _values(headers, b"origin")
        if self._api_key is None and not all(map(self._is_ours, hosts)):
            return Refusal(403, "api_not_allowed", "This server does not answer for that Host.")
        pages = [origin.partition("://")[2] for origin in origins]
        if not all(page in hosts or self._is_ours(page) for page in pages):
            return Refusal(403, "api_not_allowed", "This server does not answer pages of others.")
        if self._api_key is not None and scope["path"].startswith(API_PREFIX):
            keys = [value.encode("latin-1") for value in _values(headers, b"x-api-key")]
            if len(keys) != 1 or not hmac.compare_digest(keys[0], self._api_key):
                return Refusal(
                    401,
                    "api_key_invalid",
                    "API Key is either invalid or expired. "
                    "Please check your API key or generate a new one.",
                )
        return None

    def _is_ours(self, authority: str) -> bool:
        """Whether a host, with a port or without, is this machine or what the server is bound to."""
        found = _AUTHORITY.fullmatch(authority.lower())
        host = "" if found is None else found[1] or found[2]
        return is_loopback(host) or host == self._host


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]
