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
from tests.support.media import make_video

MANIFEST = """\
version: 1
engine: local
videos:
  - glob: v/*.mp4
output: {path: out}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest over one legal video and one that is too short."""
    (tmp_path / "v").mkdir()
    make_video(tmp_path / "v" / "a.mp4", seconds=7.0, fps=5, audio=True)
    make_video(tmp_path / "v" / "short.mp4", seconds=3.0, fps=5)
    (tmp_path / "m.yaml").write_text(MANIFEST, encoding="utf-8")
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
    assert main(["plan", "m.yaml", "--format", "json"]) == 0
    assert said(capsys)["counts"] == {"skip": 1, "reject": 1}

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
        (MANIFEST.replace("v/*.mp4", "none/*.mp4"), 66, "m.yaml:4:"),
        (MANIFEST + "vidoes: []\n", 65, "videos"),
        ("version: [1\n", 65, "m.yaml:"),
        ("\tversion: 1\n", 65, "m.yaml:1:1"),
        (MANIFEST.replace("local", "twelvelabs").replace("1\n", "2\n", 1), 65, "version"),
    ],
    ids=["keys missing", "empty glob", "unknown key", "bad yaml", "tab", "newer version"],
)
@pytest.mark.parametrize("verb", ["run", "validate", "plan", "status"])
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


@pytest.mark.parametrize("verb", ["run", "validate", "plan", "status"])
def test_a_missing_manifest_is_no_input(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "nowhere.yaml"]) == 66
    assert "nowhere.yaml" in capsys.readouterr().err
    assert main([verb, "nowhere.yaml", "--format", "json"]) == 66
    assert said(capsys)["error"]["exit_code"] == 66


@pytest.mark.parametrize("content", [b"", b"no database" * 1000], ids=["empty", "damaged"])
@pytest.mark.parametrize("verb", ["status", "plan"])
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
    (folder / "m.yaml").write_text(MANIFEST.replace("local", "twelvelabs"), encoding="utf-8")

    assert main(["run", "m.yaml"], env={}) == 2

    assert "TWELVELABS_API_KEY" in capsys.readouterr().err
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_a_rehearsal_has_a_dataset_of_its_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "m.yaml").write_text(MANIFEST.replace("local", "twelvelabs"), encoding="utf-8")

    assert main(["run", "m.yaml", "--engine", "local"], env={}) == 3

    assert not (folder / "out").exists()
    about = json.loads((folder / "out.rehearsal" / "_batchembed" / "dataset.json").read_bytes())
    assert about["model_name"] == "local-v1"


@pytest.mark.slow
def test_a_dataset_holds_one_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.yaml"]) == 3
    (folder / "m.yaml").write_text(MANIFEST.replace("local", "twelvelabs"), encoding="utf-8")

    assert main(["run", "m.yaml"], env={"TWELVELABS_API_KEY": "tlk_secret"}) == 73

    told = capsys.readouterr().err
    assert "output.path" in told
    assert "tlk_secret" not in told


@pytest.mark.parametrize("name", ["manifest", "run-report", "limits/local-v1"])
def test_every_schema_can_be_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    jsonschema.Draft202012Validator.check_schema(said(capsys))
