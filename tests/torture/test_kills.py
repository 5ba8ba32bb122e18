"""Kills at random moments against a service with faults: nothing paid twice, no row lost."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from batchembed.engine.faults.plan import HiddenInListing
from tests.support import oracle
from tests.support.emulator import emulated
from tests.support.killing import Launcher
from tests.support.steps import Bent
from tests.torture.scene import (
    FAULTS,
    FORGETS,
    KILLS,
    LAG_S,
    SETTLE_S,
    SOON_S,
    Scene,
    moments,
    set_scene,
)

pytestmark = pytest.mark.torture

_KILLS = KILLS or 25
#: A lost answer is the likelier, the more creates are on their way.
_LOSES_MOST = "concurrency: {uploads: 8}\n"


@pytest.mark.parametrize("seed", [7])
def test_killed_at_random_moments_a_run_is_gone_on_with(
    films: list[Path],
    undisturbed: dict[str, bytes],
    launcher: Launcher,
    tmp_path: Path,
    seed: int,
) -> None:
    """The kills fall into recoveries too: every run after the first is one."""
    drawn = random.Random(seed)  # noqa: S311  nothing to guess
    kills = datasets = 0
    longest_s = 3.0
    while kills < _KILLS:
        # A service of its own for each dataset: one that hides tasks reads its table for each page.
        folder = tmp_path / str(datasets)
        with emulated(folder / "service", rules=FAULTS, seed=seed + datasets) as emulator:
            scene = set_scene(folder / "scene", launcher, emulator, films)
            when = moments(drawn, longest_s=longest_s, count=min(25, _KILLS - kills))
            kills += scene.killed_until_done(when)
            scene.until_done()
            assert scene.problems(wanted=undisturbed) == []
            assert emulator.faults
        longest_s = min(8.0, max(run.wall_s for run in scene.runs))
        datasets += 1


def test_the_installed_command_is_gone_on_with_too(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    few = films[:8]
    with emulated(tmp_path / "plain") as emulator:
        wanted = _parts(set_scene(tmp_path / "undisturbed", launcher, emulator, few))
    with emulated(tmp_path / "service", rules=FAULTS) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, few)
        for moment in (1.1, 1.5):
            scene.run(signals=[(moment, signal.SIGKILL)], installed=True)
        scene.until_done(installed=True)
        assert scene.problems(wanted=wanted) == []


def test_a_client_that_forgets_its_intents_pays_twice(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    """The negative control: without reconciling, the same kills cost money."""
    drawn = random.Random(7)  # noqa: S311  nothing to guess
    with emulated(tmp_path / "service", rules=FAULTS) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, films, more=_LOSES_MOST)
        for number in range(_KILLS):
            moment = drawn.uniform(0.2, 1 + number / 2)
            scene.run(signals=[(moment, signal.SIGKILL)], bent=Bent(forgetful=True))
            if emulator.tasks() and _paid_twice(scene):
                return
        pytest.fail(f"{_KILLS} kills, and a naive client paid nothing twice")


def test_a_listing_that_lags_longer_than_settle_pays_twice_and_nothing_false_is_said(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    """The promise has this limit: where no other task shows that the listing lags."""
    few, uploads, key = films[:1], 1, "tlk_afterwards"
    hidden = HiddenInListing(for_s=3600.0)
    with emulated(tmp_path / "service", rules=(*FORGETS, hidden)) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, few, settle_s=SOON_S)
        scene.run(bent=Bent(die_on="after a create"))
        last = scene.run(key=key)
        assert 0 < _paid_twice(scene) <= uploads
        # The dataset is right all the same, and the run tells what it knows: what it made itself.
        assert last.code == 0, last
        assert oracle.damage(scene.folder, scene.output, len(few)) == []
        assert oracle.wrong_rows(scene.output, {f"v/{film.name}": film for film in few}) == []
        made = sum(asked.creates and asked.who == key for asked in emulator.asked)
        assert _submitted(last.out) == made


def test_a_listing_that_lags_behind_other_tasks_leaves_a_doubt_open(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    """What this run makes is not listed after the settle time either: so nothing is absent."""
    few = films[:6]
    hidden = HiddenInListing(for_s=3600.0)
    with emulated(tmp_path / "service", rules=(*FORGETS, hidden)) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, few, settle_s=SOON_S)
        scene.run(bent=Bent(die_on="after a create"))
        last = scene.run()
        assert _paid_twice(scene) == 0
        assert last.code == 75, last
        assert "lacks task" in last.out


def test_a_lag_within_settle_is_what_the_faults_have() -> None:
    assert LAG_S < SETTLE_S


def _parts(scene: Scene) -> dict[str, bytes]:
    assert scene.run().code == 0
    return oracle.parts(scene.output)


def _paid_twice(scene: Scene) -> int:
    """Tasks beyond the first of each video."""
    paid = scene.emulator.paid(marked=oracle.marker(scene.output))
    return sum(count - 1 for count in paid.values())


def _submitted(out: str) -> int:
    """How many tasks a run says that it created."""
    (line,) = (line for line in out.splitlines() if line.startswith("submitted "))
    return int(line.split()[1])
