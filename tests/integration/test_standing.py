"""What is told as committed is in the dataset, under what the manifest asks now."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from batchembed.cli.main import main
from batchembed.core.outcome import Outcome
from batchembed.errors import ExitCode
from batchembed.runner.listen import Moved
from tests.support.engines import InstantPool
from tests.support.media import make_video
from tests.support.runs import Bench

VIDEOS = "  - {video_file: v/a.mp4, id: a}\n  - {video_file: v/b.mp4, id: b}\n"
OTHERWISE = "defaults: {video_clip_length: 4}\n"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for seed, name in enumerate("ab"):
        make_video(folder / f"{name}.mp4", seconds=9.0, audio=True, seed=seed, fps=5)
    return folder


@pytest.fixture
def bench(films: Path, tmp_path: Path) -> Bench:
    """Two videos, committed as the manifest says, and otherwise since."""
    shutil.copytree(films, tmp_path / "v")
    bench = Bench(folder=tmp_path)
    bench.write(VIDEOS)
    bench.run()
    bench.write(VIDEOS, more=OTHERWISE)
    assert bench.run().exit_code is ExitCode.OK
    bench.write(VIDEOS)
    return bench


def told(bench: Bench, capsys: pytest.CaptureFixture[str], verb: str, *more: str) -> Any:
    assert main([verb, str(bench.manifest), *more, "--format", "json"]) == ExitCode.OK
    return json.loads(capsys.readouterr().out)


def test_an_edit_that_is_taken_back_is_work_for_the_next_run(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    status = told(bench, capsys, "status")
    assert (status["counts"], status["next"]) == ({"pending": 2}, {"collect": 2})
    assert told(bench, capsys, "plan")["counts"] == {"collect": 2}
    assert told(bench, capsys, "show", "a")["next"] == "collect"
    paid = bench.run()
    assert (paid.exit_code, paid.submitted) == (ExitCode.OK, 0)
    assert told(bench, capsys, "status")["next"] == {"nothing": 2}


def test_a_run_of_others_does_not_say_that_all_is_committed(bench: Bench) -> None:
    report = bench.run(only=["a"])
    assert report.exit_code is ExitCode.AGAIN
    assert {each.video.video_id: each.outcome for each in report.videos} == {
        "a": Outcome.COMMITTED,
        "b": Outcome.PENDING,
    }
    assert isinstance(bench.pool, InstantPool)
    assert (bench.run().exit_code, len(bench.pool.embedded)) == (ExitCode.OK, 4)


def test_a_part_that_is_gone_is_work_for_the_next_run(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.run()
    lost = next(path for path in bench.parts() if "=audio" in path)
    (bench.output / lost).unlink()
    assert told(bench, capsys, "status")["next"] == {"collect": 2}
    assert told(bench, capsys, "plan")["counts"] == {"collect": 2}
    assert bench.run().exit_code is ExitCode.OK
    assert told(bench, capsys, "status")["next"] == {"nothing": 2}


def test_options_that_are_not_in_the_dataset_are_work_for_the_next_run(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where they are staged still, they are but published."""
    bench.write(VIDEOS, more="defaults: {embedding_option: [audio]}\n")
    assert bench.run().exit_code is ExitCode.OK
    bench.write(VIDEOS)
    for staged in bench.folder.glob(".batchembed/*/staging/*.arrow"):
        staged.unlink()
    assert told(bench, capsys, "plan")["counts"] == {"collect": 2}
    assert bench.run().exit_code is ExitCode.OK
    assert told(bench, capsys, "plan")["counts"] == {"nothing": 2}


def test_a_plan_says_what_is_dropped_and_whom_a_run_is_asked_for(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.run()
    bench.write(VIDEOS.splitlines(keepends=True)[0])
    kept = told(bench, capsys, "status")["kept"]
    assert kept == [{"video_id": "b", "rows": 4}]
    assert told(bench, capsys, "plan")["counts"] == {"nothing": 1}
    dropping = ("--set", "on_removed=drop")
    planned = told(bench, capsys, "plan", *dropping)
    assert planned["counts"] == {"nothing": 1, "drop": 1}
    assert planned["videos"][-1]["why"] == "its 4 rows go: on_removed: drop"
    status = told(bench, capsys, "status", *dropping)
    assert (status["kept"], status["dropped"]) == ([], kept)
    assert status["next"] == {"nothing": 1, "drop": 1}
    assert bench.run(overrides=["on_removed=drop"]).rows == 4

    bench.write(
        VIDEOS + "  - {video_file: v/a.mp4, id: c, video_start_offset_sec: 0, "
        "video_end_offset_sec: 8}\n"
    )
    assert told(bench, capsys, "plan", "--only", "[bc]", "--limit", "0")["counts"] == {
        "collect": 1,
        "hold_back": 1,
    }


def test_rows_of_a_video_that_is_skipped_go_as_a_plan_says(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.run()
    first, second = VIDEOS.splitlines(keepends=True)
    bench.write(first + second.replace("}", ", skip: faces}"))
    rows = [{"video_id": "b", "rows": 4}]
    assert told(bench, capsys, "status")["kept"] == rows
    dropping = ("--set", "on_removed=drop")
    assert told(bench, capsys, "status", *dropping)["dropped"] == rows
    assert told(bench, capsys, "plan", *dropping)["counts"] == {"nothing": 1, "skip": 1, "drop": 1}
    assert bench.run(overrides=["on_removed=drop"]).rows == 4


def test_rows_of_a_video_that_can_not_be_read_stay_as_status_says(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.run()
    (bench.folder / "v" / "b.mp4").unlink()
    dropping = ("--set", "on_removed=drop")
    status = told(bench, capsys, "status", *dropping)
    assert (status["kept"], status["dropped"]) == ([{"video_id": "b", "rows": 4}], [])
    assert told(bench, capsys, "plan", *dropping)["counts"] == {"nothing": 1, "reject": 1}
    assert bench.run(overrides=["on_removed=drop"]).rows == 8


def test_status_says_what_a_budget_holds_back(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = ("--set", "defaults.video_clip_length=5")
    assert told(bench, capsys, "status", *edited)["next"] == {"submit": 2}
    status = told(bench, capsys, "status", *edited, "--set", "budget.video_minutes=0.01")
    assert status["next"] == {"hold_back": 2}
    assert {line["why"] for line in status["videos"]} == {"it would go beyond the budget"}


def test_a_plan_refuses_what_a_run_refuses_and_makes_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*more: str) -> str:
        assert main(["plan", str(bench.manifest), *more]) == ExitCode.CANT_CREATE
        return capsys.readouterr().err

    assert "is no dataset of batchembed" in refused("--set", "output.path=v")
    assert "is a file" in refused("--set", "output.path=v/a.mp4")
    assert main(["plan", str(bench.manifest), "--set", "output.path=new"]) == ExitCode.OK
    assert not (bench.folder / "new").exists()
    text = bench.manifest.read_text(encoding="utf-8")
    bench.manifest.write_text(text.replace("engine: local", "engine: twelvelabs"))
    assert "holds embeddings of local-v1" in refused()


def test_rows_that_wait_for_their_video_to_be_named_again_are_told(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    otherwise = "defaults: {video_clip_length: 5}\n"
    both, alone = VIDEOS, VIDEOS.splitlines(keepends=True)[1]
    bench.write(both, more=otherwise)
    created = bench.run(
        only=["a"], stop_when=lambda event: isinstance(event, Moved) and event.task_id is not None
    )
    assert (created.exit_code, created.submitted) == (ExitCode.AGAIN, 1)
    bench.write(alone, more=otherwise)
    (warning,) = bench.run().warnings
    assert "name the videos again to publish them" in warning
    (other,) = told(bench, capsys, "status")["others"]
    assert (other["video_id"], other["state"]) == ("a", "staged")
    assert main(["status", str(bench.manifest)]) == ExitCode.OK
    assert "name the video again to publish them" in capsys.readouterr().out
    bench.write(both, more=otherwise)
    report = bench.run()
    assert (report.exit_code, report.submitted) == (ExitCode.OK, 0)


def test_what_waits_for_a_record_is_not_told_as_committed(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options that were left out are staged still; a run of one video shows its own alone."""
    bench.write(VIDEOS, more="defaults: {embedding_option: [audio]}\n")
    bench.run()
    bench.write(VIDEOS)
    report = bench.run(only=["a"])
    assert report.exit_code is ExitCode.AGAIN
    assert {each.video.video_id: each.rows for each in report.videos} == {"a": 4, "b": 0}
    assert told(bench, capsys, "status")["next"] == {"nothing": 1, "publish": 1}
    assert bench.run().exit_code is ExitCode.OK
    assert told(bench, capsys, "status")["next"] == {"nothing": 2}
