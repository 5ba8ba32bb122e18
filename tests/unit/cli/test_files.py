"""The files that a run leaves: whole or not at all."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from batchembed.cli.files import require_writable, write_whole
from batchembed.cli.leaving import Leaving
from batchembed.cli.log import HumanLog
from batchembed.errors import ExitCode, OutputRefusedError, StorageError
from batchembed.report.prometheus import last_success
from batchembed.store.home import Home, homes_of, make_home
from tests.unit.report.reports import BEGAN_AT, REPORT


def test_a_path_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "there.json").write_bytes(b"old")

    require_writable(tmp_path / "there.json")
    require_writable(tmp_path / "new.json")

    assert [path.name for path in tmp_path.iterdir()] == ["there.json"]
    assert (tmp_path / "there.json").read_bytes() == b"old"


def test_a_folder_or_a_path_into_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (
        tmp_path,
        tmp_path / "no" / "where.json",
        tmp_path / "file" / "x.json",
        Path("/proc/x.json"),
    ):
        with pytest.raises(OutputRefusedError, match="name"):
            require_writable(path)


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write_whole(path, b"one")
    write_whole(path, b"two")

    assert path.read_bytes() == b"two"
    assert [each.name for each in tmp_path.iterdir()] == ["s.json"]


def test_who_reads_while_a_file_is_replaced_has_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write_whole(path, b"one, and the first")

    with path.open("rb", buffering=0) as reader:
        begun = reader.read(3)
        write_whole(path, b"two")
        assert begun + reader.read() == b"one, and the first"

    assert path.read_bytes() == b"two"


def test_a_link_stays_one_and_a_device_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "s.json").symlink_to(tmp_path / "real" / "s.json")

    require_writable(tmp_path / "s.json")
    write_whole(tmp_path / "s.json", b"one")

    assert (tmp_path / "s.json").is_symlink()
    assert (tmp_path / "real" / "s.json").read_bytes() == b"one"
    assert len(list(tmp_path.rglob("*"))) == 3
    with pytest.raises(OutputRefusedError, match="no plain file"):
        require_writable(Path("/dev/null"))


def test_what_was_there_stays_where_the_new_can_not_be_put(tmp_path: Path) -> None:
    """A folder takes no file's name."""
    (tmp_path / "s.json").mkdir()
    (tmp_path / "s.json" / "old").write_bytes(b"old")

    with pytest.raises(StorageError, match=r"s\.json can't be written"):
        write_whole(tmp_path / "s.json", b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "state" / "d")
    make_home(made, "/out")
    return made


def test_a_state_folder_says_where_a_dataset_is_that_is_paid_for(tmp_path: Path) -> None:
    home = Home(tmp_path / "d")
    make_home(home, "/out")
    home.ledger.touch()
    assert homes_of("m.yaml", str(tmp_path), "/out") == (home,)
    assert homes_of("m.yaml", str(tmp_path), "/elsewhere") == ()

    make_home(home, "/elsewhere")
    assert homes_of("m.yaml", str(tmp_path), "/out") == ()
    make_home(home, None)
    assert homes_of("m.yaml", str(tmp_path), "/elsewhere") == ()


def leaving(folder: Path, said: io.StringIO) -> Leaving:
    return Leaving(
        metrics_file=folder / "run.prom",
        summary_file=folder / "run.json",
        log=HumanLog(said),
    )


def test_a_report_is_left_in_three_places(tmp_path: Path, home: Home) -> None:
    said = io.StringIO()

    assert leaving(tmp_path, said).leave(REPORT, home) is ExitCode.OK

    summary = json.loads((tmp_path / "run.json").read_bytes())
    kept = json.loads((home.runs / f"{REPORT.run_id}.json").read_bytes())
    assert summary == kept
    assert summary["run_id"] == REPORT.run_id
    assert last_success((tmp_path / "run.prom").read_text(encoding="utf-8")) == BEGAN_AT + 2
    assert said.getvalue() == ""


def test_a_run_that_fails_keeps_when_one_last_succeeded(tmp_path: Path, home: Home) -> None:
    files = leaving(tmp_path, io.StringIO())
    files.leave(REPORT, home)

    files.leave(replace(REPORT, began_at=BEGAN_AT + 86_400, exit_code=ExitCode.IO), home)

    text = (tmp_path / "run.prom").read_text(encoding="utf-8")
    assert last_success(text) == BEGAN_AT + 2
    assert 'batchembed_last_run_exit_code{dataset="scenes"} 74.0' in text


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (ExitCode.OK, ExitCode.IO),
        (ExitCode.INCOMPLETE, ExitCode.IO),
        (ExitCode.AGAIN, ExitCode.IO),
        (ExitCode.NO_PERMISSION, ExitCode.NO_PERMISSION),
        (ExitCode.TERMINATED, ExitCode.TERMINATED),
    ],
)
def test_a_file_that_can_not_be_left_is_told_and_counts(
    tmp_path: Path, home: Home, ended: ExitCode, code: ExitCode
) -> None:
    (tmp_path / "run.json").mkdir()
    said = io.StringIO()

    left = leaving(tmp_path, said).leave(replace(REPORT, exit_code=ended), home)

    assert left is code
    assert "run.json can't be written" in said.getvalue()
    figures = (tmp_path / "run.prom").read_text(encoding="utf-8")
    assert f'batchembed_last_run_exit_code{{dataset="scenes"}} {int(code)}.0' in figures
    assert last_success(figures) is None
