"""`--summary-file` and `--metrics-file`: what they may not replace, and a run that can't begin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchembed.cli.main import main
from batchembed.store.lock import run_lock
from tests.support.media import make_video

MANIFEST = """\
version: 1
name: nightly
engine: local
videos:
  - glob: v/*.mp4
  - table: t.csv
output: {path: out}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "v").mkdir()
    for seed, name in enumerate("ab"):
        make_video(tmp_path / "v" / f"{name}.mp4", seconds=3.0, fps=5, seed=seed)
    (tmp_path / "v" / "b.mp4").rename(tmp_path / "b.mp4")
    (tmp_path / "t.csv").write_text("video_file\nb.mp4\n", encoding="utf-8")
    (tmp_path / "m.yaml").write_text(MANIFEST, encoding="utf-8")
    (tmp_path / "m.lock.json").write_text("{}", encoding="utf-8")
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("v/a.mp4")
    (tmp_path / "there").symlink_to("out")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("m.yaml", "is the manifest:"),
        ("v/../m.yaml", "is the manifest:"),
        ("m.lock.json", "is the manifest's lock file"),
        ("out/n.json", "is in output.path"),
        ("there/n.json", "is in output.path"),
        ("t.csv", "is the table t.csv"),
        ("v/a.mp4", "is the video v/a.mp4"),
        ("link", "is the video v/a.mp4"),
        ("b.mp4", "is the video b.mp4"),
    ],
)
def test_what_a_run_reads_or_keeps_is_not_replaced(
    folder: Path, capsys: pytest.CaptureFixture[str], path: str, words: str
) -> None:
    before = {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    for given in (path, str(folder / path)):
        assert main(["run", "m.yaml", "--summary-file", given]) == 2

        told = capsys.readouterr().err
        assert words in told
        assert "--summary-file" in told
    assert {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()} == before


@pytest.mark.parametrize("root", [".batchembed", "elsewhere"])
@pytest.mark.parametrize("name", ["README", "d" * 32 + "/ledger.sqlite", "d" * 32 + "/n.json"])
def test_a_state_folder_is_the_runs_own(
    folder: Path, capsys: pytest.CaptureFixture[str], root: str, name: str
) -> None:
    (folder / root / ("d" * 32)).mkdir(parents=True)
    more = [] if root == ".batchembed" else ["--state-dir", root]

    assert main(["run", "m.yaml", "--summary-file", f"{root}/{name}", *more]) == 2

    assert "is in the state folder" in capsys.readouterr().err
    assert not (folder / root / name).exists()


@pytest.mark.parametrize("root", [".", "elsewhere"])
def test_what_else_is_in_the_root_of_all_state_is_not(folder: Path, root: str) -> None:
    (folder / root).mkdir(exist_ok=True)
    wanted = folder / root / "nightly.json"

    assert main(["run", "m.yaml", "--summary-file", str(wanted), "--state-dir", root]) != 2

    assert wanted.exists()


def test_a_link_that_leads_to_itself_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "loop").symlink_to("loop")

    assert main(["run", "m.yaml", "--summary-file", "loop"]) == 2

    assert "loop is a link that leads to itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--metrics-file", "n.txt"], "does not end in .prom"),
        (["--metrics-file", "n.prom", "--summary-file", "v/../n.prom"], "are one file"),
    ],
)
def test_files_that_can_not_be_meant_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    assert main(["run", "m.yaml", *argv]) == 2

    assert words in capsys.readouterr().err
    assert not list(folder.glob("n.*"))


def test_a_file_of_the_run_before_is_replaced(folder: Path) -> None:
    (folder / "t.csv").unlink()
    (folder / "m.yaml").write_text(MANIFEST.replace("  - table: t.csv\n", ""), encoding="utf-8")
    (folder / "out").rmdir()
    (folder / "m.lock.json").unlink()
    (folder / "n.json").write_text("of the run before", encoding="utf-8")

    assert main(["run", "m.yaml", "--summary-file", "n.json"]) == 3

    assert json.loads((folder / "n.json").read_bytes())["exit_code"] == 3


SUCCESS = """\
# TYPE batchembed_last_run_timestamp_seconds gauge
batchembed_last_run_timestamp_seconds{dataset="nightly"} 1.0
# TYPE batchembed_last_run_exit_code gauge
batchembed_last_run_exit_code{dataset="nightly"} 0.0
# TYPE batchembed_last_success_timestamp_seconds gauge
batchembed_last_success_timestamp_seconds{dataset="nightly"} 1.0
"""


@pytest.mark.parametrize(
    ("manifest", "text", "code"),
    [
        ("m.yaml", "version: 1\n", 65),
        ("gone.yaml", MANIFEST, 66),
        ("m.yaml", MANIFEST.replace("v/*", "none/*"), 66),
        ("m.yaml", MANIFEST.replace("engine: local", "engine: twelvelabs"), 2),
    ],
    ids=["wrong", "missing", "no match", "no key"],
)
def test_a_run_that_can_not_begin_is_seen_in_the_metrics(
    folder: Path, manifest: str, text: str, code: int
) -> None:
    (folder / "m.yaml").write_text(text, encoding="utf-8")
    (folder / "n.prom").write_text(SUCCESS, encoding="utf-8")
    (folder / "n.json").write_text("of the run before", encoding="utf-8")
    argv = ["run", manifest, "--metrics-file", "n.prom", "--summary-file", "n.json"]

    assert main(argv, env={}) == code

    told = (folder / "n.prom").read_text(encoding="utf-8")
    assert f'batchembed_last_run_exit_code{{dataset="nightly"}} {code}.0' in told
    assert 'batchembed_last_success_timestamp_seconds{dataset="nightly"} 1.0' in told
    assert 'batchembed_last_run_timestamp_seconds{dataset="nightly"} 1.0\n' not in told
    assert "batchembed_videos" not in told
    assert (folder / "n.json").read_text(encoding="utf-8") == "of the run before"


def test_without_a_manifest_a_first_file_is_made_and_no_other_replaced(folder: Path) -> None:
    (folder / "theirs.prom").write_text("node_up 1\n", encoding="utf-8")

    for name in ("theirs", "ours"):
        assert main(["run", "gone.yaml", "--metrics-file", f"{name}.prom"]) == 66

    assert (folder / "theirs.prom").read_text(encoding="utf-8") == "node_up 1\n"
    ours = (folder / "ours.prom").read_text(encoding="utf-8")
    assert 'batchembed_last_run_exit_code{dataset="gone"} 66.0' in ours
    assert "last_success" not in ours


def test_a_file_that_is_refused_tells_nothing_of_the_run(folder: Path) -> None:
    (folder / "out" / "n.prom").write_text(SUCCESS, encoding="utf-8")

    assert main(["run", "m.yaml", "--metrics-file", "out/n.prom"]) == 2

    assert (folder / "out" / "n.prom").read_text(encoding="utf-8") == SUCCESS


def test_a_run_that_is_skipped_answers_in_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "m.lock.json").unlink()
    assert main(["run", "m.yaml"]) == 3
    (lock,) = (folder / ".batchembed").glob("*/run.lock")
    capsys.readouterr()

    with run_lock(lock):
        assert main(["run", "m.yaml", "--if-locked", "skip", "--format", "json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["skipped"]) == (1, "locked")
    assert "another run holds this output" in told["message"]
