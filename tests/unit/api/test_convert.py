"""What each answer and each broken line means."""

from __future__ import annotations

import httpx
import pytest

from batchembed.api.convert import error_of, rate_limits, retry_after_s, translating
from batchembed.api.options import ApiKey
from batchembed.errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
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

SUBMITTED = Submitted(
    model_name="m", input_filename="a.mp4", input_url=None, idempotency_key="k", since=0.0
)


@pytest.mark.parametrize(
    ("status_code", "body", "kind"),
    [
        (400, b'{"code": "parameter_invalid", "message": "m"}', BadRequestError),
        (401, b"", AuthenticationError),
        (402, b"", UsageLimitError),
        (403, b"<html>no</html>", AuthenticationError),
        (404, b'{"code": "resource_not_exist"}', NotFoundError),
        (400, b'{"code": "resource_not_exist"}', NotFoundError),
        (413, b"", PayloadTooLargeError),
        (422, b'{"code": "usage_limit_exceeded"}', UsageLimitError),
        (429, b"", RateLimitError),
        (429, b'{"error": {"code": "RATE_LIMIT_EXCEEDED", "message": "m"}}', RateLimitError),
        (500, b"[" * 100_000, ServerError),
        (503, b"\xff", ServerError),
        (302, b"", ApiError),
    ],
)
def test_an_answer_is_classed_by_its_code_then_by_its_status(
    status_code: int, body: bytes, kind: type[ApiError]
) -> None:
    error = error_of(status_code, {}, body)

    assert type(error) is kind
    assert error.status_code == status_code


def test_code_and_message_are_read_from_both_forms() -> None:
    flat = error_of(400, {}, b'{"code": "c", "message": "m", "docs_url": "u"}')
    nested = error_of(400, {}, b'{"error": {"code": "c", "message": "m"}}')

    assert (flat.code, flat.server_message) == (nested.code, nested.server_message) == ("c", "m")


def test_what_a_service_repeats_of_our_secrets_is_cut() -> None:
    body = b'{"code": "c", "message": "tlk_1 may not read https://e.com/a?X-Amz-Signature=s"}'

    error = error_of(400, {}, body, api_key=ApiKey("tlk_1"))

    assert error.server_message == "(key) may not read https://e.com/a"
    assert "tlk_1" not in str(error)


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (ApiKey("tlk_1", variable="MY_KEY"), "the key is that of MY_KEY"),
        (ApiKey("tlk_1"), "the key is the one given"),
    ],
    ids=["variable", "argument"],
)
def test_a_refused_key_is_told_with_where_it_is_from_and_where_it_went(
    key: ApiKey, named: str
) -> None:
    url = "https://u:tlk_1@e.com/v1.3?token=tlk_1"

    refused = error_of(401, {}, b"", api_key=key, base_url=url)

    assert f"{named}, base_url is e.com/v1.3: " in str(refused)
    assert "tlk_1" not in str(refused)
    assert "base_url" not in str(error_of(400, {}, b"", api_key=key, base_url=url))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "11382"}, 11382.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        (
            {
                "retry-after": "Mon, 02 Nov 2026 10:00:30 GMT",
                "date": "Mon, 02 Nov 2026 10:00:00 GMT",
            },
            30.0,
        ),
        (
            {
                "retry-after": "Fri, 31 Dec 9999 23:59:59 -2359",
                "date": "Mon, 02 Nov 2026 10:00:00 GMT",
            },
            1e9,
        ),
        ({"retry-after": "Mon, 02 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_the_wait_a_server_asks_for_is_read_in_each_form(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_s(headers) == seconds


@pytest.mark.parametrize(
    ("broken", "reading", "submitting"),
    [
        (httpx.ConnectError("refused"), NotSentError, NotSentError),
        (httpx.ConnectTimeout("slow"), NotSentError, NotSentError),
        (httpx.PoolTimeout("busy"), NotSentError, NotSentError),
        (httpx.ReadTimeout("slow"), ApiTimeoutError, SubmissionUnknown),
        (httpx.RemoteProtocolError("gone"), ApiConnectionError, SubmissionUnknown),
        (httpx.WriteError("gone"), ApiConnectionError, SubmissionUnknown),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_create_is_unknown_once_it_may_have_left(
    broken: httpx.HTTPError, reading: type[Exception], submitting: type[Exception]
) -> None:
    with pytest.raises(reading), translating("GET x"):
        raise broken
    with pytest.raises(submitting), translating("create", SUBMITTED):
        raise broken


@pytest.mark.parametrize(
    ("status_code", "code", "is_refused"),
    [
        *((refusal, None, True) for refusal in (400, 401, 402, 403, 404, 411, 413, 415, 422)),
        *((refusal, None, True) for refusal in (425, 429)),
        *((odd, None, False) for odd in (199, 301, 303, 307, 405, 408, 409, 410, 412, 423, 499)),
        *((odd, "parameter_invalid", True) for odd in (405, 410, 412, 423, 499)),
        *((odd, "parameter_invalid", False) for odd in (199, 303, 408, 409, 500, 503)),
        (412, "of_a_proxy", False),
    ],
)
def test_only_a_refusal_of_the_apis_own_says_that_a_create_made_no_task(
    status_code: int, code: str | None, is_refused: bool
) -> None:
    body = b"" if code is None else b'{"code": "%s"}' % code.encode()
    kind = ApiError if is_refused else SubmissionUnknown

    with pytest.raises(kind) as caught, translating("create", SUBMITTED):
        raise error_of(status_code, {}, body)

    assert isinstance(caught.value if is_refused else caught.value.__cause__, ApiError)


@pytest.mark.parametrize(
    ("status_code", "headers", "body", "hint"),
    [
        (404, {}, b"<html>", "base_url is e.com/v1: see that it is the API's"),
        (405, {}, b"", "base_url is e.com/v1: see that it is the API's"),
        (302, {}, b"", "base_url is e.com/v1: see that it is the API's"),
        (
            301,
            {"Location": "https://u:tlk_1@www.e.com/v1/embed?token=tlk_1"},
            b"",
            "base_url is e.com/v1, which sends callers on to www.e.com/v1/embed: name the API itself",
        ),
        (404, {}, b'{"code": "resource_not_exist"}', None),
        (410, {}, b"", None),
    ],
)
def test_an_answer_that_is_not_the_apis_is_told_with_the_address(
    status_code: int, headers: dict[str, str], body: bytes, hint: str | None
) -> None:
    url = "https://u:p@e.com/v1"
    error = error_of(status_code, headers, body, api_key=ApiKey("tlk_1"), base_url=url)

    assert str(error).partition("; ")[2] == (hint or "")
    assert "tlk_1" not in str(error)


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        (
            {
                "x-ratelimit-limit": "100",
                "x-ratelimit-remaining": "0",
                "x-ratelimit-used": "100",
                "x-ratelimit-reset": "1762564849",
            },
            RateLimits(limit=100, remaining=0, used=100, reset_at=1762564849.0),
        ),
        (
            {"x-ratelimit-request-remaining": "7", "x-ratelimit-request-reset": "1762564849"},
            RateLimits(remaining=7, reset_at=1762564849.0),
        ),
        ({"x-ratelimit-limit": "many"}, None),
        ({}, None),
    ],
    ids=["until 2025", "since 2026", "unreadable", "none"],
)
def test_both_families_of_rate_limit_headers_are_read(
    headers: dict[str, str], limits: RateLimits | None
) -> None:
    assert rate_limits(headers) == limits
    titled = {name.title(): value for name, value in headers.items()}
    assert error_of(429, titled, b"").limits == limits
