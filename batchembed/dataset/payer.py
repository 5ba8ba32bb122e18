"""`_batchembed/payer.json`: the run that was the last to pay for tasks of a dataset.

A ledger that does not know that run does not know every task that was paid for. It is no part of
what a dataset holds: readers, records and `diff` do without it.
"""

from __future__ import annotations

import contextlib
import threading

import msgspec

from batchembed.dataset.storage import META, PAYER, Storage
from batchembed.errors import StorageError


class _Payer(msgspec.Struct, frozen=True):
    run_id: str


def read_payer(storage: Storage) -> str | None:
    """The run; None where none has paid yet. Of a damaged file it is empty, and nobody knows that one.

    Raises:
        StorageError: it can't be read.
    """
    try:
        return msgspec.json.decode(storage.read(PAYER), type=_Payer).run_id
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    except OSError as error:
        raise StorageError(
            f"{storage.named(PAYER)} can't be read: {error.strerror or error}; see to its disk and "
            "its permissions"
        ) from error


class Payer:
    """Says in the dataset, before a run's first task, that from now on this run pays."""

    def __init__(
        self, storage: Storage, run_id: str, turn: contextlib.AbstractContextManager[object]
    ) -> None:
        """Nothing is written yet. `turn` is held by a publish of this run, too."""
        self._storage = storage
        self._publishes = turn
        self._run_id = run_id
        self._is_said = False
        self._turn = threading.Lock()

    def confirm_held(self) -> None:
        """See that the dataset is still this run's to pay for, and says so; that lasts when this returns.

        Raises:
            LeaseLostError: another run has taken it over.
            StorageError: it can't be known, or not be written.
        """
        with self._turn:  # none of several creates leaves before it is said
            if not self._is_said:
                self._say()
            # Only now: what a writer says that stood still for too long may be in another's place.
            self._storage.confirm_held()
            self._is_said = True

    def _say(self) -> None:
        try:
            with self._publishes:
                self._storage.prepare()
                self._storage.put(PAYER, msgspec.json.encode(_Payer(self._run_id)) + b"\n")
                self._storage.settle([META])
        except OSError as error:
            raise StorageError(
                f"{self._storage.named(PAYER)} can't be written: {error.strerror or error}; nothing "
                "was submitted, run again once there is room or the disk is well"
            ) from error
