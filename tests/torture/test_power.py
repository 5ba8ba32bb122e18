"""Power cuts at random moments: what was said to be done is done, and nothing is paid twice."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.emulator import Emulator, HeldPool, emulated
from tests.support.killing import Launcher
from tests.support.steps import Bent
from tests.torture.power import Disks, Told, power, without_a_trace
from tests.torture.scene import FORGETS, SOON_S, Scene, reference, set_scene

pytestmark = pytest.mark.torture

_CUTS = int(os.environ.get("BATCHEMBED_POWER_CUTS", "5"))
_LONG = _CUTS > 5
#: Of one dataset, one after the other: each run after a cut is a recovery, and is cut too.
_CUTS_IN_A_ROW = 3
_FILMS = 8
_LONGEST_S = 2.0


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disks]:
    with power(tmp_path_factory.mktemp("power")) as plugged:
        yield plugged


@pytest.fixture(scope="module")
def few(films: list[Path]) -> list[Path]:
    return films[:_FILMS]


@pytest.fixture(scope="module")
def wanted(
    few: list[Path], launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    return reference(few, launcher, tmp_path_factory.mktemp("few"))


def test_a_power_cut_takes_back_nothing_that_was_said_to_be_done(
    disks: Disks, few: list[Path], wanted: dict[str, bytes], tmp_path: Path
) -> None:
    """State and output on one disk, or on two: then the syncs of one do nothing for the other."""
    drawn = random.Random(13)  # noqa: S311  nothing to guess
    cuts = datasets = 0
    heard = Told()
    while cuts < _CUTS:
        with (
            disks.plugged_in(state_apart=bool(datasets % 2)),
            emulated(tmp_path / f"service{datasets}", rules=FORGETS) as emulator,
        ):
            scene = _scene(disks, emulator, few)
            told = Told()
            for _ in range(min(_CUTS_IN_A_ROW, _CUTS - cuts)):
                ended = scene.run(signals=[(drawn.uniform(0.05, _LONGEST_S), signal.SIGKILL)])
                told.hear(ended.err)
                disks.cut()
                cuts += 1
                assert _lost(scene, told) == []
                if ended.code == 0:
                    break
            scene.until_done()
            assert _wrong(scene, wanted) == []
        datasets += 1
        heard.tasks |= told.tasks
        heard.staged |= told.staged
        heard.record = max(heard.record, told.record)
    # The cuts did not all fall before there was anything to lose.
    assert heard.tasks
    assert heard.staged
    assert heard.record


@pytest.mark.parametrize("state_apart", [False, True])
def test_a_power_cut_at_a_step_of_a_run_takes_back_nothing(
    disks: Disks,
    few: list[Path],
    launcher: Launcher,
    tmp_path: Path,
    state_apart: bool,
) -> None:
    """At each of them in the long form: what is not synced at a step is lost there for certain."""
    one = few[:1]
    wanted = reference(one, launcher, tmp_path / "undisturbed")
    last = _count_steps(disks, tmp_path / "counted", one)
    every = 1 if _LONG else 40
    for step in range(1 + (every // 2) * state_apart, last + 1, every):
        with (
            disks.plugged_in(state_apart=state_apart),
            emulated(tmp_path / f"service{step}", rules=FORGETS) as emulator,
        ):
            scene = _scene(disks, emulator, one)
            told = Told()
            told.hear(scene.run(bent=Bent(die_at=step)).err)
            disks.cut()
            assert _lost(scene, told) == [], step
            scene.until_done()
            assert _wrong(scene, wanted) == [], step


def test_a_ledger_in_the_popular_setting_forgets_tasks_that_were_paid_for(
    few: list[Path], tmp_path: Path
) -> None:
    """A negative control: `WAL` and `synchronous = NORMAL`."""
    with (
        power(tmp_path, "careless ledger") as disks,
        disks.plugged_in(state_apart=False),
        emulated(tmp_path / "service", rules=FORGETS, pool=HeldPool()) as emulator,
    ):
        scene = _scene(disks, emulator, few)
        told = _told_when_killed(scene, len(few))
        disks.cut()
        forgotten = told.forgotten(scene.folder, scene.output)
    assert any(said.startswith("task ") for said in forgotten)


def test_without_syncs_of_folders_a_record_that_was_announced_is_gone(
    few: list[Path], tmp_path: Path
) -> None:
    """A negative control. With the ledger on the same disk its syncs bring the names there too."""
    with (
        power(tmp_path, "careless folders") as disks,
        disks.plugged_in(state_apart=True),
        emulated(tmp_path / "service", rules=FORGETS) as emulator,
    ):
        scene = _scene(disks, emulator, few)
        told = Told()
        ended = scene.run()
        assert ended.code == 0
        told.hear(ended.err)
        disks.cut()
        forgotten = told.forgotten(scene.folder, scene.output)
    assert f"record {told.record}" in forgotten


@pytest.mark.parametrize("state_apart", [False, True])
def test_the_cuts_of_both_controls_take_nothing_from_the_real_thing(
    disks: Disks, few: list[Path], tmp_path: Path, state_apart: bool
) -> None:
    pool = HeldPool()
    with (
        disks.plugged_in(state_apart=state_apart),
        emulated(tmp_path / "service", rules=FORGETS, pool=pool) as emulator,
    ):
        scene = _scene(disks, emulator, few)
        told = _told_when_killed(scene, len(few))
        disks.cut()
        assert _lost(scene, told) == []
        pool.release()
        ended = scene.run()
        assert ended.code == 0, ended
        told.hear(ended.err)
        disks.cut()
        assert told.record
        assert _lost(scene, told) == []


def _lost(scene: Scene, told: Told) -> list[str]:
    """What the disks lack after a cut, or have damaged."""
    return [
        *told.forgotten(scene.folder, scene.output),
        *without_a_trace(scene.emulator, scene.folder, scene.output),
        *oracle.unreadable(scene.folder, scene.output),
    ]


def _wrong(scene: Scene, wanted: dict[str, bytes]) -> list[str]:
    """What is not as it must be at the end."""
    problems = [*filter(_matters, scene.problems(wanted=wanted))]
    tasks = len(scene.emulator.tasks())
    return problems if tasks == len(scene.videos) else [*problems, f"{tasks} tasks in all"]


def _matters(problem: str) -> bool:
    """A run killed while it writes its report leaves what it had of it, in the folder of reports."""
    return not (problem.startswith("a temporary file: ") and Path(problem).parent.name == "runs")


def _count_steps(disks: Disks, folder: Path, films: list[Path]) -> int:
    """How many steps a run has that nothing happens to."""
    with disks.plugged_in(state_apart=False), emulated(folder, rules=FORGETS) as emulator:
        scene = _scene(disks, emulator, films)
        ended = scene.run(bent=Bent(steps_to=str(disks.scene / "steps")))
        assert ended.code == 0, ended
        return len((scene.folder / "steps").read_text(encoding="utf-8").splitlines())


def _scene(disks: Disks, emulator: Emulator, films: list[Path]) -> Scene:
    scene = set_scene(
        disks.scene_seen,
        disks.launcher,
        emulator,
        films,
        settle_s=SOON_S,
        seen_as=disks.scene,
    )
    disks.settle()
    return scene


def _told_when_killed(scene: Scene, count: int) -> Told:
    """What a run had said when all of its tasks were made, and none was ready."""
    number = scene.start()
    scene.emulator.await_tasks(count)
    # The service has all; the run says so of the last one within moments, or not at all.
    told = Told()
    told.hear(scene.launcher.kill(number).err)
    assert told.tasks
    return told
