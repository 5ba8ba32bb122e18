"""However a dataset came to be, its parts have the same bytes: `diff -r` finds nothing."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchembed.engine.faults.plan import TooManyRequests
from tests.support.emulator import Emulator, emulated
from tests.support.killing import Launcher
from tests.torture.scene import FORGETS, SOON_S, Scene, moments, set_scene

pytestmark = pytest.mark.torture

_VIDEOS = re.compile(r"^videos:\n.*", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def sixty(films: list[Path]) -> list[Path]:
    return films[:60]


@pytest.fixture(scope="module")
def fresh(sixty: list[Path], launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of one run to which nothing happens."""
    folder = tmp_path_factory.mktemp("fresh")
    with emulated(folder / "service") as emulator:
        scene = set_scene(folder / "scene", launcher, emulator, sixty)
        assert scene.run().code == 0
    return scene.output


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with emulated(tmp_path / "service", rules=FORGETS) as running:
        yield running


def _differences(one: Path, other: Path) -> str:
    """What `diff -r` says of the parts of two datasets."""
    command = ["diff", "-r", "--exclude=_batchembed", str(one), str(other)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


def _edit(scene: Scene, videos: str, *, more: str = "") -> None:
    """Give the manifest another list of videos."""
    manifest = scene.folder / "m.yaml"
    text = _VIDEOS.sub(f"{more}videos:\n{videos}\n", manifest.read_text(encoding="utf-8"))
    manifest.write_text(text, encoding="utf-8")


def test_an_interrupted_build_has_the_parts_of_a_fresh_one(
    sixty: list[Path], fresh: Path, emulator: Emulator, launcher: Launcher, tmp_path: Path
) -> None:
    drawn = random.Random(3)  # noqa: S311  nothing to guess
    scene = set_scene(tmp_path / "scene", launcher, emulator, sixty, settle_s=SOON_S)
    assert scene.killed_until_done(moments(drawn, longest_s=2.0, count=8))
    assert scene.until_done().code == 0
    assert _differences(fresh, scene.output) == ""


def test_a_parked_build_has_the_parts_of_a_fresh_one(
    sixty: list[Path], fresh: Path, launcher: Launcher, tmp_path: Path
) -> None:
    """The service asks for more patience than the manifest has, again and again."""
    limits = (*FORGETS, TooManyRequests(on=("create",), every=20, retry_after_s=0.3))
    patience = "quota: {max_inline_wait_s: 0.1}\n"
    with emulated(tmp_path / "service", rules=limits) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, sixty, more=patience)
        # It comes back at once each time, also before it was told to.
        assert scene.until_done(most=300).code == 0
        assert [run.code for run in scene.runs].count(75) >= 2
    assert _differences(fresh, scene.output) == ""


def test_an_edited_build_has_the_parts_of_a_fresh_one(
    sixty: list[Path], fresh: Path, emulator: Emulator, launcher: Launcher, tmp_path: Path
) -> None:
    """Videos come, go, change their places and their content; the last manifest is that of the fresh build."""
    scene = set_scene(tmp_path / "scene", launcher, emulator, sixty, settle_s=SOON_S)
    last = (scene.folder / "m.yaml").read_text(encoding="utf-8")
    first, second = scene.videos[:2]
    _edit(scene, "- {glob: v/*.mp4, exclude: [v/02*.mp4, v/04*.mp4]}")
    assert scene.run().code == 0
    _edit(scene, "\n".join(f"- {{video_file: v/{film.name}}}" for film in scene.videos[::-1]))
    assert scene.run().code == 0
    first.rename(first.with_suffix(".away"))
    shutil.copy(first.with_suffix(".away"), second)
    _edit(
        scene,
        "- {glob: v/*.mp4, embedding_option: [visual-text], metadata: {place: here}}",
        more="on_removed: drop\n",
    )
    assert scene.run().code == 0
    assert _differences(fresh, scene.output) != ""
    first.with_suffix(".away").rename(first)
    shutil.copy(sixty[1], second)
    (scene.folder / "m.yaml").write_text(last, encoding="utf-8")
    assert scene.until_done(most=2).code == 0
    assert _differences(fresh, scene.output) == ""
    assert set(emulator.paid().values()) == {1}
