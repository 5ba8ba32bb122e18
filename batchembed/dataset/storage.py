"""Where a dataset is kept, a folder or an object store: what a publish and its readers ask of it.

A key is a path below the dataset, with `/`. Whatever can't be done is an OSError: FileNotFoundError
where a key has nothing, PermissionError where it may not be done, FileExistsError of `create`. What
only an object store can fail in is a StoreError, which says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from pyarrow import fs

from batchembed.dataset.files import Files

Lock = Callable[[Path], AbstractContextManager[None]]

META = "_batchembed"
#: Temporary files of a publish.
INCOMING = f"{META}/incoming"
COMMITS = f"{META}/commits"
GROUPS = f"{META}/groups"
DATASET_FILE = f"{META}/dataset.json"
#: Which run paid last.
PAYER = f"{META}/payer.json"


class Storage(Protocol):
    """One place for one dataset."""

    files: Files  #: the local file system: of staged rows, and of parts that have no name yet
    filesystem: fs.FileSystem  #: in which `path` names a file: for those who read parts themselves

    @property
    def location(self) -> str:
        """What people call it: the path of a folder, or the URI of a prefix."""

    def named(self, key: str) -> str:
        """The whole name of a file, for messages."""

    def path(self, key: str) -> str:
        """A file as `filesystem` names it; `""` is the dataset itself."""

    def read(self, key: str) -> bytes:
        """A file's bytes."""

    def open(self, key: str) -> pa.NativeFile:
        """A file to be read at any place. Close it."""

    def sizes(self, keys: Collection[str]) -> dict[str, int]:
        """The bytes of each of these that is a file."""

    def names(self, folder: str) -> list[str]:
        """The files directly in a folder, in order.

        Raises:
            FileNotFoundError: there is no such folder. A store, which has none, finds no files.
        """

    def everything(self) -> Iterable[tuple[str, int]]:
        """Every file there is, whoever made it, and its bytes; in any order. For `verify`.

        A store lists them page by page. A folder does not follow links to folders.

        Raises:
            OSError: they can't be listed.
        """

    def is_foreign(self) -> bool:
        """Whether there is more than nothing, or than an interrupted creation leaves.

        Raises:
            NotADirectoryError: a file is in the dataset's place.
        """

    def prepare(self) -> None:
        """Make what must be there before the first file."""

    def require_writable(self) -> None:
        """See that files may be made.

        Raises:
            OSError: they may not, or the file system is read-only.
        """

    def hold(self, lock: Lock) -> AbstractContextManager[None]:
        """Be the one writer, for the length of a run.

        Args:
            lock: holds a local file.

        Raises:
            LockedError: there is another.
            StorageError: it can't be known.
        """

    def confirm_held(self) -> None:
        """See, within `hold`, that whoever holds it still does: before a task is paid for.

        It asks nobody where there is no doubt, and may be called often.

        Raises:
            LeaseLostError: a store's dataset was taken over by another run.
            StoreError: it can't be known.
        """

    def is_held(self) -> bool | None:
        """Whether somebody is the one writer at this moment; None: it can't be known.

        Nothing is changed by asking. A store's lease is judged by this machine's clock.
        """

    def scratch(self, staging: Path) -> Path:
        """A local folder for parts that have no name yet. `staging` is the run's own."""

    def place(self, temporary: Path, key: str) -> None:
        """Give a part of `scratch` its final name, replacing what had it."""

    def put(self, key: str, content: bytes) -> None:
        """Make a file, or replace it: a reader sees the old bytes or the new ones."""

    def create(self, key: str, content: bytes) -> None:
        """Make a file where there is none. Of several who try with bytes of their own, one can.

        Raises:
            FileExistsError: there is one.
            StoreAwayError: a store gave no answer, and may have made it for all that.
        """

    def move(self, old: str, new: str) -> None:
        """Give a file another name, replacing what had it."""

    def settle(self, folders: Iterable[str]) -> None:
        """Make the names in these folders last; `""` is the dataset's own, whose name lasts, too."""

    def remove(self, key: str) -> None:
        """Remove a file, if it is there."""

    def own_files(self, *, exact: bool) -> Iterable[tuple[str, bool]]:
        """The files in the dataset's own places, and whether each is young.

        Only a store has young ones: one more writer may be at work on them, unseen.

        Args:
            exact: tell ages by the store's clock, which takes a write; else by this machine's, and
                nothing is changed by asking.
        """

    def prune(self, partition_keys: Collection[str]) -> None:
        """Remove partitions of these keys alone in which nothing is left."""
