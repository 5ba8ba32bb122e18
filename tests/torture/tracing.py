"""Runs under strace, which makes one of their system calls fail, or kills them at it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.killing import Ended
from tests.torture.altered import DATASET, STRACE, TRACE
from tests.torture.scene import Scene, environment

#: What changes a file so that it lasts, and may fail. The others only touch what a run writes to.
CALLS = ("fsync", "fdatasync", "pwrite64", "rename", "link", "unlink", "mkdir", "openat", "write")
#: Calls that a process makes of much else: of them only those to known paths of the scene count.
_OF_PATHS = ("openat", "write")
_MADE = re.compile(r"^(\d+) +(\d+\.\d+) (\w+)\(")
_PATH = re.compile(r'"(/[^"]+)"|<(/[^<>]+)>')


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What becomes of one system call of each thread: the `number`-th of that name, from 1."""

    call: str
    kind: str  #: `error=EIO`, `error=ENOSPC`, `signal=KILL`
    number: int
    ever_after: bool = False

    def __str__(self) -> str:
        return f"{self.call}:{self.kind}:when={self.number}{'+' if self.ever_after else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a run makes of system calls that last."""

    most: Counter[str]  #: by name, those of the busiest thread
    paths: tuple[str, ...]  #: below the scene's folder; `{dataset}` stands for the dataset's id

    def below(self, scene: Scene) -> list[str]:
        """Their paths in another scene."""
        named = dataset_id(scene)
        return [f"{scene.folder}/{path.replace('{dataset}', named)}" for path in self.paths]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A run that has been begun; `log` is strace's."""

    number: int
    log: Path

    def failed_at(self) -> float | None:
        """When the first call failed; seconds since 1970."""
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            found = _MADE.match(line)
            if found and "(INJECTED)" in line:
                return float(found[2])
        return None


def require_strace() -> None:
    """Skip the test where no process can be traced."""
    if shutil.which(*STRACE) is None:
        pytest.skip("no strace: no system call can be made to fail")
    tried = subprocess.run([*STRACE, "-o", "/dev/null", "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip("strace may not trace here")


def dataset_id(scene: Scene) -> str:
    """What a traced run of this scene calls the dataset that it makes."""
    return hashlib.sha256(str(scene.folder).encode()).hexdigest()[:32]


def start(scene: Scene, arguments: Iterable[str], *argv: str, key: str) -> Traced:
    """Begin a run of the scene, with these arguments for strace."""
    log = scene.folder.parent / f"{scene.folder.name}.strace"
    given = ["-ttt", "-s", "0", "-o", str(log), *arguments]
    env = {**environment(key), TRACE: json.dumps(given), DATASET: dataset_id(scene)}
    return Traced(
        number=scene.launcher.start(
            ("run", "m.yaml", *argv), folder=scene.folder, env=env, limit_s=scene.limit_s
        ),
        log=log,
    )


def faulted(scene: Scene, fault: Fault, made: Made, *, key: str) -> Traced:
    """Begin a run in which one of the calls that such runs make goes wrong."""
    paths = made.below(scene) if fault.call in _OF_PATHS else []
    where = [part for path in paths for part in ("-P", path)]
    inject = ["-e", f"trace={fault.call}", "-e", f"inject={fault}"]
    return start(scene, [*inject, *where], key=key)


def made_by(scene: Scene, *argv: str) -> tuple[Ended, Made]:
    """A run to which nothing happens, and what it makes."""
    traced = start(scene, ["-y", "-e", f"trace={','.join(CALLS)}"], *argv, key="tlk_counted")
    ended = scene.ended(traced.number)
    lines = traced.log.read_text(encoding="utf-8", errors="replace").splitlines()
    named = dataset_id(scene)
    counts: Counter[tuple[str, str]] = Counter()
    paths: dict[str, None] = {}
    for line in lines:
        found = _MADE.match(line)
        if found is None:
            continue
        below = _paths(line, scene.folder)
        paths.update(dict.fromkeys(path.replace(named, "{dataset}") for path in below))
        if below or found[3] not in _OF_PATHS:
            counts[found[3], found[1]] += 1
    most: Counter[str] = Counter()
    for (call, _), count in counts.items():
        most[call] = max(most[call], count)
    return ended, Made(most=most, paths=tuple(paths))


def _paths(line: str, folder: Path) -> list[str]:
    """Those that are below the folder, and not what a person put there."""
    found = (Path(quoted or shown) for quoted, shown in _PATH.findall(line))
    inner = (path.relative_to(folder) for path in found if path.is_relative_to(folder))
    return [str(path) for path in inner if path.parts and path.parts[0] not in {"m.yaml", "v"}]
