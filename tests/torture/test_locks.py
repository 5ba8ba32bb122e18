"""Many runs begun at once, and runs that are told to stop."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.support.emulator import HeldPool, emulated
from tests.support.killing import Launcher
from tests.torture.scene import FAULTS, FORGETS, LONG, reference, set_scene

pytestmark = pytest.mark.torture

_STARTS = 50


def test_of_fifty_runs_begun_at_once_one_runs_and_the_others_ask_for_nothing(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    few, pool = films[:3], HeldPool()
    wanted = reference(few, launcher, tmp_path / "undisturbed")
    with emulated(tmp_path / "service", rules=FORGETS, pool=pool) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, few)
        # Each has a key of its own, by which the service's log tells them apart.
        keys = {scene.start(key=f"tlk_start_{at}"): f"tlk_start_{at}" for at in range(_STARTS)}
        refused = [launcher.wait() for _ in range(_STARTS - 1)]
        skipping = scene.run("--if-locked", "skip", key="tlk_skips")
        pool.release()
        owner = launcher.wait()

        assert {run.code for run in refused} == {75}
        assert all("another run holds this output" in run.err for run in refused)
        assert skipping.code == 0, skipping
        assert {asked.who for asked in emulator.asked} == {keys[owner.number]}
        scene.runs.append(owner)
        assert scene.problems(wanted=wanted) == []


def test_when_the_owner_is_killed_the_next_start_works_at_once(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    few, pool = films[:3], HeldPool()
    wanted = reference(few, launcher, tmp_path / "undisturbed")
    with emulated(tmp_path / "service", rules=FORGETS, pool=pool) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, few)
        owner = scene.start()
        emulator.await_tasks(len(few))
        assert launcher.kill(owner).killed
        pool.release()
        assert scene.run().code == 0
        assert scene.problems(wanted=wanted) == []


def test_told_to_stop_at_any_moment_a_run_drains_and_the_next_goes_on(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    """A second signal, in every other run, ends it at once. Either way nothing is lost or doubled."""
    few, drawn = films[:12], random.Random(5)  # noqa: S311  nothing to guess
    wanted = reference(few, launcher, tmp_path / "undisturbed")
    with emulated(tmp_path / "service", rules=FAULTS) as emulator:
        for number in range(40 if LONG else 3):
            scene = set_scene(tmp_path / f"scene{number}", launcher, emulator, few)
            for again in range(2):
                moment = drawn.uniform(0.3, 1.5)
                twice = [(moment + drawn.uniform(0, 0.1), signal.SIGTERM)] if again else []
                scene.run(signals=[(moment, signal.SIGTERM), *twice])
            scene.until_done()
            assert scene.problems(wanted=wanted, also=[143, -signal.SIGTERM]) == []
