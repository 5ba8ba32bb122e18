"""How object stores are reached: what is written, and else what the usual variables say."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from batchembed.core.model import StoreOptions
from batchembed.errors import UsageError

_ENDPOINT = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
#: What a store of one's own is content with; AWS tells a bucket's region.
_ANY_REGION = "us-east-1"


def completed(options: StoreOptions, environ: Mapping[str, str]) -> StoreOptions:
    """The options, with what they leave open taken from the variables that other tools read too.

    Raises:
        UsageError: a variable has an endpoint that can't be one.
    """
    endpoint = options.endpoint_url
    if endpoint is None:
        name = next((name for name in _ENDPOINT if environ.get(name)), None)
        endpoint = None if name is None else environ[name]
        fault = None if endpoint is None else endpoint_fault(endpoint)
        if fault is not None:
            raise UsageError(f"the variable {name}: {fault}")
    region = options.region or next((environ[name] for name in _REGION if environ.get(name)), None)
    return StoreOptions(
        endpoint_url=endpoint,
        region=region or (None if endpoint is None else _ANY_REGION),
        anonymous=options.anonymous,
    )


def endpoint_fault(url: str) -> str | None:
    """What is wrong with an endpoint."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"this is not a URL: {error}"
    if parts.scheme not in {"http", "https"}:
        return "an endpoint begins with https:// or http://"
    if not host or any(character.isspace() for character in url):
        return "the endpoint names no host"
    if "@" in parts.netloc:
        return "the endpoint has credentials in it; they come from the environment or a profile"
    if parts.path.strip("/") or parts.query or parts.fragment:
        return "an endpoint is a host and a port alone"
    return None
