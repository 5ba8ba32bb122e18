"""What entries name, through `main(argv)`: an inbox that is empty, rows of tables, folders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from batchembed import resources
from batchembed.cli.main import main
from batchembed.engine.video.embed import Embedded, EmbedPlan
from batchembed.engine.workers.pool import Expected
from tests.support.engines import InstantPool, served_from_a_thread
from tests.support.media import make_video


class HeldPool(InstantPool):
    """Ends no video before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[tuple[Future[Embedded], Future[Embedded]]] = []

    def submit(
        self, path: str, plan: EmbedPlan, *, deadline_s: float, expect: Expected | None = None
    ) -> Future[Embedded]:
        done = super().submit(path, plan, deadline_s=deadline_s, expect=expect)
        shown = Future[Embedded]()
        self._held.append((shown, done))
        return shown

    def release(self) -> None:
        for shown, done in self._held:
            shown.set_result(done.result())
        self._held.clear()


class Inbox:
    """A folder `in`, the manifest over it, and the service that it names."""

    def __init__(self, folder: Path, base_url: str, pool: HeldPool) -> None:
        self.pool = pool
        self._video = folder / "in" / "a.mp4"
        self._away = folder / "a.mp4"
        self._video.parent.mkdir()
        make_video(self._video, seconds=7.0, fps=5)
        (folder / "m.yaml").write_text(
            f"version: 1\nengine: {{kind: twelvelabs, base_url: '{base_url}'}}\n"
            "model_name: local-v1\npolling: {first_wait_s: 0.05}\nvideos:\n"
            "  - {glob: in/*.mp4, allow_empty: true, metadata: {place: yard}}\n"
            "output: {path: out, partition_by: [place, embedding_option]}\n",
            encoding="utf-8",
        )

    def tell(self, *argv: str) -> int:
        return main([argv[0], "m.yaml", *argv[1:]], env={"TWELVELABS_API_KEY": "tlk_key"})

    def empty(self) -> None:
        self._video.rename(self._away)

    def fill(self) -> None:
        self._away.rename(self._video)


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    pool = HeldPool()
    with served_from_a_thread(tmp_path / "service", pool) as base_url:
        yield Inbox(folder, base_url, pool)


def report_of(capsys: pytest.CaptureFixture[str]) -> Any:
    """The report that a run printed, and nothing else."""
    report = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(resources.schema("run-report")).validate(report)
    return report


@pytest.mark.slow
def test_tasks_in_flight_are_collected_though_the_inbox_is_empty(
    inbox: Inbox, capsys: pytest.CaptureFixture[str]
) -> None:
    while not inbox.pool.embedded:  # a slow machine may not come to it at once
        assert inbox.tell("run", "--max-runtime", "1") == 75
    inbox.empty()
    for verb in ("validate", "plan", "status", "reconcile", "failures"):
        capsys.readouterr()
        assert inbox.tell(verb) == 0, verb
        assert "note: no file matches in/*.mp4, which allow_empty allows" in capsys.readouterr().err

    inbox.pool.release()
    assert inbox.tell("run", "--format", "json") == 0

    collected = report_of(capsys)
    assert (collected["submitted"], collected["collected_sec"]) == (0, 7.0)
    assert collected["videos"] == []

    inbox.fill()
    assert inbox.tell("run", "--format", "json") == 0
    filled = report_of(capsys)
    assert (filled["submitted"], filled["counts"]["committed"]) == (0, 1)

    inbox.empty()
    assert inbox.tell("run", "--format", "json") == 0
    kept = report_of(capsys)
    assert kept["kept"] == ["in/a.mp4"]
    assert kept["dataset"]["rows"] == filled["dataset"]["rows"] > 0


LISTING = """\
video_file,id,video_start_offset_sec,video_end_offset_sec,place
car.mp4,win1,0,10,a
car.mp4,win2,10,20,b
car.mp4,,,,c
./car.mp4,,,,d
"""


def test_windows_of_a_table_stand_beside_an_entry_for_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "l.csv").write_text(LISTING, encoding="utf-8")
    (tmp_path / "m.yaml").write_text(
        "version: 1\nengine: local\nvideos:\n"
        "  - {video_file: car.mp4, id: first, skip: later}\n"
        "  - {table: l.csv, metadata_columns: [place]}\n"
        "output: {path: out}\n",
        encoding="utf-8",
    )

    assert main(["validate", "m.yaml", "--no-probe"]) == 0

    told = capsys.readouterr()
    assert "3 videos" in told.out
    assert told.err == ("note: 2 rows of l.csv are left out: their files are named by video_file\n")


@pytest.mark.parametrize("path", ["../archive", "../archive/", "../archive/old", "../b[1]"])
def test_the_glob_proposed_for_a_folder_finds_what_is_in_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    path: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("w", "archive/old", "b[1]"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.mp4").write_bytes(b"film")
    manifest = tmp_path / "w" / "m.yaml"
    text = "version: 1\nengine: local\nvideos:\n  - {entry}\noutput: {{path: out}}\n"
    manifest.write_text(text.format(entry=f"video_file: {path}"), encoding="utf-8")
    assert main(["validate", "w/m.yaml"]) == 3
    (proposed,) = re.findall(r"`(glob: .*)`", capsys.readouterr().out)

    manifest.write_text(text.format(entry=proposed), encoding="utf-8")

    assert main(["validate", "w/m.yaml", "--no-probe"]) == 0
