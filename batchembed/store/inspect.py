"""Whether a ledger's file is sound, all of it: nothing in it is changed."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from batchembed.core.model import JobKey
from batchembed.core.states import Entry
from batchembed.errors import LedgerError
from batchembed.store.queries import migrations
from batchembed.store.sqlite_ledger import APPLICATION_ID, PATIENCE_S, SqliteLedger

_MOST_FAULTS = 20
_REFERENCES = "PRAGMA foreign_key_check"


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedLedger:
    """A ledger as it was found. `entries` is None where they can't be read, or not be judged."""

    entries: dict[JobKey, Entry] | None = None
    faults: tuple[str, ...] = ()
    unread: str | None = None  #: why nothing can be said of it


def inspect(path: Path) -> InspectedLedger | None:
    """Check every page and index of a ledger, and read its entries. None: there is no such file."""
    journal = path.with_name(f"{path.name}-journal")
    try:
        if not path.is_file():
            return None
        is_interrupted = journal.is_file() and journal.stat().st_size > 0
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        why = f"{error.strerror}: see to its permissions, and those of the folders above it"
        return InspectedLedger(unread=why)
    if is_interrupted:
        # To read it, SQLite would first have to write.
        return InspectedLedger(
            unread="a run goes on, or was killed in a transaction, which the next one takes back"
        )
    version, faults = _integrity(path)
    if faults:
        return InspectedLedger(faults=faults)
    if version > len(migrations()):
        return InspectedLedger(
            unread=f"it is of version {version}, and this batchembed knows up to "
            f"{len(migrations())}: upgrade batchembed"
        )
    try:
        ledger = SqliteLedger(path, read_only=True)
        try:
            return InspectedLedger(entries=ledger.entries())
        finally:
            ledger.close()
    except LedgerError as error:
        return InspectedLedger(faults=(str(error),))


def _integrity(path: Path) -> tuple[int, tuple[str, ...]]:
    """The version that a ledger says it has, and what is wrong with its file."""
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(uri, uri=True, timeout=PATIENCE_S)
        try:
            told = [str(row[0]) for row in db.execute(f"PRAGMA integrity_check({_MOST_FAULTS})")]
            told += [f"a row of {row[0]} refers to none" for row in db.execute(_REFERENCES)]
            application: int = db.execute("PRAGMA application_id").fetchone()[0]
            version: int = db.execute("PRAGMA user_version").fetchone()[0]
        finally:
            db.close()
    except sqlite3.Error as error:
        return 0, (str(error),)
    if application != APPLICATION_ID:
        told.append("it is not marked as a ledger of batchembed")
    return version, tuple(each for each in told if each != "ok")
