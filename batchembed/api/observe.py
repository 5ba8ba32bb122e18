"""What a client tells of its requests: how many it sends, and what every answer says beside its body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from batchembed.errors import RateLimits

Kind: TypeAlias = Literal["create", "status", "retrieve", "list"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer's head, whatever its status."""

    kind: Kind
    status_code: int
    limits: RateLimits | None  #: what its X-RateLimit headers say
    request_id: str | None  #: the service's own name for the request, without secrets
    server_date: float | None  #: its Date, in seconds since 1970


class Observer(Protocol):
    """Is told of each attempt of each request, in the task that asks. It must neither block nor raise."""

    def sent(self, kind: Kind) -> None:
        """An attempt is about to be made."""
        ...

    def answered(self, answered: Answered) -> None:
        """It was answered, by whatever status, and the answer was read to its end."""
        ...


class Unobserved:
    """Observes, and does nothing."""

    def sent(self, kind: Kind) -> None:
        """Nothing is done."""

    def answered(self, answered: Answered) -> None:
        """Nothing is done."""
