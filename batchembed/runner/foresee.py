"""What a run would do, from what is remembered alone: nothing is opened, hashed or sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchembed.core.model import (
    FileSource,
    JobKey,
    Manifest,
    Profile,
    UrlSource,
    Video,
    address,
)
from batchembed.core.outcome import Outcome, outcome_of
from batchembed.core.problems import Reason
from batchembed.core.states import Entry
from batchembed.media.identity import identify
from batchembed.runner.holdings import Holdings
from batchembed.runner.survey import Surveyed, surveyed, surveyed_url
from batchembed.store.ledger import KnownFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """A video as the ledger knows it; `found` is None where its file must be read first."""

    video: Video
    found: Surveyed | None
    entry: Entry | None

    @property
    def outcome(self) -> Outcome | None:
        """Where it stands; None where its file must be read first."""
        if self.video.skip is not None:
            return Outcome.SKIPPED
        if self.found is None:
            return None
        if self.found.reasons:
            return Outcome.REJECTED
        return outcome_of(self.entry)


def foresee(
    manifest: Manifest,
    profile: Profile,
    entries: Mapping[JobKey, Entry],
    known: Mapping[str, KnownFile],
    holdings: Holdings | None,
) -> tuple[Foreseen, ...]:
    """Every video of the manifest, in its order; without `holdings` there is no dataset yet."""
    return tuple(
        _foresee(video, _found(video, manifest, profile, known), entries, holdings)
        for video in manifest.videos
    )


def _foresee(
    video: Video,
    found: Surveyed | None,
    entries: Mapping[JobKey, Entry],
    holdings: Holdings | None,
) -> Foreseen:
    if found is not None and not found.reasons and found.job is None:
        found = None  # probed, and not hashed yet
    job = None if found is None else found.job
    entry = None if job is None else entries.get(job.job_key)
    if holdings is not None:
        entry = holdings.as_it_is(entry, video)
    return Foreseen(video=video, found=found, entry=entry)


def _found(
    video: Video, manifest: Manifest, profile: Profile, known: Mapping[str, KnownFile]
) -> Surveyed | None:
    source = video.source
    if isinstance(source, UrlSource):
        return surveyed_url(video, source.url)
    remembered = known.get(address(source))
    if isinstance(source, FileSource):
        identity = identify(source.path, shown=source.shown)
        if isinstance(identity, Reason):
            return surveyed(video, identity, manifest, profile)
        if remembered is None or remembered.identity != identity:
            return None
    # An object is taken to be as it was: to ask its store takes as long as a run's own look.
    return None if remembered is None else surveyed(video, remembered, manifest, profile)
