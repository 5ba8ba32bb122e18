"""A document's settings: each as it is written, or by its default in the schema."""

from __future__ import annotations

from collections.abc import Iterator

from batchembed.core.model import Budget, Concurrency, EngineKind, Polling, Quota, StoreOptions
from batchembed.core.problems import Problem
from batchembed.manifest.document import Document, Value
from batchembed.manifest.schema import default_of, property_of
from batchembed.stores.options import endpoint_fault


class Settings:
    """The settings of a document whose shape is right, for an engine that some defaults depend on."""

    def __init__(self, document: Document, *, engine: EngineKind, cores: int) -> None:
        self._document = document
        self._engine = engine
        self._cores = cores

    def problems(self) -> Iterator[Problem]:
        """What is wrong between settings."""
        polling = self.polling()
        if polling.longest_wait_s < polling.first_wait_s:
            written = (
                "longest_wait_s"
                if self._document.at(("polling", "longest_wait_s"))
                else "first_wait_s"
            )
            yield self._document.problem(
                ("polling", written),
                f"longest_wait_s, {polling.longest_wait_s:g}, is less than first_wait_s, {polling.first_wait_s:g}",
                code="range",
                hint="set both",
            )
        budget = self.budget()
        lacks_price = budget.amount is not None and budget.price_per_minute is None
        if lacks_price and not self._was_taken_out("budget", "price_per_minute"):
            yield self._document.problem(
                ("budget", "amount"),
                "amount is set without price_per_minute",
                code="missing_key",
                hint="add price_per_minute: what a minute of video costs you, such as 0.042",
            )

        endpoint = self.stores().endpoint_url
        fault = None if endpoint is None else endpoint_fault(endpoint)
        if fault is not None:
            yield self._document.problem(
                ("stores", "s3", "endpoint_url"),
                fault,
                code="endpoint_url",
                hint="such as https://minio.example.com:9000",
            )

    def value(self, *way: str) -> Value:
        """The value at `way`, or its default. A key that is present counts, whatever it holds."""
        *above, key = way
        holder = self._document.at(tuple(above))
        if isinstance(holder, dict) and key in holder:
            return holder[key]
        return default_of(*way, engine=self._engine)

    def _was_taken_out(self, *way: str) -> bool:
        """Whether the value was written, and has a problem of its own."""
        *above, key = way
        holder = self._document.at(tuple(above))
        return way in self._document.keys and not (isinstance(holder, dict) and key in holder)

    def text(self, *way: str) -> str:
        """The text at `way`."""
        return str(self.value(*way))

    def number(self, *way: str) -> float:
        """The number at `way`."""
        return self.number_or_none(*way) or 0.0

    def number_or_none(self, *way: str) -> float | None:
        """The number at `way`, or None where nothing is said."""
        value = self.value(*way)
        return float(value) if isinstance(value, int | float) else None

    def concurrency(self) -> Concurrency:
        """How much happens at once; the processes are one for each core, if nothing is said."""
        counts: dict[str, int] = {}
        for key in property_of("concurrency")["properties"]:
            value = self.value("concurrency", key)
            counts[key] = int(value) if isinstance(value, int | float) else self._cores
        return Concurrency(**counts)

    def polling(self) -> Polling:
        """When to ask for a task's status."""
        return Polling(
            first_wait_s=self.number("polling", "first_wait_s"),
            longest_wait_s=self.number("polling", "longest_wait_s"),
            deadline_s=self.number("polling", "deadline_s"),
        )

    def quota(self) -> Quota:
        """What the account allows."""
        requests = self.number_or_none("quota", "requests_per_minute")
        return Quota(
            requests_per_minute=None if requests is None else int(requests),
            video_minutes_per_hour=self.number_or_none("quota", "video_minutes_per_hour"),
            video_minutes_per_day=self.number_or_none("quota", "video_minutes_per_day"),
            max_inline_wait_s=self.number("quota", "max_inline_wait_s"),
        )

    def stores(self) -> StoreOptions:
        """How object stores are reached, as far as it is written."""
        endpoint = self.value("stores", "s3", "endpoint_url")
        region = self.value("stores", "s3", "region")
        return StoreOptions(
            endpoint_url=endpoint if isinstance(endpoint, str) else None,
            region=region if isinstance(region, str) else None,
            anonymous=self.value("stores", "s3", "anonymous") is True,
        )

    def budget(self) -> Budget:
        """What may be spent."""
        return Budget(
            video_minutes=self.number_or_none("budget", "video_minutes"),
            amount=self.number_or_none("budget", "amount"),
            price_per_minute=self.number_or_none("budget", "price_per_minute"),
            currency=self.text("budget", "currency"),
            per=self.text("budget", "per"),
        )
