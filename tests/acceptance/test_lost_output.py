"""Commands whose answer or log can't be written, or is read by nobody."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batchembed.cli.main import main
from batchembed.report.prometheus import last_success
from tests.support.media import make_video
from tests.support.runs import GLOB
from tests.support.streams import Full, Gone


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "v").mkdir()
    make_video(tmp_path / "v" / "a.mp4", seconds=7.0, fps=5)
    (tmp_path / "m.yaml").write_text(GLOB, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "argv",
    [
        ["schema", "manifest"],
        ["--version"],
        ["status", "m.yaml"],
        ["plan", "m.yaml", "--format", "json"],
        ["validate", "nowhere.yaml", "--format", "json"],
    ],
)
def test_an_answer_that_can_not_be_written_is_an_io_error(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())

    assert main(argv) == 74

    last = capsys.readouterr().err.splitlines()[-1]
    assert "the answer can't be written to standard output: No space left on device" in last


def test_where_no_word_can_be_said_the_code_is_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", Full())

    assert main(["status", "m.yaml"]) == 74


def test_who_reads_no_further_changes_no_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Gone())

    assert main(["status", "m.yaml", "--format", "json"]) == 0
    (folder / "v" / "torn.mp4").write_bytes(b"no video")
    assert main(["validate", "m.yaml", "--format", "json"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("log_format", ["human", "json"])
def test_a_full_log_stops_no_run(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    log_format: str,
) -> None:
    monkeypatch.setattr(sys, "stderr", Full())

    assert main(["run", "m.yaml", "--log-format", log_format, "--format", "json"]) == 0

    assert json.loads(capsys.readouterr().out)["counts"]["committed"] == 1


@pytest.mark.slow
def test_a_run_whose_summary_is_lost_has_done_its_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["run", "m.yaml", "--log-format", "json"]
    argv += ["--summary-file", "last.json", "--metrics-file", "last.prom"]
    assert main(argv) == 0
    capsys.readouterr()
    before = last_success((folder / "last.prom").read_text(encoding="utf-8"))
    with monkeypatch.context() as full:
        full.setattr(sys, "stdout", Full())
        assert main(argv) == 74

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["exit_code"] for line in lines[-2:]] == [74, 74]
    assert [line["event"] for line in lines[-2:]] == ["finished", "error"]
    report = json.loads((folder / "last.json").read_bytes())
    assert (report["exit_code"], report["counts"]["committed"]) == (74, 1)
    figures = (folder / "last.prom").read_text(encoding="utf-8")
    assert 'batchembed_last_run_exit_code{dataset="m"} 74.0' in figures
    assert last_success(figures) == before


@pytest.mark.slow
def test_a_summary_file_that_can_not_be_written_is_in_the_figures_and_the_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Removes(io.StringIO):
        """Whoever reads the answer takes the summary's folder away."""

        def write(self, text: str) -> int:
            shutil.rmtree(folder / "left", ignore_errors=True)
            return super().write(text)

    (folder / "left").mkdir()
    argv = ["run", "m.yaml", "--log-format", "json"]
    argv += ["--summary-file", "left/last.json", "--metrics-file", "last.prom"]

    with monkeypatch.context() as removing:
        removing.setattr(sys, "stdout", Removes())
        assert main(argv) == 74

    finished = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (finished["event"], finished["exit_code"]) == ("finished", 74)
    figures = (folder / "last.prom").read_text(encoding="utf-8")
    assert 'batchembed_last_run_exit_code{dataset="m"} 74.0' in figures
    assert last_success(figures) is None


@pytest.mark.slow
def test_an_answer_that_ends_the_command_leaves_the_files_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Narrow(io.StringIO):
        def write(self, text: str) -> int:
            raise UnicodeEncodeError("ascii", text, 0, 1, "no such character")

    with monkeypatch.context() as narrow:
        narrow.setattr(sys, "stdout", Narrow())
        assert main(["run", "m.yaml", "--metrics-file", "last.prom"]) == 1

    figures = (folder / "last.prom").read_text(encoding="utf-8")
    assert 'batchembed_last_run_exit_code{dataset="m"} 1.0' in figures
    assert last_success(figures) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("streams", "code"),
    [(">&- 2>&- <&-", 0), (">/dev/full 2>&-", 74), (">/dev/full 2>/dev/full", 74), ("| :", 0)],
)
def test_the_process_ends_with_its_own_code(tmp_path: Path, streams: str, code: int) -> None:
    module = f"{shlex.quote(sys.executable)} -m batchembed schema manifest"
    told = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {module} {streams}"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert (told.returncode, told.stderr) == (code, "")


@pytest.mark.slow
def test_no_file_of_a_run_becomes_its_output(folder: Path) -> None:
    """A process without descriptors 1 and 2 gives these numbers to the first files it opens."""
    program = (
        "import os, sys; from batchembed.cli.streams import guarded_streams\n"
        "with guarded_streams(), open('mine', 'w') as mine: mine.write(str(mine.fileno()))"
    )
    subprocess.run(
        ["/bin/sh", "-c", f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} >&- 2>&- <&-"],
        cwd=folder,
        check=True,
    )

    assert int((folder / "mine").read_text(encoding="utf-8")) > 2


def said_as_json(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, object]:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    return main(argv), json.loads(out.getvalue())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["run", "m.yaml", "--limit", "-1"], "-1 is not in the range"),
        (["run", "m.yaml", "--bogus"], "--bogus"),
        (["verify"], "Missing argument"),
    ],
)
def test_a_wrong_command_line_is_an_error_as_json_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], words: str
) -> None:
    code, told = said_as_json([*argv, "--format", "json"], monkeypatch)

    assert code == 2
    assert isinstance(told, dict)
    assert told["error"]["exit_code"] == 2
    assert words in told["error"]["message"]
