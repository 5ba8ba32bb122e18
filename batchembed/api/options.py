"""What a caller may set for a client, or for one request."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any, TypedDict, cast
from urllib.parse import urlsplit

from batchembed.errors import ArgumentError

DEFAULT_BASE_URL = "https://api.twelvelabs.io/v1.3"
#: Where users of the official SDK keep their key, in the order in which they are looked at.
API_KEY_VARIABLES = ("TWELVELABS_API_KEY", "TWELVE_LABS_API_KEY")

#: How long one read may take: a create is answered when its video has been looked at.
CREATE_TIMEOUT_S = 600.0
REQUEST_TIMEOUT_S = 60.0


class ApiKey:
    """A key that does not print."""

    __slots__ = ("_value", "variable")

    def __init__(self, value: str, *, variable: str | None = None) -> None:
        """Take a key; space around it is not part of it, as a file's last newline is.

        Args:
            value: the key itself.
            variable: of the environment, if it was read from there: messages name it.

        Raises:
            ArgumentError: it is empty, or has what no header can carry.
        """
        self.variable = variable
        self._value = value.strip()
        if not self._value or not self._value.isascii() or not self._value.isprintable():
            raise ArgumentError("the API key is empty, or has characters that no key has")

    def reveal(self) -> str:
        """The key itself, for the request's header alone."""
        return self._value

    def __repr__(self) -> str:
        return "ApiKey(...)"


class RequestOptions(TypedDict, total=False):
    """Request-specific configuration, with the official SDK's keys; None is as good as absent."""

    timeout_in_seconds: float | None  #: of each attempt, from its turn to its answer's last byte
    max_retries: int | None  #: how often it is sent again at most, after the first time
    additional_headers: Mapping[str, Any] | None
    additional_query_parameters: Mapping[str, Any] | None
    additional_body_parameters: Mapping[str, Any] | None  #: more parts of a create's form
    chunk_size: int | None  #: bytes of an answer that are taken at a time


def check_options(options: RequestOptions | None) -> RequestOptions:
    """The options that are given.

    Raises:
        ArgumentError: a number that can't be one.
    """
    given = {name: value for name, value in (options or {}).items() if value is not None}
    for name, least in (("timeout_in_seconds", 0.001), ("chunk_size", 1)):
        number = given.get(name, 1)
        if not isinstance(number, int | float) or not number >= least:
            raise ArgumentError(f"request_options: {name} must be at least {least:g}")
    return cast("RequestOptions", given)


def pairs(name: str, value: object) -> list[tuple[str, str]]:
    """A value as the wire has it: lists are repeated, True is `true`, None is left out."""
    if value is None or value is ...:
        return []
    if isinstance(value, list | tuple):
        return [pair for item in value for pair in pairs(name, item)]
    return [(name, str(value).lower() if isinstance(value, bool) else str(value))]


def check_base_url(base_url: str) -> str:
    """The base URL without a slash at its end.

    Raises:
        ArgumentError: it is no URL of a service.
    """
    try:
        parts = urlsplit(base_url)
        reachable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        usable = reachable and not parts.query and not parts.fragment
    except ValueError:  # a broken port or address
        usable = False
    if not usable:
        raise ArgumentError(
            f"base_url {public_text(base_url)!r} is no URL of a service: write it as {DEFAULT_BASE_URL}"
        )
    return base_url.rstrip("/")


def public_text(url: str) -> str:
    """A URL that may be none, without what may be secret in it."""
    return url.partition("?")[0].rpartition("@")[2][:200]


def request_headers(api_key: ApiKey | None, more: Mapping[str, str] | None) -> dict[str, str]:
    """What every request carries."""
    headers = {"user-agent": f"batchembed/{importlib.metadata.version('batchembed')}"}
    if api_key is not None:
        headers["x-api-key"] = api_key.reveal()
    return headers | dict(more or {})


def as_key(api_key: ApiKey | str | None) -> ApiKey | None:
    """A key, however it is given."""
    return ApiKey(api_key) if isinstance(api_key, str) else api_key
