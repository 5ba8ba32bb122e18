"""Full disks and folders that nobody can write: an error and an end, and nothing paid without a trace."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.emulator import Emulator, emulated
from tests.support.killing import Ended, Launcher
from tests.support.steps import Bent
from tests.torture.disks import Disk, small_disk
from tests.torture.scene import FORGETS, LONG, SOON_S, Scene, reference, set_scene

pytestmark = pytest.mark.torture

_PASSES = 100 if LONG else 8
#: A create that was on its way when the disk was found full.
_ON_ITS_WAY_S = 0.5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path) as mounted:
        yield mounted


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with emulated(tmp_path / "service", rules=FORGETS) as running:
        yield running


@pytest.fixture(scope="module")
def few(films: list[Path]) -> list[Path]:
    return films[:8]


@pytest.fixture(scope="module")
def wanted(
    few: list[Path], launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    return reference(few, launcher, tmp_path_factory.mktemp("few"))


def test_a_full_disk_ends_the_run_and_once_there_is_room_it_is_gone_on_with(
    disk: Disk, emulator: Emulator, few: list[Path], wanted: dict[str, bytes], tmp_path: Path
) -> None:
    drawn = random.Random(11)  # noqa: S311  nothing to guess
    needed_bytes = _needed_bytes(disk, emulator, few)
    noticed = 0
    for number in range(_PASSES):
        scene = _scene(disk, emulator, few, f"scene{number}")
        full = tmp_path / f"full{number}"
        with disk.filled(leaving_bytes=round(drawn.uniform(0.02, 0.9) * needed_bytes)):
            ended = scene.run(bent=Bent(full_to=str(full)))
        assert ended.code == 74, ended.err
        assert oracle.unreadable(scene.folder, scene.output) == []
        if full.exists():
            noticed += 1
            assert _creates_after(emulator, float(full.read_text()) + _ON_ITS_WAY_S) == 0
        scene.until_done()
        assert scene.problems(wanted=wanted, also=[74]) == []
        _clear(scene)
    assert noticed


@pytest.mark.parametrize("folder", ["out", ".batchembed"])
def test_a_folder_that_cannot_be_written_ends_the_run_before_anything_is_paid(
    disk: Disk, emulator: Emulator, few: list[Path], wanted: dict[str, bytes], folder: str
) -> None:
    """It was writable when the dataset was begun: a disk that the system mounted anew after errors."""
    scene = _scene(disk, emulator, few, "scene")
    scene.run(signals=[(0.25, signal.SIGKILL)])
    (scene.folder / folder).mkdir(exist_ok=True)
    with disk.read_only(f"scene/{folder}"):
        # With a key of its own: what the killed run sent may arrive even now.
        ended = scene.run(key="tlk_of_the_second")
        assert ended.code in {73, 74}, ended.err
        assert not any(
            asked.creates and asked.who == "tlk_of_the_second" for asked in emulator.asked
        )
    scene.until_done()
    assert scene.problems(wanted=wanted, also=[73, 74]) == []


def _scene(disk: Disk, emulator: Emulator, films: list[Path], name: str) -> Scene:
    return set_scene(
        disk.seen / name,
        disk.launcher,
        emulator,
        films,
        seen_as=disk.path / name,
        settle_s=SOON_S,
    )


def _needed_bytes(disk: Disk, emulator: Emulator, films: list[Path]) -> int:
    """How much of the disk a run writes."""
    before = disk.free_bytes
    scene = _scene(disk, emulator, films, "measured")
    given = before - disk.free_bytes
    _done(scene.run())
    needed = before - disk.free_bytes - given
    _clear(scene)
    return needed


def _done(ended: Ended) -> None:
    assert ended.code == 0, ended


def _clear(scene: Scene) -> None:
    """Make room for the next."""
    for path in sorted(scene.folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


def _creates_after(emulator: Emulator, moment: float) -> int:
    return sum(asked.creates and asked.at > moment for asked in emulator.asked)
