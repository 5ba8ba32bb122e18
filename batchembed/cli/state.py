"""What a verb that only looks may know of a dataset and its ledger: it makes neither."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import click

from batchembed.core.model import EngineKind, JobKey, Manifest, Profile, VideoId
from batchembed.core.quota import Charge
from batchembed.core.states import IN_DOUBT, IN_FLIGHT, Entry, State
from batchembed.dataset.places import storage_at
from batchembed.dataset.publish import Dataset
from batchembed.errors import OutputRefusedError, StorageError, UsageError
from batchembed.manifest.lock_file import is_piped
from batchembed.report.moments import rfc3339
from batchembed.report.text import many
from batchembed.runner.foresee import Foreseen, foresee
from batchembed.runner.holdings import Holdings
from batchembed.runner.planning import Planner
from batchembed.runner.recall import known_jobs, lacking, replaced
from batchembed.store.home import Home, homes_of, state_home
from batchembed.store.ledger import Beginning, Block, KnownFile, LedgerMove
from batchembed.store.sqlite_ledger import SqliteLedger

T = TypeVar("T")

_PAID = IN_DOUBT | IN_FLIGHT | {State.STAGED, State.COMMITTED}
_SOUGHT = (
    "a video that it does not know is looked for in the service's listing before it is submitted"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What earlier runs left; empty where there was none."""

    dataset: Dataset | None = None
    entries: dict[JobKey, Entry] = field(default_factory=dict)
    known: dict[str, KnownFile] = field(default_factory=dict)
    charges: tuple[Charge, ...] = ()  #: the oldest first
    beginning: Beginning | None = None
    block: Block | None = None  #: until when the service takes no creates, as it said
    names: dict[JobKey, VideoId] = field(default_factory=dict)  #: a video of each job
    ledger: Path | None = None
    staging: Path | None = None
    lacking: bool = False  #: the ledger may not know every create that the service still lists
    warning: str | None = None  #: what it does not know

    def foresee(self, manifest: Manifest, profile: Profile) -> tuple[Foreseen, ...]:
        """Every video of the manifest, in its order.

        Raises:
            StorageError: the dataset can't be read.
        """
        return foresee(manifest, profile, self.entries, self.known, self.holdings)

    @property
    def holdings(self) -> Holdings | None:
        """Where the rows of its jobs are; None where there is no dataset."""
        if self.dataset is None or self.staging is None:
            return None
        return Holdings(dataset=self.dataset, staging=self.staging)

    def planner(self, manifest: Manifest, profile: Profile, *, now: float) -> Planner:
        """What plans the next run; moments are in seconds since 1970."""
        return Planner(
            manifest=manifest,
            profile=profile,
            entries=self.entries,
            holdings=self.holdings,
            charges=self.charges,
            blocked_until=None if self.block is None else self.block.until,
            now=now,
            lacking=self.lacking,
        )

    def history(self, key: JobKey) -> tuple[LedgerMove, ...]:
        """Every move of a job, in order; read from the ledger when it is asked for.

        Raises:
            StorageError: it can't be read.
        """
        return () if self.ledger is None else _look(self.ledger, lambda ledger: ledger.history(key))

    def jobs_of(self, video_id: str) -> tuple[JobKey, ...]:
        """The jobs that a video has been, the oldest first.

        Raises:
            StorageError: they can't be read.
        """
        if self.ledger is None:
            return ()
        return _look(self.ledger, lambda ledger: ledger.jobs_of(VideoId(video_id)))


def require_folder(manifest: str, state_dir: str | None) -> None:
    """See that there is a folder for the state.

    Raises:
        UsageError: the manifest is in none, and no other was named.
    """
    if state_dir is None and is_piped(manifest):
        raise UsageError(
            f"{manifest} is no file in a folder, so that no state can be kept beside it: save the "
            "manifest as one, or name a folder with --state-dir"
        )


def remembered(manifest: Manifest, state_dir: str | None) -> Remembered:
    """Read the ledger of a manifest's dataset, without a lock and without a change.

    Raises:
        StorageError: ledger or dataset can't be read.
    """
    try:
        dataset = Dataset.find(storage_at(manifest.output.path, manifest.stores))
        if dataset is None:
            return Remembered(warning=_left_behind(manifest, state_dir))
        home = state_home(manifest.file, state_dir, dataset.dataset_id)
        before = Remembered(dataset=dataset, staging=home.staging)
        if home.ledger.exists():
            before = remembered_at(home.ledger, dataset)
        now = time.time()
        block = None if before.block is None else before.block.set_back(now)
        return _recalled(replace(before, block=block), manifest, dataset, now=now)
    except OSError as error:
        raise StorageError(f"{error.filename} can't be read: {error.strerror}") from error


def require_dataset_in_its_place(manifest: Manifest, state_dir: str | None) -> None:
    """See that nothing is paid for again only because a dataset is not where it was.

    Raises:
        OutputRefusedError: there is none in the manifest's output, and there was one.
        StorageError: ledger or dataset can't be read.
    """
    try:
        if Dataset.find(storage_at(manifest.output.path, manifest.stores)) is None:
            words = _left_behind(manifest, state_dir)
            if words is not None:
                raise OutputRefusedError(words)
    except OSError as error:
        raise StorageError(f"{error.filename} can't be read: {error.strerror}") from error


def _left_behind(manifest: Manifest, state_dir: str | None) -> str | None:
    """What the state of a dataset that was in the output, and is not, knows to be paid for."""
    if manifest.engine.kind is EngineKind.LOCAL:
        return None
    for home in homes_of(manifest.file, state_dir, manifest.output.path):
        entries = _look(home.ledger, SqliteLedger.entries)
        paid = sum(entry.state in _PAID for entry in entries.values())
        if paid:
            return (
                f"there is no dataset in {manifest.output.path}, and there was one, of which "
                f"{many(paid, 'task')} {'is' if paid == 1 else 'are'} paid for: mount the disk, or "
                f"move it back there; or remove {home.path}, to pay for all of it again"
            )
    return None


def remembered_at(ledger: Path, dataset: Dataset) -> Remembered:
    """What a ledger that is there remembers of a dataset.

    Raises:
        StorageError: it can't be read.
    """
    return _look(
        ledger,
        lambda opened: Remembered(
            dataset=dataset,
            entries=opened.entries(),
            known=opened.files(),
            charges=opened.charges(),
            block=opened.block(),
            names=opened.names(),
            beginning=opened.beginning(),
            ledger=ledger,
            staging=Home(ledger.parent).staging,
        ),
    )


def _recalled(
    before: Remembered, manifest: Manifest, dataset: Dataset, *, now: float
) -> Remembered:
    """With the jobs of the dataset's record that the ledger lacks: the next run takes them, too."""
    hosted = manifest.engine.kind is not EngineKind.LOCAL
    lack = lacking(dataset, before.entries.keys(), before.beginning, hosted=hosted)
    if lack is None:
        since = None if before.beginning is None else before.beginning.doubts(now)
        if since is None or not hosted:
            return before
        warning = f"the ledger may lack creates from before {rfc3339(since)}: {_SOUGHT}"
        return replace(before, lacking=True, warning=warning)
    known = known_jobs(dataset, now=now)
    taken = tuple(replaced(known, before.entries))
    spent = (job.charge for job in taken if job.charge is not None)
    return replace(
        before,
        entries={**before.entries, **{job.entry.job_key: job.entry for job in taken}},
        charges=tuple(sorted((*before.charges, *spent), key=lambda charge: charge.at)),
        names={**{key: job.video_id for key, job in known.items()}, **before.names},
        lacking=hosted,
        warning=lack.told(hosted=hosted),
    )


def warn(before: Remembered) -> None:
    """Say on stderr what the ledger does not know."""
    if before.warning is not None:
        click.echo(f"warning: {before.warning}", err=True)


def _look(path: Path, ask: Callable[[SqliteLedger], T]) -> T:
    ledger = SqliteLedger(path, read_only=True)
    try:
        return ask(ledger)
    finally:
        ledger.close()
