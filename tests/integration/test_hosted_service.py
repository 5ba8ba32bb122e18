"""A run against a service behind HTTP: the client of the hosted API, over real connections."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from batchembed.cli.main import main
from batchembed.dataset.read import open_dataset
from tests.support.engines import InstantPool, served_from_a_thread
from tests.support.media import make_video

KEY = "tlk_do_not_print_me"


def write(folder: Path, base_url: str) -> None:
    (folder / "m.yaml").write_text(
        "version: 1\n"
        f"engine: {{kind: twelvelabs, base_url: '{base_url}', api_key_env: KEY}}\n"
        "model_name: local-v1\n"
        "videos: [{glob: 'v/*.mp4'}]\n"
        "output: {path: out}\n"
        "polling: {first_wait_s: 0.05, longest_wait_s: 0.2}\n",
        encoding="utf-8",
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v").mkdir()
    for seed, name in enumerate("abc"):
        make_video(tmp_path / "v" / f"{name}.mp4", seconds=7.0, fps=5, seed=seed)
    return tmp_path


def states(report: dict[str, Any]) -> list[str | None]:
    return [video["state"] for video in report["videos"]]


def began_at(path: Path) -> str:
    return str(json.loads(path.read_bytes())["began_at"])


def test_videos_are_uploaded_and_their_segments_retrieved(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = InstantPool()
    with served_from_a_thread(tmp_path_factory.mktemp("engine"), pool) as base_url:
        write(folder, base_url)
        assert main(["run", "m.yaml", "--format", "json"], env={"KEY": KEY}) == 0
        assert states(json.loads(capsys.readouterr().out)) == ["committed"] * 3
        assert main(["run", "m.yaml"], env={"KEY": KEY}) == 0

    (first, _) = sorted((folder / ".batchembed").glob("*/runs/*.json"), key=began_at)
    assert states(json.loads(first.read_bytes())) == ["committed"] * 3
    assert len(pool.embedded) == 3
    assert open_dataset(folder / "out").count_rows() == 3
    # A marker in each upload's name, for a later look at the service's listing.
    tasks = (folder / "out" / "_batchembed" / "tasks.jsonl").read_text(encoding="utf-8")
    assert len({json.loads(line)["task_id"] for line in tasks.splitlines()}) == 3


def test_what_a_lost_state_had_spent_counts_for_plan_as_for_run(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("budget.per=dataset", "budget.video_minutes=0.35", "reconcile.settle_s=0.1")
    spent = (*(f"--set={each}" for each in settings), "--format=json")
    with served_from_a_thread(tmp_path_factory.mktemp("engine")) as base_url:
        write(folder, base_url)
        assert main(["run", "m.yaml", *spent], env={"KEY": KEY}) == 0
        shutil.rmtree(folder / ".batchembed")
        make_video(folder / "v" / "d.mp4", seconds=7.0, fps=5, seed=3)
        capsys.readouterr()

        assert main(["plan", "m.yaml", *spent]) == 0
        assert json.loads(capsys.readouterr().out)["counts"] == {"nothing": 3, "hold_back": 1}
        assert main(["run", "m.yaml", *spent], env={"KEY": KEY}) == 75
        assert json.loads(capsys.readouterr().out)["submitted"] == 0


def test_a_key_is_in_no_file_and_no_line(
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with served_from_a_thread(tmp_path_factory.mktemp("engine")) as base_url:
        write(folder, base_url)
        main(["run", "m.yaml", "--format", "json"], env={"KEY": KEY})

    told = capsys.readouterr()
    assert KEY not in told.out + told.err + caplog.text
    for path in folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_a_service_that_is_away_ends_the_run_and_loses_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with served_from_a_thread(tmp_path_factory.mktemp("engine")) as base_url:
        pass  # its port is free now
    write(folder, base_url)

    assert main(["run", "m.yaml"], env={"KEY": KEY}) == 69

    told = capsys.readouterr()
    assert "no connection" in told.out
    assert "Traceback" not in told.err
    assert "nothing is published" in told.out
    assert not list((folder / "out").rglob("000001.json"))

    with served_from_a_thread(tmp_path_factory.mktemp("engine")) as base_url:
        write(folder, base_url)
        assert main(["run", "m.yaml"], env={"KEY": KEY}) == 0


def test_a_refused_key_says_whose_it_is_and_of_each_video_that_it_was_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with served_from_a_thread(tmp_path_factory.mktemp("engine"), api_key=KEY) as base_url:
        write(folder, base_url)
        assert main(["run", "m.yaml", "--format", "json"], env={"KEY": "tlk_wrong"}) == 77
        told = capsys.readouterr()
        report = json.loads(told.out)
        named = f"the key is that of KEY, base_url is {base_url}: see that they belong together"
        assert report["halted"].endswith(named)
        assert named in told.err
        assert "tlk_wrong" not in told.out + told.err
        assert states(report) == ["planned"] * 3
        assert all(video["job_key"] for video in report["videos"])
        for video in report["videos"]:
            (reason,) = video["reasons"]
            assert reason["code"] == "api_key_invalid"
            assert reason["message"].startswith("the service refused it: ")
        assert (report["dataset"]["record"], report["dataset"]["published"]) == (None, False)
        assert not list((folder / "out").rglob("000001.json"))

        assert main(["run", "m.yaml"], env={"KEY": KEY}) == 0


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--adopt", "v/z.mp4=t1"), "there is no video 'v/z.mp4' in the manifest; did you mean v/"),
        (("--forget", "nobody"), "there is no video 'nobody' in the manifest"),
        (("--adopt", "v/a.mp4=t1"), "the create of 'v/a.mp4' is not in doubt"),
    ],
)
def test_a_doubt_that_there_is_not_is_told_apart_from_a_video_that_there_is_not(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
    asked: tuple[str, str],
    told: str,
) -> None:
    with served_from_a_thread(tmp_path_factory.mktemp("engine")) as base_url:
        write(folder, base_url)
        assert main(["run", "m.yaml"], env={"KEY": KEY}) == 0
        assert main(["reconcile", "m.yaml", *asked], env={"KEY": KEY}) == 2

    assert told in capsys.readouterr().err
