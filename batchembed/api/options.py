"""What a caller may set for a client, or for one request."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import TypedDict

DEFAULT_BASE_URL = "https://api.twelvelabs.io/v1.3"
#: Where users of the official SDK keep their key, in the order in which they are looked at.
API_KEY_VARIABLES = ("TWELVELABS_API_KEY", "TWELVE_LABS_API_KEY")

#: How long one read may take: an upload is answered when it has been looked at.
UPLOAD_TIMEOUT_S = 600.0
REQUEST_TIMEOUT_S = 60.0


class ApiKey:
    """A key that does not print."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the request's header alone."""
        return self._value

    def __repr__(self) -> str:
        return "ApiKey(...)"


class RequestOptions(TypedDict, total=False):
    """Request-specific configuration, with the official SDK's keys."""

    timeout_in_seconds: float  #: of the whole request, its answer included
    max_retries: int  #: how often it is sent again at most, after the first time
    additional_headers: Mapping[str, str]
    additional_query_parameters: Mapping[str, str]
    additional_body_parameters: Mapping[str, object]  #: more parts of a create's form
    chunk_size: int  #: bytes of an answer that are read at a time


def request_headers(api_key: ApiKey | str | None, more: Mapping[str, str] | None) -> dict[str, str]:
    """What every request carries."""
    headers = {"user-agent": f"batchembed/{importlib.metadata.version('batchembed')}"}
    if api_key is not None:
        headers["x-api-key"] = api_key.reveal() if isinstance(api_key, ApiKey) else api_key
    return headers | dict(more or {})
