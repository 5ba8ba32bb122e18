"""HTTP -> our errors: the one place that knows which answer and which broken line means what."""

from __future__ import annotations

import contextlib
import email.utils
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import httpx
import msgspec

from batchembed.api.observe import Answered, Kind
from batchembed.api.options import ApiKey, public_text
from batchembed.core.redact import redacted
from batchembed.errors import (
    AnswerError,
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    ArgumentError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    NotSentError,
    PayloadTooLargeError,
    RateLimitError,
    RateLimits,
    ServerError,
    SubmissionUnknown,
    Submitted,
    UsageLimitError,
)

_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: UsageLimitError,
    403: AuthenticationError,
    404: NotFoundError,
    413: PayloadTooLargeError,
    422: BadRequestError,
    429: RateLimitError,
}

#: As long counts whatever wait is longer: calendars end.
_LONGEST_S = 1e9
_LONGEST_LINE = 500
_LONGEST_ID = 128
#: Where an answer names its request, in the order in which they are looked at.
_ID_HEADERS = ("x-trace-id", "x-request-id")

#: Codes that mean the same under any status of a refusal.
_BY_CODE: dict[str, type[ApiError]] = {
    "usage_limit_exceeded": UsageLimitError,
    "too_many_requests": RateLimitError,
    "RATE_LIMIT_EXCEEDED": RateLimitError,
    "api_key_invalid": AuthenticationError,
    "unauthorized": AuthenticationError,
    "api_not_allowed": AuthenticationError,
    "region_not_allowed": AuthenticationError,
    "api_allowed_for_paid_plan": AuthenticationError,
    "resource_not_exist": NotFoundError,
}

#: Statuses of a create that certainly made no task. 425: it was not even looked at (RFC 8470).
_REFUSALS = frozenset({400, 401, 402, 403, 404, 411, 413, 415, 422, 425, 429})
#: Those that leave it open whatever is said beside: a request that may be half done.
_HALF_DONE = frozenset({408, 409})
#: The API's own codes of a refusal: they make any other 4xx one.
_REFUSING_CODES = _BY_CODE.keys() | {
    "audio_file_broken",
    "parameter_invalid",
    "parameter_not_provided",
    "parameter_unknown",
    "unsupported_file_type",
    "video_duration_too_long",
    "video_duration_too_short",
    "video_file_broken",
    "video_filesize_too_large",
    "video_resolution_invalid_aspect_ratio",
    "video_resolution_too_high",
    "video_resolution_too_low",
}


def error_of(
    status_code: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    api_key: ApiKey | None = None,
    base_url: str | None = None,
) -> ApiError:
    """The error that an answer means: by its code, then by its status.

    The key is nowhere in it, and its message is redacted of what signs a URL. One that is about the
    key says where it is from and which service `base_url` is.
    """
    if api_key is not None:
        body = body.replace(api_key.reveal().encode(), b"(key)")
    lowered = {
        name.lower(): value if api_key is None else value.replace(api_key.reveal(), "(key)")
        for name, value in headers.items()
    }
    content = _content(body)
    fault = content.get("error", content) if isinstance(content, dict) else {}
    fault = fault if isinstance(fault, dict) else {}
    code = _text(fault.get("code"))
    said = _text(fault.get("message")) or (content if isinstance(content, str) else None)
    if status_code >= 500:  # whatever a proxy's body says, nobody knows what was done
        kind: type[ApiError] = ServerError
    else:
        kind = _BY_CODE.get(code or "") or _BY_STATUS.get(status_code, ApiError)
    return kind(
        status_code=status_code,
        headers=lowered,
        body=content,
        code=code,
        message=None if said is None else _line(redacted(said)),
        retry_after_s=retry_after_s(lowered),
        limits=rate_limits(lowered),
        hint=_whose(api_key, base_url)
        if kind is AuthenticationError
        else _where(status_code, code, lowered.get("location"), base_url),
    )


def _whose(api_key: ApiKey | None, base_url: str | None) -> str | None:
    """What to look at where a key is refused."""
    if api_key is None or base_url is None:
        return None
    named = "the one given" if api_key.variable is None else f"that of {api_key.variable}"
    return f"the key is {named}, base_url is {public_text(base_url)}: see that they belong together"


def _where(
    status_code: int, code: str | None, location: str | None, base_url: str | None
) -> str | None:
    """What to look at where the answer is not the API's, but that of another place."""
    redirects = 300 <= status_code < 400
    if base_url is None or code is not None or not (redirects or status_code in {404, 405}):
        return None
    named = f"base_url is {public_text(base_url)}"
    if redirects and location:
        return f"{named}, which sends callers on to {_line(public_text(location))}: name the API itself"
    return f"{named}: see that it is the API's"


def head_of(
    kind: Kind, status_code: int, headers: Mapping[str, str], *, api_key: ApiKey | None = None
) -> Answered:
    """What an answer's head says; the key is nowhere in it."""
    named = next((headers[name] for name in _ID_HEADERS if headers.get(name)), None)
    secrets = () if api_key is None else (api_key.reveal(),)
    date = moment_of(headers.get("date"))
    return Answered(
        kind=kind,
        status_code=status_code,
        limits=rate_limits(headers),
        request_id=None if named is None else _line(redacted(named, *secrets))[:_LONGEST_ID],
        server_date=None if date is None else date.timestamp(),
    )


def _content(body: bytes) -> object:
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return body.decode("utf-8", errors="replace")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _line(words: str) -> str:
    """One line that a terminal can show."""
    return "".join(letter if letter.isprintable() else " " for letter in words[:_LONGEST_LINE])


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait: Retry-After as seconds or as a date, or in milliseconds.

    A date is compared with the answer's own Date, not with our clock. None where it asks nothing
    that can be read.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    until, now = moment_of(value), moment_of(headers.get("date"))
    if until is None or now is None:
        return None
    return min(max(0.0, (until - now).total_seconds()), _LONGEST_S)


def _number(value: str | None, most: float = _LONGEST_S) -> float | None:
    try:
        number = float(value) if value is not None else -1.0
    except ValueError:
        return None
    return min(number, most) if number >= 0 else None


def moment_of(value: str | None) -> datetime | None:
    """The moment that a header names, such as Date; None where it names none."""
    try:
        moment = email.utils.parsedate_to_datetime(value) if value else None
    except (ValueError, OverflowError):
        return None
    if moment is not None and moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return moment


def rate_limits(headers: Mapping[str, str]) -> RateLimits | None:
    """What the X-RateLimit headers say: those of the documents until 2025, and those since."""

    def told(name: str) -> float | None:
        now, before = (f"x-ratelimit-request-{name}", f"x-ratelimit-{name}")
        return _number(headers.get(now, headers.get(before)), most=1e12)

    limit, remaining, used, reset = map(told, ("limit", "remaining", "used", "reset"))
    if limit is remaining is used is reset is None:
        return None
    return RateLimits(
        limit=_whole(limit), remaining=_whole(remaining), used=_whole(used), reset_at=reset
    )


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


@contextlib.contextmanager
def translating(what: str, submitted: Submitted | None = None) -> Iterator[None]:
    """Turn what goes wrong inside into our errors; none of httpx's leaves the package.

    Args:
        what: is done.
        submitted: of a create. What breaks after it may have left, and every answer that leaves
            open whether a task was made, is `SubmissionUnknown`.
    """
    try:
        with _ours(what):
            yield
    except ApiError as error:
        if submitted is None or not _leaves_open(error):
            raise
        raise _unknown(error, submitted) from error
    except NotSentError:
        raise
    except (ApiConnectionError, ApiTimeoutError, AnswerError) as error:
        if submitted is None:
            raise
        raise _unknown(error, submitted) from error


def _leaves_open(error: ApiError) -> bool:
    """Whether a create answered so may have made a task: all that is no refusal of the API's own."""
    status_code = error.status_code or 0
    if status_code in _REFUSALS:
        return False
    is_theirs = 400 <= status_code < 500 and status_code not in _HALF_DONE
    return not (is_theirs and error.code in _REFUSING_CODES)


def _unknown(error: Exception, submitted: Submitted) -> SubmissionUnknown:
    return SubmissionUnknown(f"{error}; a task may have been created", submitted=submitted)


@contextlib.contextmanager
def _ours(what: str) -> Iterator[None]:
    try:
        yield
    except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        # Its words are not told: they may repeat a header, such as the key's.
        raise ArgumentError(
            f"{what}: the request can't be sent: check base_url and headers"
        ) from error
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
        raise NotSentError(f"{what}: no connection: {_words(error)}") from error
    except (httpx.TransportError, httpx.DecodingError, httpx.StreamError) as error:
        kind = ApiTimeoutError if isinstance(error, httpx.TimeoutException) else ApiConnectionError
        raise kind(f"{what}: {_words(error)}") from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
