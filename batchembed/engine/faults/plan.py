"""What is to go wrong on purpose, and when: pure values.

A plan has the form of its file (schemas/faults.schema.json, which says what each key means). Its
rules are of four layers: what reaches the app, the answer, a task's life, a task's place in
listings. Of each layer the first rule that hits wins, so one request can meet one of each.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

Endpoint = Literal["create", "status", "retrieve", "list"]
#: Which vectors of an answer are spoiled.
Which = Literal["first", "all"]

ENDPOINTS: frozenset[Endpoint] = frozenset({"create", "status", "retrieve", "list"})


class Rule(msgspec.Struct, frozen=True, kw_only=True, tag_field="fault"):
    """When a fault happens. At most one of `probability`, `first` and `every`; without: always."""

    applies_to: ClassVar[frozenset[Endpoint]] = ENDPOINTS

    on: tuple[Endpoint, ...] = ()  #: empty: all that it applies to
    probability: float | None = None
    first: int | None = None
    every: int | None = None
    after: int = 0
    times: int | None = None

    @property
    def name(self) -> str:
        """The fault's name, as the file writes it."""
        return str(self.__struct_config__.tag)

    def concerns(self, endpoint: Endpoint) -> bool:
        """Whether a request to `endpoint` counts for this rule."""
        return endpoint in self.applies_to and (not self.on or endpoint in self.on)


class AnswerRule(Rule, frozen=True):
    """Replaces, spoils, delays or loses an answer."""


class InsteadRule(AnswerRule, frozen=True):
    """Answers in the app's place, which never sees the request."""


class TaskRule(Rule, frozen=True):
    """Decided once a task, in the order of their creation; then holds for every answer about it."""

    applies_to = frozenset[Endpoint]({"create"})


class IgnoreIdempotencyKey(Rule, frozen=True, tag="ignore_idempotency_key"):
    """The header never reaches the app."""

    applies_to = frozenset[Endpoint]({"create"})


class TooManyRequests(InsteadRule, frozen=True, kw_only=True, tag="too_many_requests"):
    """429, with or without words."""

    retry_after_s: float | None = None
    retry_after_form: Literal["seconds", "date", "milliseconds"] = "seconds"
    body: bool = True
    header_family: Literal["old", "new"] = "old"


class ServerError(InsteadRule, frozen=True, kw_only=True, tag="server_error"):
    """5xx, as the service or a proxy would say it."""

    status: int = 503
    form: Literal["json", "html", "empty"] = "json"


class Refused(InsteadRule, frozen=True, kw_only=True, tag="refused"):
    """4xx, with a code and a message."""

    status: int = 400
    code: str = "parameter_invalid"
    message: str = "The request contains some invalid parameters."


class UsageLimitExceeded(InsteadRule, frozen=True, tag="usage_limit_exceeded"):
    """422, no credit is left."""

    applies_to = frozenset[Endpoint]({"create"})


class Redirect(InsteadRule, frozen=True, kw_only=True, tag="redirect"):
    """302, to another place."""

    location: str


class ConnectionCut(AnswerRule, frozen=True, kw_only=True, tag="connection_cut"):
    """Closed without a byte before the app sees the request, or during its answer."""

    when: Literal["before", "during"] = "before"


class AnswerLost(AnswerRule, frozen=True, kw_only=True, tag="answer_lost"):
    """The app does what it is asked, and its answer is lost."""

    how: Literal["cut", "error", "hang"] = "cut"
    status: int = 502  #: of `error`
    delay_s: float = 30.0  #: of `hang`


class Slow(AnswerRule, frozen=True, kw_only=True, tag="slow"):
    """The answer comes `delay_s` later, or takes that long, byte by byte."""

    delay_s: float = 5.0
    drip: bool = False


class SlowUpload(AnswerRule, frozen=True, kw_only=True, tag="slow_upload"):
    """The body is taken in only after `delay_s`."""

    applies_to = frozenset[Endpoint]({"create"})

    delay_s: float = 5.0


class TruncatedJson(AnswerRule, frozen=True, tag="truncated_json"):
    """A complete answer whose JSON is cut in half."""


class UnknownFields(AnswerRule, frozen=True, tag="unknown_fields"):
    """Fields that no document names, in every object."""


class PlainTimes(AnswerRule, frozen=True, tag="plain_times"):
    """`created_at` without milliseconds."""

    applies_to = frozenset[Endpoint]({"retrieve", "list"})


class GzipBomb(AnswerRule, frozen=True, kw_only=True, tag="gzip_bomb"):
    """The answer's JSON, padded with spaces to `size_bytes` and compressed to a thousandth."""

    size_bytes: int = 2**30


class NoId(AnswerRule, frozen=True, tag="no_id"):
    """A create without `_id`."""

    applies_to = frozenset[Endpoint]({"create"})


class VectorRule(AnswerRule, frozen=True):
    """Spoils what a retrieve brings."""

    applies_to = frozenset[Endpoint]({"retrieve"})


class NotANumber(VectorRule, frozen=True, kw_only=True, tag="not_a_number"):
    """The first component is what no JSON or no float can hold."""

    value: Literal["NaN", "Infinity", "-Infinity", "1e400"] = "NaN"
    vectors: Which = "first"


class WrongDimension(VectorRule, frozen=True, kw_only=True, tag="wrong_dimension"):
    """Vectors cut to `dimension`, or repeated up to it."""

    dimension: int = 512
    vectors: Which = "all"


class ZeroVector(VectorRule, frozen=True, kw_only=True, tag="zero_vector"):
    """Vectors of zeros."""

    vectors: Which = "first"


class MissingSegments(VectorRule, frozen=True, kw_only=True, tag="missing_segments"):
    """The last `count` segments are not there."""

    count: int = 1


class Stuck(TaskRule, frozen=True, tag="stuck"):
    """Processing for ever."""


class SlowReady(TaskRule, frozen=True, kw_only=True, tag="slow_ready"):
    """Processing until `delay_s` after the creation, whatever is true."""

    delay_s: float = 60.0


class UnknownStatus(TaskRule, frozen=True, kw_only=True, tag="unknown_status"):
    """A status that no document names; for ever, or until `delay_s` after the creation."""

    status: str = "queued"
    delay_s: float | None = None


class Failed(TaskRule, frozen=True, tag="failed"):
    """Failed, without a reason."""


class Lost(TaskRule, frozen=True, tag="lost"):
    """Unknown to every question after its creation, and in no listing."""


class HiddenInListing(Rule, frozen=True, kw_only=True, tag="hidden_in_listing"):
    """Missing from listings until both limits have passed; without any, for ever.

    Decided once a task too, beside its `TaskRule`.
    """

    applies_to = frozenset[Endpoint]({"create"})

    for_s: float | None = None
    listings: int | None = None  #: a listing begins with a request for its first page
    metadata: bool = False  #: the task is there, its metadata is not


AnyRule = (
    IgnoreIdempotencyKey
    | TooManyRequests
    | ServerError
    | Refused
    | UsageLimitExceeded
    | Redirect
    | ConnectionCut
    | AnswerLost
    | Slow
    | SlowUpload
    | TruncatedJson
    | UnknownFields
    | PlainTimes
    | GzipBomb
    | NoId
    | NotANumber
    | WrongDimension
    | ZeroVector
    | MissingSegments
    | Stuck
    | SlowReady
    | UnknownStatus
    | Failed
    | Lost
    | HiddenInListing
)


class FaultPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All rules, in the order of the file."""

    seed: int = 0
    rules: tuple[AnyRule, ...]


def shown_status(rule: TaskRule | None, age_s: float) -> str | None:
    """The status that a task of that age is shown with; None: the true one."""
    match rule:
        case Stuck():
            return "processing"
        case SlowReady():
            return "processing" if age_s < rule.delay_s else None
        case UnknownStatus():
            return rule.status if rule.delay_s is None or age_s < rule.delay_s else None
        case Failed():
            return "failed"
        case _:
            return None


def is_hidden(rule: HiddenInListing, *, age_s: float, listings: int) -> bool:
    """Whether a task of that age is hidden from the `listings`-th listing begun in its life."""
    return (
        (rule.for_s is None and rule.listings is None)
        or (rule.for_s is not None and age_s < rule.for_s)
        or (rule.listings is not None and listings <= rule.listings)
    )
