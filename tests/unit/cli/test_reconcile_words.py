"""`reconcile --adopt` and `--forget`: what a person says is checked first, then done, then the rest."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchembed.cli.main import main
from batchembed.core.keys import upload_name
from batchembed.core.model import JobKey
from batchembed.core.states import Entry, State
from batchembed.engine.faults.plan import Refused
from tests.support.emulator import Emulator, emulated
from tests.unit.cli.prepared import Prepared

DATASET = "d" * 32
ENV = {"TWELVELABS_API_KEY": "tlk"}


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    """A service that has tasks, and no listing now."""
    with emulated(tmp_path / "service", rules=[Refused(on=("list",), status=418)]) as made:
        yield made


def in_doubt(folder: Path, base_url: str, *names: str) -> Prepared:
    """A dataset of which the creates of these videos got no answer."""
    engine = f"{{kind: twelvelabs, base_url: '{base_url}'}}"
    left = Prepared(folder=folder, videos=names, engine=engine)
    for name in names:
        left.carry(name, State.SUBMITTING, State.UNKNOWN, at=time.time())
    return left


def entry(left: Prepared, name: str) -> Entry:
    key = left.job_key(name)
    with left.open_ledger() as ledger:
        return ledger.entries()[key]


def upload(emulator: Emulator, name: str) -> str:
    """The id of a task that was made of an upload of this name."""
    emulator.add_foreign(1, filename=lambda _: name)
    return next(task.task_id for task in emulator.tasks() if task.input_filename == name)


def reconcile(left: Prepared, *words: str) -> int:
    return main(["reconcile", str(left.manifest), *words], env=ENV)


def test_a_task_that_the_service_does_not_have_is_not_adopted(
    tmp_path: Path, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    left = in_doubt(tmp_path, emulator.base_url, "a", "b")
    before = entry(left, "a"), entry(left, "b")

    assert reconcile(left, "--forget", "b", "--adopt", "a=deadbeef") == 2

    assert "the service has no task deadbeef" in capsys.readouterr().err
    assert (entry(left, "a"), entry(left, "b")) == before


@pytest.mark.parametrize(
    ("key", "whose"),
    [(None, "that of 'b'"), (JobKey("e" * 64), "that of a job that this dataset does not know")],
    ids=["of another video", "of nobody that is known"],
)
def test_a_task_whose_name_says_that_it_is_anothers_is_not_adopted(
    tmp_path: Path,
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
    key: JobKey | None,
    whose: str,
) -> None:
    left = in_doubt(tmp_path, emulator.base_url, "a", "b")
    before = entry(left, "a")
    task = upload(emulator, upload_name(DATASET, key or left.job_key("b"), 1, ".mp4"))

    assert reconcile(left, "--adopt", f"a={task}") == 2

    assert f"task {task} is {whose}" in capsys.readouterr().err
    assert entry(left, "a") == before


def test_two_tasks_for_one_video_are_refused(
    tmp_path: Path, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    left = in_doubt(tmp_path, emulator.base_url, "a")

    assert reconcile(left, "--adopt", "a=t1", "--adopt", "a=t2") == 2

    assert "--adopt names two tasks for 'a', t1 and t2" in capsys.readouterr().err


@pytest.mark.parametrize("marked", [True, False], ids=["its own", "any other"])
def test_a_task_of_its_own_or_of_no_marker_is_adopted(
    tmp_path: Path, emulator: Emulator, marked: bool
) -> None:
    left = in_doubt(tmp_path, emulator.base_url, "a")
    own = upload_name(DATASET, left.job_key("a"), 1, ".mp4")
    task = upload(emulator, own if marked else "holiday.mp4")

    assert reconcile(left, "--adopt", f"a={task}") == 0

    assert (entry(left, "a").state, entry(left, "a").task_id) == (State.PROCESSING, task)


def test_what_a_person_says_is_done_and_told_where_the_others_can_not_be_looked_for(
    tmp_path: Path, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    left = in_doubt(tmp_path, emulator.base_url, "a", "b")

    assert reconcile(left, "--forget", "a") == 69

    told = capsys.readouterr()
    assert "a: no task was made: the next run sends it again" in told.out
    assert "b: it can't be looked for now: " in told.out
    assert "reconcile: 2 creates were in doubt, 1 still are" in told.out
    assert "batchembed: " in told.err
    assert "418" in told.err
    assert [entry(left, name).state for name in "ab"] == [State.PLANNED, State.UNKNOWN]


def test_in_json_the_error_stands_beside_what_was_done(
    tmp_path: Path, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    left = in_doubt(tmp_path, emulator.base_url, "a", "b")

    assert reconcile(left, "--forget", "a", "--format", "json") == 69

    told = json.loads(capsys.readouterr().out)
    assert [video["state"] for video in told["videos"]] == ["planned", "unknown"]
    assert told["error"]["exit_code"] == 69
    assert "418" in told["error"]["message"]


def test_without_a_dataset_nothing_is_in_doubt_and_nothing_to_be_said_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "version: 1\nengine: twelvelabs\nvideos: [{video_url: 'https://e.com/a.mp4', id: a}]\n"
        "output: {path: out}\n",
        encoding="utf-8",
    )
    told = f"there is no dataset in {tmp_path / 'out'}, and so nothing in doubt"

    assert main(["reconcile", str(manifest)], env=ENV) == 0
    assert capsys.readouterr().out == f"reconcile: {told}\n"
    for words in (("--adopt", "a=t1"), ("--forget", "a")):
        assert main(["reconcile", str(manifest), *words], env=ENV) == 2
        assert told in capsys.readouterr().err
