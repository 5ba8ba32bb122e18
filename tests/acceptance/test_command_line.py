"""The command as a person types it, through `main(argv)`: real engine, real video."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import pytest

from batchembed import resources
from batchembed.cli.main import main
from batchembed.store.lock import run_lock
from tests.support.media import make_video
from tests.support.runs import GLOB


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest over one legal video and one that is too short."""
    (tmp_path / "v").mkdir()
    make_video(tmp_path / "v" / "a.mp4", seconds=7.0, fps=5, audio=True)
    make_video(tmp_path / "v" / "short.mp4", seconds=3.0, fps=5)
    (tmp_path / "m.yaml").write_text(GLOB, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_validate_plan_run_and_status_tell_one_story(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "m.yaml"]) == 3
    out = capsys.readouterr().out
    assert "m.yaml:4:5: $.videos[0]: v/short.mp4: duration 3.0 s is below" in out
    assert "    - glob: v/*.mp4\n      ^\n" in out
    assert main(["validate", "m.yaml", "--no-probe"]) == 0
    capsys.readouterr()

    assert main(["plan", "m.yaml", "--format", "json"]) == 0
    planned = said(capsys)
    assert {line["video_id"]: line["action"] for line in planned["videos"]} == {
        "v/a.mp4": "submit",
        "v/short.mp4": "reject",
    }
    assert not (folder / "out").exists()
    assert not (folder / ".batchembed").exists()

    assert main(["run", "m.yaml", "--format", "json"]) == 3
    report = said(capsys)
    jsonschema.Draft202012Validator(resources.schema("run-report")).validate(report)
    assert report["counts"] == {
        "committed": 1,
        "rejected": 1,
        "failed": 0,
        "pending": 0,
        "skipped": 0,
    }
    assert report["dataset"]["rows"] == 2

    assert main(["status", "m.yaml", "--format", "json"]) == 0
    status = said(capsys)
    assert status["counts"] == {"committed": 1, "rejected": 1}
    assert status["next"] == {"nothing": 1, "reject": 1}
    assert main(["failures", "m.yaml", "--format", "json"]) == 0
    (failure,) = said(capsys)["failures"]
    assert (failure["video_id"], failure["class"]) == ("v/short.mp4", "rejected")
    assert main(["show", "m.yaml", "v/a.mp4", "--format", "json"]) == 0
    shown = said(capsys)
    assert [move["state"] for move in shown["history"]] == [
        "submitting",
        "processing",
        "ready",
        "staged",
        "committed",
    ]
    assert {move["run_id"] for move in shown["history"]} == {report["run_id"]}
    assert shown["rows"] == {"audio": 1, "visual-text": 1}
    assert sorted(part["path"] for part in shown["parts"]) == sorted(
        str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*.parquet")
    )
    assert main(["plan", "m.yaml", "--format", "json"]) == 0
    assert said(capsys)["counts"] == {"nothing": 1, "reject": 1}

    assert main(["run", "m.yaml"]) == 3
    text = capsys.readouterr()
    assert "submitted 0 tasks" in text.out
    assert "record 1, unchanged" in text.out


@pytest.mark.slow
def test_the_local_engine_needs_no_socket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> NoReturn:
        raise AssertionError("engine: local opened a connection")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket.socket, "bind", forbidden)

    assert main(["run", "m.yaml"]) == 3


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("version: 1\n", 65, "m.yaml:1:1: $"),
        (GLOB.replace("v/*.mp4", "none/*.mp4"), 66, "m.yaml:4:"),
        (GLOB + "vidoes: []\n", 65, "videos"),
        ("version: [1\n", 65, "m.yaml:"),
        ("\tversion: 1\n", 65, "m.yaml:1:1"),
        (GLOB.replace("local", "twelvelabs").replace("1\n", "2\n", 1), 65, "version"),
    ],
    ids=["keys missing", "empty glob", "unknown key", "bad yaml", "tab", "newer version"],
)
@pytest.mark.parametrize("verb", ["run", "validate", "plan", "status", "failures"])
def test_a_wrong_manifest_lists_its_problems_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], verb: str, text: str, code: int, words: str
) -> None:
    (folder / "m.yaml").write_text(text, encoding="utf-8")
    before = sorted(folder.rglob("*"))

    assert main([verb, "m.yaml"]) == code

    told = capsys.readouterr()
    assert words in told.out
    assert "Traceback" not in told.out + told.err
    assert sorted(folder.rglob("*")) == before


def test_problems_come_as_json_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "m.yaml").write_text("version: 1\n", encoding="utf-8")

    assert main(["validate", "m.yaml", "--format", "json"]) == 65

    problems = said(capsys)["problems"]
    assert {"file", "line", "column", "path", "message", "hint"} <= set(problems[0])


@pytest.mark.parametrize("verb", ["run", "validate", "plan", "status", "failures"])
def test_a_missing_manifest_is_no_input(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "nowhere.yaml"]) == 66
    assert "nowhere.yaml" in capsys.readouterr().err
    assert main([verb, "nowhere.yaml", "--format", "json"]) == 66
    assert said(capsys)["error"]["exit_code"] == 66


@pytest.mark.parametrize("content", [b"", b"no database" * 1000], ids=["empty", "damaged"])
@pytest.mark.parametrize("verb", ["status", "plan", "failures"])
@pytest.mark.slow
def test_a_broken_ledger_is_an_error_of_those_who_look(
    folder: Path, capsys: pytest.CaptureFixture[str], verb: str, content: bytes
) -> None:
    main(["run", "m.yaml"])
    (ledger,) = (folder / ".batchembed").glob("*/ledger.sqlite")
    ledger.write_bytes(content)
    capsys.readouterr()

    assert main([verb, "m.yaml"]) == 74
    assert "ledger.sqlite" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [[], ["walk"], ["run"], ["run", "m.yaml", "--no-such"], ["schema", "none"]]
)
def test_a_wrong_command_line_is_a_usage_error(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_output_that_is_something_else_is_refused_and_left_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "thesis.txt").write_text("years of work", encoding="utf-8")

    assert main(["run", "m.yaml"]) == 73

    assert "choose another output.path" in capsys.readouterr().err
    assert [path.name for path in (folder / "out").iterdir()] == ["thesis.txt"]
    assert not (folder / ".batchembed").exists()


def test_a_hosted_engine_without_its_key_says_which_variable(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "m.yaml").write_text(GLOB.replace("local", "twelvelabs"), encoding="utf-8")

    assert main(["run", "m.yaml"], env={}) == 2

    assert "TWELVELABS_API_KEY" in capsys.readouterr().err
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_a_rehearsal_has_a_dataset_of_its_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "m.yaml").write_text(GLOB.replace("local", "twelvelabs"), encoding="utf-8")

    assert main(["run", "m.yaml", "--engine", "local"], env={}) == 3

    assert not (folder / "out").exists()
    about = json.loads((folder / "out.rehearsal" / "_batchembed" / "dataset.json").read_bytes())
    assert about["model_name"] == "local-v1"


@pytest.mark.slow
def test_a_dataset_holds_one_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.yaml"]) == 3
    (folder / "m.yaml").write_text(GLOB.replace("local", "twelvelabs"), encoding="utf-8")

    assert main(["run", "m.yaml"], env={"TWELVELABS_API_KEY": "tlk_secret"}) == 73

    told = capsys.readouterr().err
    assert "output.path" in told
    assert "tlk_secret" not in told


@pytest.mark.parametrize("name", ["manifest", "run-report", "limits/local-v1"])
def test_every_schema_can_be_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    jsonschema.Draft202012Validator.check_schema(said(capsys))


def log_lines(text: str) -> list[dict[str, Any]]:
    """A log of JSON lines; anything else in it is an error of this function."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_a_run_for_cron_leaves_lines_a_summary_and_figures(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["run", "m.yaml", "--log-format", "json", "--format", "json"]
    argv += ["--summary-file", "last.json", "--metrics-file", "last.prom"]

    assert main(argv) == 3

    told = capsys.readouterr()
    report = json.loads(told.out)
    assert json.loads((folder / "last.json").read_bytes()) == report
    jsonschema.Draft202012Validator(resources.schema("run-report")).validate(report)
    log = log_lines(told.err)
    assert {line["run_id"] for line in log} == {report["run_id"]}
    assert [line["event"] for line in log][:1] == ["started"]
    assert log[-1] | {"event": "finished", "exit_code": 3, "committed": 1} == log[-1]
    assert "batchembed_last_run_exit_code" in (folder / "last.prom").read_text(encoding="utf-8")
    (kept,) = (folder / ".batchembed").glob("*/runs/*.json")
    assert kept.name == f"{report['run_id']}.json"
    assert not [path for path in folder.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("option", "path", "words"),
    [
        ("--summary-file", "nowhere/last.json", "can't be written"),
        ("--summary-file", "v", "is a folder"),
        ("--metrics-file", "m.yaml/last.prom", "can't be written"),
    ],
)
def test_a_file_that_can_not_be_left_is_refused_before_anything_is_made(
    folder: Path, capsys: pytest.CaptureFixture[str], option: str, path: str, words: str
) -> None:
    before = sorted(folder.rglob("*"))

    assert main(["run", "m.yaml", option, path]) == 73

    assert words in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_a_second_run_fails_or_is_skipped_and_leaves_the_firsts_files_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "m.yaml", "--limit", "0"]) == 75
    (lock,) = (folder / ".batchembed").glob("*/run.lock")
    (folder / "last.json").write_text("of the first", encoding="utf-8")
    argv = ["run", "m.yaml", "--summary-file", "last.json"]
    with run_lock(lock):
        capsys.readouterr()
        assert main(argv) == 75
        assert "another run holds this output" in capsys.readouterr().err
        assert main([*argv, "--if-locked", "skip"]) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert "skipped: another run holds this output" in line
        assert main([*argv, "--if-locked", "skip", "--log-format", "json"]) == 0
        (told,) = log_lines(capsys.readouterr().err)
        assert told["level"] == "info"
    assert (folder / "last.json").read_text(encoding="utf-8") == "of the first"


@pytest.mark.slow
def test_a_run_that_an_error_ends_leaves_its_files_too(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "m.yaml", "--metrics-file", "last.prom"]) == 3
    (ledger,) = (folder / ".batchembed").glob("*/ledger.sqlite")
    ledger.write_bytes(b"no database" * 1000)
    capsys.readouterr()
    argv = ["run", "m.yaml", "--summary-file", "last.json", "--metrics-file", "last.prom"]

    assert main([*argv, "--log-format", "json"]) == 74

    report = json.loads((folder / "last.json").read_bytes())
    jsonschema.Draft202012Validator(resources.schema("run-report")).validate(report)
    assert report["exit_code"] == 74
    assert "ledger.sqlite" in report["halted"]
    assert report["dataset"]["rows"] == 2
    figures = (folder / "last.prom").read_text(encoding="utf-8")
    assert 'batchembed_last_run_exit_code{dataset="m"} 74.0' in figures
    (line,) = log_lines(capsys.readouterr().err)
    assert (line["level"], line["exit_code"], line["run_id"]) == ("error", 74, report["run_id"])


@pytest.mark.slow
def test_a_run_can_be_narrowed_to_some_videos_and_to_no_creates(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "m.yaml", "--limit", "0", "--format", "json"]) == 75
    report = said(capsys)
    assert (report["submitted"], report["counts"]["pending"]) == (0, 1)

    make_video(folder / "v" / "b.mp4", seconds=7.0, fps=5, seed=1)
    assert main(["run", "m.yaml", "--only", "*/b.mp4", "--format", "json"]) == 75
    report = said(capsys)
    assert {video["video_id"]: video["outcome"] for video in report["videos"]} == {
        "v/a.mp4": "pending",
        "v/b.mp4": "committed",
        "v/short.mp4": "rejected",
    }


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--only", "v/b.mp4"], "did you mean v/a.mp4?"),
        (["--retry", "failed:lots"], "did you mean lost?"),
        (["--retry", "lost"], "write `failed`"),
        (["--max-runtime", "8 hours"], "write it as 90s, 45m or 8h"),
        (["--limit", "-1"], "-1"),
        (["--if-locked", "wait"], "wait"),
    ],
)
def test_an_option_that_can_not_be_meant_makes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    before = sorted(folder.rglob("*"))

    assert main(["run", "m.yaml", *argv]) == 2
    assert words in capsys.readouterr().err
    assert main(["run", "m.yaml", *argv, "--log-format", "json"]) == 2

    (line,) = log_lines(capsys.readouterr().err)
    assert words in line["message"]
    assert (line["level"], line["exit_code"]) == ("error", 2)
    assert sorted(folder.rglob("*")) == before
