"""The state folder is gone, as on another machine: the dataset's record and the service know the rest."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from batchembed.dataset.read import open_dataset
from tests.support import oracle
from tests.support.emulator import Emulator, HeldPool, Loss, emulated
from tests.support.killing import Launcher
from tests.support.serving import films_at
from tests.support.steps import Bent
from tests.torture.scene import FORGETS, SOON_S, Scene, environment, set_scene

pytestmark = pytest.mark.torture

_GONE = Loss(how="drop", when="after")


def lose_state(scene: Scene) -> None:
    shutil.rmtree(scene.folder / ".batchembed")


def status(scene: Scene) -> dict[str, object]:
    number = scene.launcher.start(
        ("status", "m.yaml", "--format", "json"),
        folder=scene.folder,
        env=environment(),
        limit_s=60.0,
    )
    told: dict[str, object] = json.loads(scene.launcher.wait(number).out)
    return told


def creates(emulator: Emulator) -> int:
    return sum(asked.creates for asked in emulator.asked)


def files(output: Path) -> dict[str, bytes]:
    """Everything that a record names, and the records."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def test_a_finished_dataset_is_taken_as_it_is(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    few = films[:6]
    with emulated(tmp_path / "service", rules=FORGETS) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, few, settle_s=SOON_S)
        assert scene.run().code == 0
        before, paid = files(scene.output), creates(emulator)
        lose_state(scene)
        told = status(scene)

        again = scene.run()

        assert (again.code, creates(emulator)) == (0, paid)
        assert files(scene.output) == before
        assert "6 jobs are taken from its record" in str(told["warnings"])
        assert "no ledger of this dataset was found" in again.err + again.out
        assert status(scene)["counts"] == {"committed": 6}
        assert oracle.damage(scene.folder, scene.output, 6) == []


@pytest.mark.parametrize("losses", [[], [_GONE] * 3], ids=["answered", "three lost"])
def test_what_is_in_flight_is_adopted_by_its_marker(
    films: list[Path], launcher: Launcher, tmp_path: Path, losses: Sequence[Loss]
) -> None:
    few = films[:6]
    with emulated(tmp_path / "plain") as emulator:
        reference = set_scene(tmp_path / "undisturbed", launcher, emulator, few)
        assert reference.run().code == 0
    pool = HeldPool()
    with emulated(tmp_path / "service", rules=FORGETS, pool=pool) as emulator:
        # Another dataset of the same films, whose tasks are not ours.
        foreign = set_scene(tmp_path / "foreign", launcher, emulator, few[3:], settle_s=SOON_S)
        foreign.run(bent=Bent(die_on="after a create"))
        scene = set_scene(tmp_path / "scene", launcher, emulator, few, settle_s=SOON_S)
        emulator.losses.extend(losses)
        scene.run(bent=Bent(die_on="after a create"))
        lose_state(scene)
        pool.release()

        scene.until_done(most=4)

        assert scene.problems(wanted=oracle.parts(reference.output)) == []


def test_rows_that_are_not_published_are_fetched_by_their_task(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    with_sound = [films[2], films[5]]
    with emulated(tmp_path / "service", rules=FORGETS) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, with_sound, settle_s=SOON_S)
        manifest = scene.folder / "m.yaml"
        whole = manifest.read_text(encoding="utf-8")
        narrow = whole.replace("[clip, video]}", "[clip, video], embedding_option: [visual-text]}")
        manifest.write_text(narrow, encoding="utf-8")
        assert scene.run().code == 0
        rows = open_dataset(scene.output).count_rows()
        lose_state(scene)
        manifest.write_text(whole, encoding="utf-8")

        ended = scene.run()

        assert ended.code == 0, ended.err
        assert open_dataset(scene.output).count_rows() > rows
        assert creates(emulator) == 2
        by_id = {f"v/{film.name}": film for film in with_sound}
        assert oracle.wrong_rows(scene.output, by_id) == []


def test_without_the_side_files_rows_that_nobody_has_are_told_and_not_paid_for(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    with emulated(tmp_path / "service", rules=FORGETS) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, [films[2]], settle_s=SOON_S)
        manifest = scene.folder / "m.yaml"
        whole = manifest.read_text(encoding="utf-8")
        narrow = whole.replace("[clip, video]}", "[clip, video], embedding_option: [visual-text]}")
        manifest.write_text(narrow, encoding="utf-8")
        assert scene.run().code == 0
        lose_state(scene)
        (scene.output / "_batchembed" / "tasks.jsonl").unlink()
        manifest.write_text(whole, encoding="utf-8")

        ended = scene.run()

        assert (ended.code, creates(emulator)) == (3, 1)
        assert "does not know its task any more" in ended.out


def test_the_tasks_of_urls_are_adopted(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    pool = HeldPool()
    with (
        films_at(films[0].parent, threading.Event()) as address,
        emulated(tmp_path / "service", rules=FORGETS, fetches=True, pool=pool) as emulator,
    ):
        urls = [f"{address}/{film.name}" for film in films[:3]]
        scene = set_scene(tmp_path / "scene", launcher, emulator, urls=urls, settle_s=SOON_S)
        scene.run("--max-runtime", "2")
        emulator.await_tasks(3)
        lose_state(scene)
        pool.release()

        assert scene.until_done(most=4).code == 0
        assert set(emulator.paid().values()) == {1}
