"""Jobs of whose create a ledger that was lost may have known: in doubt until the listing says more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from batchembed.core.model import Job, JobKey, UrlSource, Video, VideoId
from batchembed.core.reconcile import agree_in_listings
from batchembed.core.states import Entry, Intent, State
from batchembed.runner.book import Book
from batchembed.runner.submit import AGAIN, intent_of
from batchembed.runner.survey import surveyed_url
from batchembed.store.ledger import Ledger


def is_forgotten(entry: Entry | None) -> bool:
    """Whether a ledger that lacks creates does not know if this job had one, or had another."""
    return entry is None or (
        entry.intent is None and entry.state in {State.PLANNED, State.FAILED, State.LOST}
    )


@dataclass(kw_only=True)
class Presumer:
    """Puts jobs in doubt that a service may have tasks of, unknown to the ledger."""

    book: Book
    videos: Iterable[Video]  #: of the manifest
    since: float | None  #: earlier creates may be unknown; seconds since 1970; None: none is

    def is_owed(self, entry: Entry | None) -> bool:
        """Whether a job must be looked for before it is sent."""
        return self.since is not None and is_forgotten(entry)

    async def doubt(self, video_id: VideoId, job: Job, attempt: int) -> Entry:
        """Bring the job to `unknown`, as of this attempt or a later one."""
        entry = await self.book.ensure(job.job_key)
        planned = entry.planned_again(attempt)
        unknown = replace(
            planned, state=State.UNKNOWN, intent=intent_of(job), unknown_since=self.since
        )
        moves = [(entry.state, planned)] if entry.state in AGAIN else []
        moves.append((State.PLANNED, unknown))

        def also(ledger: Ledger) -> None:
            ledger.name(video_id, job.job_key, source=job.source.shown, now=self.since or 0.0)

        return (await self.book.move_all(moves, also=also))[-1]

    def has_twin(self, entry: Entry) -> bool:
        """Whether a listed task of a presumed create may as well be another job's of the manifest.

        Tasks of one URL, cut alike, differ in their windows, which no listing shows.
        """
        if not entry.is_presumed or entry.intent is None or entry.intent.url_digest is None:
            return False
        for key, intent in self._by_url.get(entry.intent.url_digest, ()):
            other = self.book.get(key)
            is_open = other is None or other.task_id is None
            if key != entry.job_key and is_open and agree_in_listings(entry.intent, intent):
                return True
        return False

    @cached_property
    def _by_url(self) -> Mapping[str | None, Sequence[tuple[JobKey, Intent]]]:
        """The jobs of the manifest's URLs, and what a create of each would ask."""
        found = defaultdict(list)
        for video in self.videos:
            if isinstance(video.source, UrlSource):
                job = surveyed_url(video, video.source.url).job
                if job is not None:
                    intent = intent_of(job)
                    found[intent.url_digest].append((job.job_key, intent))
        return found
