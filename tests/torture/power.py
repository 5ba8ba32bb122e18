"""Disks whose power can be cut: what the system had not yet given to the device is lost.

A disk is ext4 on a loop device, on an image in memory. It commits nothing by itself for five
minutes, so that what is on the device was synced. A cut copies the image as it is while the disk
is mounted, and mounts the copy in its place.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import Dataset
from batchembed.dataset.staging import StagedFiles
from tests.support import oracle
from tests.support.emulator import Emulator
from tests.support.killing import Launcher
from tests.torture.altered import altered

_UNSHARE, _ENTER, _FORMAT = ("unshare", "-m"), ("nsenter", "-m", "-t"), ("mkfs.ext4", "-q", "-F")
#: A room in memory that only the launcher and its runs are in, and then what they are inside of.
_ROOM = 'mount -t tmpfs -o mode=700 torture "$1" && shift && exec "$@"'
_DISK = "loop,commit=300"
_PROCESSING = re.compile(r"^.+: processing task ([0-9a-f]{24})$", re.MULTILINE)
_STAGED = re.compile(r"^.+: staged task ([0-9a-f]{24})$", re.MULTILINE)
_PUBLISHED = re.compile(r"^published record (\d+): ", re.MULTILINE)


@dataclass(kw_only=True)
class Disks:
    """One disk for a scene, and, if asked for, one of its own for the scene's state."""

    launcher: Launcher
    room: Path  #: as runs see it
    seen: Path  #: as everybody does
    mounted: list[tuple[str, str]] = field(default_factory=list)  #: (image, where)
    copies: int = 0

    @property
    def scene(self) -> Path:
        """The scene's folder, as runs see it."""
        return self.room / "disk" / "scene"

    @property
    def scene_seen(self) -> Path:
        """The same, as everybody does."""
        return self.seen / "disk" / "scene"

    @contextlib.contextmanager
    def plugged_in(self, *, state_apart: bool) -> Iterator[None]:
        """New, empty disks, until the block ends."""
        try:
            (self.seen / "disk").mkdir(exist_ok=True)
            self._mount(self._copy("blank"), "disk")
            if state_apart:
                (self.scene_seen / ".batchembed").mkdir(parents=True)
                self._mount(self._copy("blank"), "disk/scene/.batchembed")
            yield
        finally:
            self._unmount()

    def settle(self) -> None:
        """Bring everything that was written so far to the disks."""
        for _, where in self.mounted:
            self._inside("sync", "-f", str(self.room / where))

    def cut(self) -> None:
        """Cut the power, and bring it back."""
        left = [(self._copy(image), where) for image, where in self.mounted]
        self._unmount()
        for image, where in left:
            self._mount(image, where)

    def _copy(self, image: str) -> str:
        self.copies += 1
        copy = f"{self.copies}.img"
        shutil.copyfile(self.seen / image, self.seen / copy)
        return copy

    def _mount(self, image: str, where: str) -> None:
        self._inside("mount", "-o", _DISK, str(self.room / image), str(self.room / where))
        self.mounted.append((image, where))

    def _unmount(self) -> None:
        while self.mounted:
            image, where = self.mounted.pop()
            self._inside("umount", str(self.room / where))
            (self.seen / image).unlink()

    def _inside(self, *command: str) -> None:
        subprocess.run([*_ENTER, str(self.launcher.pid), *command], check=True)


@contextlib.contextmanager
def power(folder: Path, *alterations: str) -> Iterator[Disks]:
    """A room for disks, and a launcher of runs that see them. Skips where the machine allows none."""
    if not _can_mount():
        pytest.skip("not root, or no loop device with ext4: no power can be cut for this test")
    room = folder / "room"
    room.mkdir()
    inside = (*_UNSHARE, "sh", "-c", _ROOM, "sh", str(room), *altered(*alterations))
    with Launcher(folder / "launcher", inside=inside) as launcher:
        seen = Path(f"/proc/{launcher.pid}/root{room}")
        _format(seen / "blank")
        yield Disks(launcher=launcher, room=room, seen=seen)


def _format(image: Path) -> None:
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run([*_FORMAT, str(image)], check=True)


@functools.cache
def _can_mount() -> bool:
    if os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "unshare", "nsenter"))):
        return False
    script = (
        "mount -t tmpfs torture /mnt && truncate -s 8M /mnt/i && mkfs.ext4 -q -F /mnt/i"
        f" && mkdir /mnt/m && mount -o {_DISK} /mnt/i /mnt/m && umount /mnt/m"
    )
    tried = subprocess.run([*_UNSHARE, "sh", "-c", script], capture_output=True, check=False)
    return tried.returncode == 0


@dataclass(kw_only=True)
class Told:
    """What runs have said is done."""

    tasks: set[str] = field(default_factory=set)  #: that were made
    staged: set[str] = field(default_factory=set)  #: whose rows are here
    record: int = 0  #: the last one published

    def hear(self, log: str) -> None:
        """Read what a run said, up to where it was killed."""
        self.tasks.update(_PROCESSING.findall(log))
        self.staged.update(_STAGED.findall(log))
        self.record = max([self.record, *map(int, _PUBLISHED.findall(log))])

    def forgotten(self, folder: Path, output: Path) -> list[str]:
        """What of that the disk does not have."""
        dataset = Dataset.find(Folder(output))
        if dataset is None:
            return ["the dataset"] if self.tasks else []
        record = dataset.last()
        number = 0 if record is None else record.number
        problems = [f"record {self.record}"] if number < self.record else []
        here = _rows_by_task(folder, {spec.job_key for spec in dataset.specs()})
        problems += [f"task {task}" for task in sorted(self.tasks - here.keys())]
        staged = sorted(task for task in self.staged & here.keys() if not here[task])
        return problems + [f"rows of task {task}" for task in staged]


def _rows_by_task(folder: Path, published: set[str]) -> dict[str, bool]:
    """The tasks that the ledger knows, and whether it has their rows: staged, or in the record."""
    if not [*folder.glob(".batchembed/*/ledger.sqlite")]:
        return {}
    path = oracle.ledger_file(folder)
    with oracle._opened(path) as ledger:
        if not ledger.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchall():
            return {}  # the cut came before its first transaction
        rows = ledger.execute(
            "SELECT job_key, state, task_id, staged FROM entries WHERE task_id IS NOT NULL"
        ).fetchall()
    here = {}
    for key, state, task, staged in rows:
        if state == "staged" and key not in published:
            meant = json.loads(staged)
            files = StagedFiles(path.parent / "staging")
            here[task] = files.is_right(meant["file"], meant["sha256"])
        else:
            here[task] = state == "staged" or (state == "committed" and key in published)
    return here


def without_a_trace(emulator: Emulator, folder: Path, output: Path) -> list[str]:
    """Tasks that the service made, and of whose creation the disk knows nothing."""
    tasks = emulator.tasks()
    if not tasks:
        return []
    if Dataset.find(Folder(output)) is None:
        return ["the dataset"]
    marker = oracle.marker(output)
    keys = {f"{marker}{key[:16]}" for key in oracle.states(folder)}
    names = [task.input_filename or "" for task in tasks]
    return [name for name in names if not any(name.startswith(key) for key in keys)]
