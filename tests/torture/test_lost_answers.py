"""Every way in which the answer to a create is lost, before and after the service made the task."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from batchembed.engine.faults.plan import HiddenInListing
from tests.support import oracle
from tests.support.canary import presigned
from tests.support.emulator import HOWS, Emulator, Loss, emulated
from tests.support.killing import Launcher
from tests.support.serving import films_at
from tests.support.steps import Bent
from tests.torture.scene import FORGETS, LONG, SETTLE_S, SOON_S, Scene, set_scene

pytestmark = pytest.mark.torture

#: A create that hangs is given up soon.
_IMPATIENT = Bent(create_timeout_s=1.0)
_GONE = Loss(how="drop", when="after")
_LOSSES = [Loss(how=how, when=when) for how in HOWS for when in ("before", "after")]
_MATRIX = [[loss] for loss in _LOSSES] if LONG else [_LOSSES]


def _named(losses: list[Loss]) -> str:
    return f"{losses[0].how}-{losses[0].when}" if len(losses) == 1 else "all"


@pytest.mark.parametrize("losses", _MATRIX, ids=_named)
def test_a_lost_answer_to_an_upload_costs_nothing(
    films: list[Path], launcher: Launcher, tmp_path: Path, losses: list[Loss]
) -> None:
    few = films[: len(losses) + 2]
    with emulated(tmp_path / "service", rules=FORGETS, losses=losses) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, few, settle_s=SOON_S)
        scene.until_done(bent=_IMPATIENT, most=3)
        _require_all_is_well(scene, few)
        assert not emulator.losses


@pytest.mark.parametrize("losses", _MATRIX, ids=_named)
def test_a_lost_answer_to_a_url_costs_nothing(
    films: list[Path], launcher: Launcher, tmp_path: Path, losses: list[Loss]
) -> None:
    few = films[: len(losses) + 2]
    with (
        films_at(films[0].parent, threading.Event()) as address,
        emulated(tmp_path / "service", rules=FORGETS, losses=losses, fetches=True) as emulator,
    ):
        urls = [presigned(f"{address}/{film.name}") for film in few]
        scene = set_scene(tmp_path / "scene", launcher, emulator, urls=urls, settle_s=SOON_S)
        scene.until_done(bent=_IMPATIENT, most=3)
        assert scene.runs[-1].code == 0, scene.runs
        assert oracle.bad_endings(scene.runs) == []
        assert emulator.paid() == dict.fromkeys(urls, 1)
        by_id = {url.partition("?")[0]: film for url, film in zip(urls, few, strict=True)}
        assert oracle.wrong_rows(scene.output, by_id) == []
        assert not emulator.losses


def test_a_client_that_forgets_its_intents_pays_twice_for_a_lost_answer(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    """The negative control."""
    with emulated(tmp_path / "service", rules=FORGETS, losses=[_GONE]) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, films[:2])
        scene.until_done(bent=Bent(forgetful=True), most=3)
        assert sorted(emulator.paid().values()) == [1, 2]


def test_among_foreign_tasks_each_video_finds_its_own(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    """The pages shift while they are read, and the foreign names are as like ours as they can be."""
    few = films[:6]
    losses = [_GONE for _ in few]

    def shift(emulator: Emulator) -> None:
        emulator.add_foreign(7, filename=lambda number: f"bb1-aaaaaaaa-{number:016x}-1.mp4")

    with emulated(tmp_path / "service", rules=FORGETS, losses=losses, on_list=shift) as emulator:
        emulator.add_foreign(5000 if LONG else 500, filename=lambda number: f"{number}.mp4")
        scene = set_scene(tmp_path / "scene", launcher, emulator, few, settle_s=SOON_S)
        scene.until_done(most=3)
        _require_all_is_well(scene, few)


def test_a_task_that_is_listed_late_but_within_settle_is_not_made_again(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    few = films[:4]
    rules = (*FORGETS, HiddenInListing(for_s=SETTLE_S / 2))
    losses = [_GONE for _ in few]
    with emulated(tmp_path / "service", rules=rules, losses=losses) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, few)
        scene.until_done(most=3)
        _require_all_is_well(scene, few)


def test_where_names_are_hidden_while_a_task_is_processing_nothing_is_guessed(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    few = films[:4]
    rules = (*FORGETS, HiddenInListing(for_s=1.0, metadata=True))
    losses = [_GONE for _ in few]
    with emulated(tmp_path / "service", rules=rules, losses=losses) as emulator:
        emulator.add_foreign(30)
        scene = set_scene(tmp_path / "scene", launcher, emulator, few, settle_s=SOON_S)
        scene.until_done(most=20)
        _require_all_is_well(scene, few)


def test_a_task_of_the_same_url_that_is_older_or_asks_for_something_else_is_not_taken(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    with (
        films_at(films[0].parent, threading.Event()) as address,
        emulated(tmp_path / "service", rules=FORGETS, losses=[_GONE], fetches=True) as emulator,
    ):
        url = f"{address}/{films[0].name}"
        emulator.add_foreign(3, url=url, ago_s=7200)
        emulator.add_foreign(3, url=url, clip_length=4.0)
        foreign = {task.task_id for task in emulator.tasks()}
        scene = set_scene(tmp_path / "scene", launcher, emulator, urls=[url], settle_s=SOON_S)
        scene.until_done(most=3)
        assert scene.runs[-1].code == 0, scene.runs
        ((_, task_id),) = oracle.states(scene.folder).values()
        assert task_id not in foreign
        assert len(emulator.tasks()) == len(foreign) + 1


def test_of_two_tasks_that_may_each_be_ours_none_is_taken_and_nothing_is_paid_again(
    films: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    """Somebody else asks the account for the same at the same time: a person has to say."""
    with (
        films_at(films[0].parent, threading.Event()) as address,
        emulated(tmp_path / "service", rules=FORGETS, losses=[_GONE], fetches=True) as emulator,
    ):
        url = f"{address}/{films[0].name}"
        emulator.add_foreign(1, url=url)
        scene = set_scene(tmp_path / "scene", launcher, emulator, urls=[url], settle_s=SOON_S)
        for ended in (scene.run(), scene.run()):
            assert ended.code == 75, ended
            assert all(task.task_id in ended.out for task in emulator.tasks())
        assert [state for state, _ in oracle.states(scene.folder).values()] == ["unknown"]
        assert len(emulator.tasks()) == 2


def _require_all_is_well(scene: Scene, films: list[Path]) -> None:
    assert scene.runs[-1].code == 0, scene.runs
    assert oracle.bad_endings(scene.runs) == []
    assert oracle.unpaid_or_twice(scene.emulator, scene.output, films) == []
    assert oracle.wrong_rows(scene.output, {f"v/{film.name}": film for film in films}) == []
    assert oracle.damage(scene.folder, scene.output, len(films)) == []
    # Each job has the task of its own content.
    tasks = {task.task_id: task for task in scene.emulator.tasks()}
    for key, (_, task_id) in oracle.states(scene.folder).items():
        assert key[:16] in (tasks[task_id or ""].input_filename or "")
