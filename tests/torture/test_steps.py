"""A kill at every numbered step of a job's way, and of the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import pytest

from tests.support.emulator import Emulator, emulated
from tests.support.killing import Launcher
from tests.support.steps import Bent
from tests.torture.scene import FORGETS, LONG, SOON_S, Scene, reference, set_scene

pytestmark = pytest.mark.torture

_EVERY = 1 if LONG else 5
#: A run may fall on a later step than the one counted: its waits differ.
_MORE_STEPS = 10
#: They wait more than they work.
_AT_ONCE = 6


@pytest.fixture(scope="module")
def three(films: list[Path]) -> list[Path]:
    return films[:3]


@pytest.fixture(scope="module")
def wanted(
    three: list[Path], launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    return reference(three, launcher, tmp_path_factory.mktemp("three"))


def test_killed_at_each_step_of_a_first_run_the_next_goes_on(
    three: list[Path], wanted: dict[str, bytes], launcher: Launcher, tmp_path: Path
) -> None:
    with emulated(tmp_path / "service", rules=FORGETS) as emulator:

        def new(name: str) -> Scene:
            return set_scene(tmp_path / name, launcher, emulator, three, settle_s=SOON_S)

        steps = _steps(new("counted"))
        last = len(steps) + _MORE_STEPS
        assert _wrong(new, range(1, last, _EVERY), wanted=wanted) == []


def test_killed_at_each_step_of_a_recovery_the_next_goes_on(
    three: list[Path], wanted: dict[str, bytes], launcher: Launcher, tmp_path: Path
) -> None:
    """The first kill falls where most is in doubt: the service has the task, the ledger does not."""
    with emulated(tmp_path / "service", rules=FORGETS) as emulator:

        def in_doubt(name: str) -> Scene:
            return _in_doubt(tmp_path / name, launcher, emulator, three)

        steps = _steps(in_doubt("counted"))
        last = len(steps) + _MORE_STEPS
        assert _wrong(in_doubt, range(1 + _EVERY // 2, last, _EVERY), wanted=wanted) == []


def test_a_client_that_forgets_its_intents_pays_twice_at_a_step(
    three: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    """The negative control, at the very step where a create is answered and not yet written down."""
    with emulated(tmp_path / "service", rules=FORGETS) as emulator:
        scene = _in_doubt(tmp_path / "naive", launcher, emulator, three)
        scene.until_done(bent=Bent(forgetful=True))
        assert any("2 tasks" in problem for problem in scene.problems(wanted={}))


def _steps(scene: Scene) -> list[str]:
    """The steps of a run that nothing happens to."""
    told = scene.folder / "steps"
    ended = scene.run(bent=Bent(steps_to=str(told)))
    assert ended.code == 0, ended
    return told.read_text(encoding="utf-8").splitlines()


def _in_doubt(folder: Path, launcher: Launcher, emulator: Emulator, films: list[Path]) -> Scene:
    """A scene whose first run was killed where a create had been answered, and nobody knew yet."""
    scene = set_scene(folder, launcher, emulator, films, settle_s=SOON_S)
    assert scene.run(bent=Bent(die_on="after a create")).killed
    return scene


def _wrong(
    new: Callable[[str], Scene], steps: Iterable[int], *, wanted: dict[str, bytes]
) -> list[tuple[int, list[str]]]:
    """The steps at which a kill did harm, and which. Some scenes are played at once."""
    wrong, left = [], iter(steps)
    while now := list(islice(left, _AT_ONCE)):
        scenes = {step: new(str(step)) for step in now}
        kills = {step: scene.start(bent=Bent(die_at=step)) for step, scene in scenes.items()}
        for step, scene in scenes.items():
            scene.ended(kills[step])
        rest = {step: scene.start() for step, scene in scenes.items()}
        for step, scene in scenes.items():
            scene.ended(rest[step])
            wrong.append((step, scene.problems(wanted=wanted)))
    return [(step, problems) for step, problems in wrong if problems]
