"""Answers, and what faults make of them. JSON is edited as plain values: unknown fields survive."""

from __future__ import annotations

import email.utils
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batchembed.engine.faults.plan import (
    AnswerRule,
    GzipBomb,
    InsteadRule,
    MissingSegments,
    NoId,
    NotANumber,
    PlainTimes,
    Redirect,
    Refused,
    ServerError,
    TooManyRequests,
    TruncatedJson,
    UnknownFields,
    UsageLimitExceeded,
    VectorRule,
    WrongDimension,
    ZeroVector,
)
from batchembed.engine.refusal import Refusal

Headers = tuple[tuple[bytes, bytes], ...]

_JSON = "application/json"
#: What a limit is told to last when the rule names no time.
_WINDOW_S = 60.0
_LIMIT = 100
_BLOCK = b" " * 2**20
_MILLISECONDS = re.compile(r"\.[0-9]+(?=Z$)")
_NO_CREDIT = (
    "Not enough free credit. Please register a payment method or contact sales@twelvelabs.io."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole HTTP answer; its Content-Length is right."""

    status: int
    headers: Headers
    body: bytes

    def with_body(self, body: bytes) -> Answer:
        """The same answer with another body."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() != b"content-length")
        return replace(self, headers=(*kept, _length(body)), body=body)

    def with_header(self, name: str, value: str) -> Answer:
        """The same answer with one more header."""
        return replace(self, headers=(*self.headers, (name.encode(), value.encode())))

    def edited(self, edit: Callable[[object], object]) -> Answer:
        """The same answer with its JSON edited; as it is where it has none."""
        try:
            content: object = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return self
        return self.with_body(msgspec.json.encode(edit(content)))


def made(status: int, body: bytes = b"", kind: str | None = None) -> Answer:
    """An answer that the app has no part in."""
    content_type = () if kind is None else ((b"content-type", kind.encode()),)
    return Answer(status=status, headers=(*content_type, _length(body)), body=body)


def refusing(refusal: Refusal) -> Answer:
    """A refusal in the API's words."""
    return made(refusal.status_code, msgspec.json.encode(refusal.body()), _JSON)


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()


async def collect(app: ASGIApp, scope: Scope, receive: Receive) -> Answer:
    """The app's whole answer. The scope is the app's to change: it gets a copy."""
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(dict(scope), receive, keep)
    start = next(each for each in messages if each["type"] == "http.response.start")
    body = b"".join(
        each.get("body", b"") for each in messages if each["type"] == "http.response.body"
    )
    answer = Answer(status=start["status"], headers=tuple(start.get("headers", ())), body=b"")
    return answer.with_body(body)


async def start(answer: Answer, send: Send) -> None:
    """Send status and headers."""
    headers = list(answer.headers)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})


async def deliver(answer: Answer, send: Send) -> None:
    """Send it all."""
    await start(answer, send)
    await send({"type": "http.response.body", "body": answer.body})


def instead(rule: InsteadRule, *, now: float) -> Answer:
    """The answer that `rule` gives in the app's place; `now` is in seconds since 1970."""
    match rule:
        case TooManyRequests():
            return _too_many(rule, now)
        case Refused():
            return refusing(Refusal(rule.status, rule.code, rule.message))
        case UsageLimitExceeded():
            return refusing(Refusal(422, "usage_limit_exceeded", _NO_CREDIT))
        case Redirect():
            return made(302).with_header("location", rule.location)
        case ServerError(form="json"):
            return refusing(
                Refusal(rule.status, "internal_server_error", "Something went wrong on our side.")
            )
        case ServerError(form="html"):
            return in_html(rule.status)
        case ServerError():
            return made(rule.status)
        case _:
            raise ValueError(f"{rule.name} has no answer of its own")


def in_html(status: int) -> Answer:
    """What a proxy in front of the service would say."""
    page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n"
    return made(status, page.encode(), "text/html")


def _too_many(rule: TooManyRequests, now: float) -> Answer:
    reset = now + (_WINDOW_S if rule.retry_after_s is None else rule.retry_after_s)
    moment = datetime.fromtimestamp(reset, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = f"You have exceeded the rate limit ({_LIMIT}req/1day). Please try again later after {moment}."
    answer = refusing(Refusal(429, "too_many_requests", message)) if rule.body else made(429)
    family = {
        "old": (
            ("x-ratelimit-limit", _LIMIT),
            ("x-ratelimit-remaining", 0),
            ("x-ratelimit-used", _LIMIT),
            ("x-ratelimit-reset", round(reset)),
        ),
        "new": (
            ("x-ratelimit-request-remaining", 0),
            ("x-ratelimit-request-reset", round(reset)),
        ),
    }
    for name, value in family[rule.header_family]:
        answer = answer.with_header(name, str(value))
    if rule.retry_after_s is None:
        return answer
    match rule.retry_after_form:
        case "seconds":
            return answer.with_header("retry-after", f"{rule.retry_after_s:.12g}")
        case "date":
            return answer.with_header("retry-after", email.utils.formatdate(reset, usegmt=True))
        case "milliseconds":
            return answer.with_header("retry-after-ms", f"{rule.retry_after_s * 1000:.0f}")


def spoiled(rule: AnswerRule, answer: Answer) -> Answer:
    """The answer, with what `rule` does to its body."""
    match rule:
        case TruncatedJson():
            return answer.with_body(answer.body[: len(answer.body) // 2])
        case GzipBomb():
            packed = answer.with_body(_packed(answer.body, rule.size_bytes))
            return packed.with_header("content-encoding", "gzip")
        case UnknownFields():
            return answer.edited(_with_unknown_fields)
        case PlainTimes():
            return answer.edited(_with_plain_times)
        case NoId():
            return answer.edited(_without_id)
        case VectorRule():
            return answer.edited(lambda content: _with_spoiled_vectors(rule, content))
        case _:
            return answer


def _packed(body: bytes, size_bytes: int) -> bytes:
    """The body with spaces behind it, `size_bytes` in all or what it has, as one gzip member."""
    gzip = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    packed = [gzip.compress(body)]
    left = size_bytes - len(body)
    while left > 0:
        packed.append(gzip.compress(_BLOCK[:left]))
        left -= len(_BLOCK)
    return b"".join((*packed, gzip.flush()))


def _with_unknown_fields(content: object) -> object:
    match content:
        case dict():
            known = {key: _with_unknown_fields(value) for key, value in content.items()}
            return {**known, "x_unknown": {"of_a_later_version": [1, None, "text"]}}
        case list():
            return [_with_unknown_fields(item) for item in content]
        case _:
            return content


def _with_plain_times(content: object) -> object:
    """A task, or a listing, with its times in whole seconds."""
    if isinstance(content, dict):
        made = content.get("created_at")
        if isinstance(made, str):
            content["created_at"] = _MILLISECONDS.sub("", made)
        tasks = content.get("data")
        for task in tasks if isinstance(tasks, list) else ():
            _with_plain_times(task)
    return content


def _without_id(content: object) -> object:
    if isinstance(content, dict):
        content.pop("_id", None)
    return content


def _with_spoiled_vectors(rule: VectorRule, content: object) -> object:
    segments = _segments(content)
    if isinstance(rule, MissingSegments):
        del segments[max(0, len(segments) - rule.count) :]
    for at, segment in enumerate(segments):
        vector = segment.get("float") if isinstance(segment, dict) else None
        if isinstance(segment, dict) and isinstance(vector, list) and vector:
            segment["float"] = _vector(rule, vector, at)
    return content


def _segments(content: object) -> list[object]:
    embedding = content.get("video_embedding") if isinstance(content, dict) else None
    segments = embedding.get("segments") if isinstance(embedding, dict) else None
    return segments if isinstance(segments, list) else []


def _vector(rule: VectorRule, vector: list[object], at: int) -> list[object]:
    match rule:
        case NotANumber() if rule.vectors == "all" or at == 0:
            return [msgspec.Raw(rule.value.encode()), *vector[1:]]
        case ZeroVector() if rule.vectors == "all" or at == 0:
            return [0.0] * len(vector)
        case WrongDimension() if rule.vectors == "all" or at == 0:
            times = -(-rule.dimension // len(vector))
            return (vector * times)[: rule.dimension]
        case _:
            return vector
