"""The ledger in one SQLite file.

SQLite with a rollback journal and `synchronous = EXTRA`: an acknowledged move survives a power
cut, which WAL with `synchronous = NORMAL` does not.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from batchembed.core.model import (
    Facts,
    FileIdentity,
    JobKey,
    ObjectIdentity,
    TaskId,
    VideoId,
)
from batchembed.core.problems import Reason
from batchembed.core.quota import Charge
from batchembed.core.states import Entry, Intent, Staged, State, require_allowed
from batchembed.errors import LedgerError
from batchembed.store.ledger import Beginning, Block, KnownFile, LedgerMove
from batchembed.store.queries import migrations, queries

APPLICATION_ID = 0x62_62_6C_31  # "bbl1"
#: So long a move waits for whoever reads the file: `verify` checks all of it in one go.
PATIENCE_S = 60.0
_WORD = 2**64


class SqliteLedger:
    """A ledger in one SQLite file. To be used by one thread; a batch is one transaction."""

    def __init__(self, path: Path, *, read_only: bool = False, run_id: str = "") -> None:
        """Open the ledger, making it where there is none.

        Raises:
            LedgerError: it can't be used: damaged, not writable, held by another program, or of a
                newer version.
        """
        self._path = path
        self._run_id = run_id
        try:
            if read_only:
                uri = f"{path.absolute().as_uri()}?mode=ro"
                self._db = sqlite3.connect(uri, uri=True, timeout=PATIENCE_S)
                self._require_version(self._version())
                if self._version() == 0:
                    raise self._unusable(sqlite3.DatabaseError("it is empty"))
                if self._version() < len(migrations()):
                    self._look_at_a_copy()
            else:
                self._db = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE_S)
                self._db.execute("PRAGMA journal_mode = TRUNCATE")
                self._db.execute("PRAGMA synchronous = EXTRA")
                self._require_whole()
                self._migrate()
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _version(self) -> int:
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        return version

    def _require_version(self, version: int) -> None:
        newest = len(migrations())
        if version > newest:
            raise LedgerError(
                f"the ledger {self._path} is of version {version}, and this batchembed knows up to "
                f"{newest}: upgrade batchembed"
            )

    def _require_whole(self) -> None:
        found: str = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise self._unusable(sqlite3.DatabaseError(found))

    def _migrate(self) -> None:
        version = self._version()
        self._require_version(version)
        if 0 < version < len(migrations()):
            self._keep_copy(version)
        self._run_migrations(version)

    def _run_migrations(self, version: int) -> None:
        for number, script in enumerate(migrations()[version:], start=version + 1):
            self._db.executescript(
                f"BEGIN IMMEDIATE; {script} PRAGMA application_id = {APPLICATION_ID};"
                f" PRAGMA user_version = {number}; COMMIT;"
            )

    def _look_at_a_copy(self) -> None:
        """Read the ledger of an earlier version without a change to its file."""
        copy = sqlite3.connect(":memory:", isolation_level=None)
        self._db.backup(copy)
        self._db.close()
        self._db = copy
        self._run_migrations(self._version())

    def _keep_copy(self, version: int) -> None:
        """Keep the ledger as the earlier version had it."""
        copy = self._path.with_name(f"{self._path.stem}.v{version}.sqlite")
        try:
            copy.unlink(missing_ok=True)
        except OSError as error:
            raise LedgerError(
                f"the ledger {self._path} is of version {version}, and can't be copied aside before "
                f"it is taken over: {copy} can't be replaced: {error.strerror}; see to it, run again"
            ) from error
        self._db.execute("VACUUM INTO ?", (str(copy),))

    def _unusable(self, error: sqlite3.Error) -> LedgerError:
        if _is_busy(error):
            return LedgerError(
                f"the ledger {self._path} was held by another program for {PATIENCE_S:g} s, such as "
                "a database browser or a backup that reads it: nothing is wrong with it; close that, "
                "then run again"
            )
        return LedgerError(
            f"the ledger {self._path} can't be used: {error}. It knows which tasks were paid for: "
            "mend the disk, or restore the file, rather than delete it"
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        except ValueError as error:
            raise LedgerError(f"a row of the ledger {self._path} is damaged: {error}") from error

    def entries(self) -> dict[JobKey, Entry]:
        """Every entry."""
        with self._reading():
            rows = self._db.execute(queries()["all_entries"])
            return {entry.job_key: entry for entry in map(_entry, rows)}

    def add(self, key: JobKey, *, now: float) -> None:
        """Put a job in as planned; an entry that exists stays as it is."""
        self._db.execute(queries()["add_entry"], {"job_key": key, "updated_at": now})

    def move(self, entry: Entry, *, old: State) -> bool:
        """Take a job from `old` to what `entry` says; False if it was no longer in `old`."""
        require_allowed(old, entry.state)
        values = {**_values(entry), "old_state": old, "run_id": self._run_id}
        if self._db.execute(queries()["move_entry"], values).rowcount != 1:
            return False
        self._db.execute(queries()["keep_move"], values)
        if entry.state is State.SUBMITTING:
            self._db.execute(queries()["set_payer"], {"payer": self._run_id})
        return True

    def beginning(self) -> Beginning | None:
        """From where on it knows every create; None where nobody has said so yet."""
        with self._reading():
            row = self._db.execute(queries()["get_beginning"]).fetchone()
            return None if row is None else _beginning(row)

    def begin(self, beginning: Beginning) -> None:
        """Keep from where on it knows every create, in place of what it said before.

        What it has of creates that are not under way, it is no longer asked to believe.
        """
        self._db.execute(queries()["begin"], msgspec.to_builtins(beginning))
        self._db.execute(queries()["doubt_attempts"])

    def recall(self, entry: Entry) -> None:
        """Put in a job as the dataset's record knows it, in place of what is there, if rows are not."""
        values = {**_values(entry), "run_id": self._run_id}
        if self._db.execute(queries()["recall_entry"], values).rowcount == 1:
            self._db.execute(queries()["keep_move"], values)

    def history(self, key: JobKey) -> tuple[LedgerMove, ...]:
        """Every move of a job, in order."""
        with self._reading():
            rows = self._db.execute(queries()["moves_of"], {"job_key": key})
            return tuple(map(_move, rows))

    def task_ids(self) -> frozenset[TaskId]:
        """Every task that any job has or had."""
        with self._reading():
            return frozenset(TaskId(row[0]) for row in self._db.execute(queries()["all_task_ids"]))

    def charge(self, key: JobKey, attempt: int, charge: Charge) -> None:
        """Keep what a create may cost."""
        self._db.execute(
            queries()["charge"],
            {"job_key": key, "attempt": attempt, "at": charge.at, "video_sec": charge.video_sec},
        )

    def withdraw(self, key: JobKey, attempt: int) -> None:
        """Forget the charge of a create that made no task."""
        self._db.execute(queries()["withdraw"], {"job_key": key, "attempt": attempt})

    def settle(self, key: JobKey, attempt: int, video_sec: float) -> None:
        """Say how long the video of a charge was."""
        self._db.execute(
            queries()["settle"], {"job_key": key, "attempt": attempt, "video_sec": video_sec}
        )

    def charges(self) -> tuple[Charge, ...]:
        """Every charge, the oldest first."""
        with self._reading():
            rows = self._db.execute(queries()["all_charges"])
            return tuple(Charge(at=at, video_sec=video_sec) for at, video_sec in rows)

    def open_charges(self) -> dict[JobKey, Charge]:
        """The last charge of each job whose create may still turn out to have cost another sum."""
        with self._reading():
            rows = self._db.execute(queries()["open_charges"])
            return {JobKey(key): Charge(at=at, video_sec=sec) for key, at, sec in rows}

    def set_back(self, now: float) -> None:
        """Take what a clock that was ahead left in the future to be of now: charges, and the block."""
        self._db.execute(queries()["set_back_charges"], {"now": now})
        self._db.execute(queries()["set_back_block"], {"now": now})

    def block(self) -> Block | None:
        """Until when the service takes no creates, where it said so."""
        with self._reading():
            row = self._db.execute(queries()["get_block"]).fetchone()
            return None if row is None else Block(until=row[0], why=row[1], seconds=row[2])

    def set_block(self, block: Block | None) -> None:
        """Keep, or forget, until when the service takes no creates."""
        if block is None:
            self._db.execute(queries()["clear_block"])
        else:
            self._db.execute(queries()["set_block"], msgspec.to_builtins(block))

    def name(self, video_id: VideoId, key: JobKey, *, source: str, now: float) -> None:
        """Keep that a video is this job."""
        self._db.execute(
            queries()["name_video"],
            {"video_id": video_id, "job_key": key, "source": source, "at": now},
        )

    def jobs_of(self, video_id: VideoId) -> tuple[JobKey, ...]:
        """The jobs that a video has been, the oldest first."""
        with self._reading():
            rows = self._db.execute(queries()["jobs_of_video"], {"video_id": video_id})
            return tuple(JobKey(row[0]) for row in rows)

    def names(self) -> dict[JobKey, VideoId]:
        """A video of each job, for messages."""
        with self._reading():
            rows = self._db.execute(queries()["video_of_job"])
            return {JobKey(key): VideoId(video_id) for key, video_id in rows}

    def files(self) -> dict[str, KnownFile]:
        """Every remembered file, by path or URI."""
        with self._reading():
            files = map(_known_file, self._db.execute(queries()["all_files"]))
            objects = map(_known_object, self._db.execute(queries()["all_objects"]))
            return {known.identity.path: known for known in itertools.chain(files, objects)}

    def remember(self, known: KnownFile) -> None:
        """Keep what reading a file told."""
        identity = known.identity
        facts = _json({_kind(known.facts): known.facts})
        if isinstance(identity, ObjectIdentity):
            told = {"uri": identity.path, "tag": identity.tag, "size_bytes": identity.size_bytes}
            self._db.execute(queries()["remember_object"], {**told, "facts": facts})
            return
        self._db.execute(
            queries()["remember_file"],
            {
                "path": identity.path,
                "dev": _signed(identity.dev),
                "inode": _signed(identity.inode),
                "size_bytes": identity.size_bytes,
                "mtime_ns": _signed(identity.mtime_ns),
                "ctime_ns": _signed(identity.ctime_ns),
                "sha256": known.sha256,
                "facts": facts,
            },
        )

    def batch(self, calls: list[Callable[[], None]]) -> None:
        """Make all the calls in one transaction, durable when this returns.

        Raises:
            LedgerError: nothing of the batch is durable.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for call in calls:
                    call()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._unusable(error) from error


def _is_busy(error: sqlite3.Error) -> bool:
    code: int | None = getattr(error, "sqlite_errorcode", None)  # none in an error of our own
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _values(entry: Entry) -> dict[str, object]:
    return {
        "job_key": entry.job_key,
        "state": entry.state,
        "attempt": entry.attempt,
        "task_id": entry.task_id,
        "staged": _json(entry.staged),
        "commit_number": entry.commit,
        "reason": _json(entry.reason),
        "warnings": _json(entry.warnings),
        "intent": _json(entry.intent),
        "intended_at": entry.intended_at,
        "unknown_since": entry.unknown_since,
        "submitted_at": entry.submitted_at,
        "adopted": entry.adopted,
        "losses": entry.losses,
        "absences": entry.absences,
        "updated_at": entry.updated_at,
    }


def _beginning(row: tuple[Any, ...]) -> Beginning:
    doubted_since, record, payer = row
    return Beginning(doubted_since=doubted_since, record=record, payer=payer)


def _entry(row: tuple[Any, ...]) -> Entry:
    key, state, attempt, task_id, staged, commit, reason, warnings, *rest = row
    intent, intended_at, unknown_since, submitted_at, adopted, losses, absences, updated_at = rest
    return Entry(
        job_key=JobKey(key),
        state=State(state),
        attempt=attempt,
        task_id=None if task_id is None else TaskId(task_id),
        staged=None if staged is None else msgspec.json.decode(staged, type=Staged),
        commit=commit,
        reason=None if reason is None else msgspec.json.decode(reason, type=Reason),
        warnings=msgspec.json.decode(warnings, type=tuple[Reason, ...]),
        intent=None if intent is None else msgspec.json.decode(intent, type=Intent),
        intended_at=intended_at,
        unknown_since=unknown_since,
        submitted_at=submitted_at,
        adopted=bool(adopted),
        losses=losses,
        absences=absences,
        updated_at=updated_at,
    )


def _move(row: tuple[Any, ...]) -> LedgerMove:
    at, run_id, state, attempt, task_id, reason = row
    return LedgerMove(
        at=at,
        run_id=run_id,
        state=State(state),
        attempt=attempt,
        task_id=None if task_id is None else TaskId(task_id),
        reason=None if reason is None else msgspec.json.decode(reason, type=Reason),
    )


class _StoredFacts(msgspec.Struct):
    facts: Facts | None = None
    reason: Reason | None = None


def _kind(facts: Facts | Reason) -> str:
    return "reason" if isinstance(facts, Reason) else "facts"


def _signed(number: int) -> int:
    """As SQLite keeps it: some file systems number their files beyond 2^63, or date them so."""
    return (number + _WORD // 2) % _WORD - _WORD // 2


def _known_file(row: tuple[Any, ...]) -> KnownFile:
    path, dev, inode, size_bytes, mtime_ns, ctime_ns, sha256, told = row
    return KnownFile(
        identity=FileIdentity(
            path=path,
            dev=dev % _WORD,
            inode=inode % _WORD,
            size_bytes=size_bytes,
            mtime_ns=mtime_ns,
            ctime_ns=ctime_ns,
        ),
        facts=_facts(path, told),
        sha256=sha256,
    )


def _known_object(row: tuple[Any, ...]) -> KnownFile:
    uri, tag, size_bytes, told = row
    return KnownFile(
        identity=ObjectIdentity(path=uri, tag=tag, size_bytes=size_bytes), facts=_facts(uri, told)
    )


def _facts(path: str, told: str) -> Facts | Reason:
    stored = msgspec.json.decode(told, type=_StoredFacts)
    facts = stored.facts or stored.reason
    if facts is None:
        msg = f"nothing is told of {path}"
        raise ValueError(msg)
    return facts
