"""A small disk of its own for runs: a tmpfs in a mount namespace that only they are in."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.killing import Launcher

_MOUNT = 'mount -t tmpfs -o size=$1,mode=700 torture "$2" && shift 2 && exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk that is mounted at `path` for the launcher alone; everybody sees it at `seen`."""

    path: Path
    seen: Path
    launcher: Launcher
    enter: tuple[str, ...]

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self.seen)
        return found.f_bavail * found.f_frsize

    @contextlib.contextmanager
    def filled(self, *, leaving_bytes: int) -> Iterator[None]:
        """Almost full, until the block ends."""
        filler = self.seen / "filler"
        filler.write_bytes(bytes(max(0, self.free_bytes - leaving_bytes)))
        try:
            yield
        finally:
            filler.unlink()

    @contextlib.contextmanager
    def read_only(self, folder: str) -> Iterator[None]:
        """A folder of the disk that nobody can write, until the block ends."""
        path = str(self.path / folder)
        self._inside("mount", "--bind", path, path)
        self._inside("mount", "-o", "remount,ro,bind", path)
        try:
            yield
        finally:
            self._inside("umount", path)

    def _inside(self, *command: str) -> None:
        subprocess.run([*self.enter, *command], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, *, size: str = "4m") -> Iterator[Disk]:
    """A disk, and a launcher of runs that see it. Skips the test where the machine allows neither."""
    unshare = _unshare()
    if not unshare:
        pytest.skip("neither root nor user namespaces: no disk can be mounted for this test")
    path = folder / "disk"
    path.mkdir()
    inside = (*unshare, "sh", "-c", _MOUNT, "sh", size, str(path))
    with Launcher(folder / "launcher", inside=inside) as launcher:
        enter: tuple[str, ...] = ("nsenter", "-t", str(launcher.pid), "-m")
        if "-Urm" in unshare:
            enter = (*enter, "-U", "--preserve-credentials")
        yield Disk(
            path=path,
            seen=Path(f"/proc/{launcher.pid}/root{path}"),
            launcher=launcher,
            enter=enter,
        )


@functools.cache
def _unshare() -> tuple[str, ...]:
    for ways in (("unshare", "-m"), ("unshare", "-Urm")):
        with contextlib.suppress(OSError):
            tried = subprocess.run(
                [*ways, "sh", "-c", "mount -t tmpfs torture /mnt"], capture_output=True, check=False
            )
            if tried.returncode == 0:
                return ways
    return ()
