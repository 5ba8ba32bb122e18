"""What is wrong with the URLs and URIs of a manifest, and what to do."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from batchembed.stores.location import LocationError, is_uri, location_of


class UriFault(NamedTuple):
    """Why a URI can't be used."""

    message: str
    hint: str


def location_fault(path: str) -> UriFault | None:
    """What is wrong with a path of a file or an object, where it is written like a URI."""
    if not is_uri(path):
        return None
    scheme = path.partition("://")[0].lower()
    if scheme in {"http", "https"}:
        return UriFault("this is a URL, which the service fetches", "write it under video_url")
    if scheme == "file":
        return UriFault("this is the URI of a file", "write its path alone")
    try:
        location = location_of(path)
    except LocationError as error:
        return UriFault(str(error), error.hint)
    if not location.key or path.endswith("/"):
        hint = f"such as {location.child('a.mp4').uri}"
        return UriFault("the URI names a bucket or a folder, and no object in it", hint)
    return None


def url_fault(url: str) -> str | None:
    """What is wrong with a video's URL."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        return f"this is not a URL: {error}"
    if parts.scheme not in {"http", "https"}:
        return "a video_url begins with https:// or http://"
    if not host:
        return "the URL names no host"
    if any(character.isspace() for character in url):
        return "a URL has no spaces"
    return None
