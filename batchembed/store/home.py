"""The state directory beside a manifest: where a run keeps what must outlive it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from batchembed.errors import StorageError
from batchembed.store.filesystem import require_local

#: Of so many runs the reports are kept: one has a line for every video of the manifest.
KEPT_REPORTS = 100

_README = """\
This folder belongs to batchembed. It is not a cache.

Each folder in here is the state of one dataset: which tasks were created and paid for
(`ledger.sqlite`), results that wait to be published (`staging`), and the tasks of the embedded
engine (`engine`). Where it is lost, the next run takes what is committed from the dataset, and
looks for tasks in flight in the service's listing, which has those of the last days: what is older,
and not committed, is paid for again.
"""

#: Beside the folders of the datasets.
OWN_FILES = (".gitignore", "README")


@dataclass(frozen=True, slots=True)
class Home:
    """The state of one dataset."""

    path: Path

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.sqlite"

    @property
    def staging(self) -> Path:
        return self.path / "staging"

    @property
    def engine(self) -> Path:
        return self.path / "engine"

    @property
    def lock(self) -> Path:
        return self.path / "run.lock"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def output(self) -> Path:
        """A file that says where the dataset is, of which tasks are paid for."""
        return self.path / "output"

    def sweep(self) -> None:
        """Remove old reports, and what a run did not write to its end. For who has the lock.

        Raises:
            StorageError: one can't be removed.
        """
        try:
            for left in (*self.runs.glob(".*.tmp"), *self.staging.glob("*.arrow.tmp")):
                left.unlink(missing_ok=True)
            for old in sorted(self.runs.glob("*.json"))[:-KEPT_REPORTS]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{error.filename} can't be removed: {error.strerror}") from error


def state_home(manifest: str, state_dir: str | None, dataset_id: str) -> Home:
    """Where the state of a dataset is, whether or not it exists."""
    return Home(_root(manifest, state_dir) / dataset_id)


def _root(manifest: str, state_dir: str | None) -> Path:
    return Path(state_dir) if state_dir else Path(manifest).parent / ".batchembed"


def homes_of(manifest: str, state_dir: str | None, output: str) -> tuple[Home, ...]:
    """The states of datasets that were in a place when a hosted run last wrote to them.

    Raises:
        OSError: the state directory can't be read.
    """
    found = (Home(each.parent) for each in sorted(_root(manifest, state_dir).glob("*/output")))
    # Any folder may be named as the state directory.
    homes = (home for home in found if home.output.is_file() and home.ledger.is_file())
    return tuple(home for home in homes if home.output.read_bytes() == os.fsencode(output))


def make_home(home: Home, output: str | None) -> None:
    """Make the folders, and say in them whose they are, and where their dataset is; None: it is free.

    Raises:
        StorageError: they can't be made, or would be on a network file system.
    """
    root = home.path.parent
    try:
        for folder in (home.staging, home.engine, home.runs):
            folder.mkdir(parents=True, exist_ok=True)
        for name, text in zip(OWN_FILES, ("*\n", _README), strict=True):
            if not (root / name).exists():
                (root / name).write_text(text, encoding="utf-8")
        if output is None:
            home.output.unlink(missing_ok=True)
        elif not home.output.exists() or home.output.read_bytes() != os.fsencode(output):
            home.output.write_bytes(os.fsencode(output))
        require_local(home.path)
    except OSError as error:
        raise StorageError(
            f"the state folder {home.path} can't be made: {error.strerror}; "
            "name another with --state-dir"
        ) from error
