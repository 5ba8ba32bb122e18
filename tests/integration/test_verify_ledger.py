"""A dataset that is held against its ledger, and a ledger that is looked at by itself."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchembed.cli.main import main
from batchembed.core.model import JobKey
from batchembed.core.states import Entry, State
from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import RowSpec
from batchembed.dataset.verification.verify import verify
from batchembed.runner.cross_check import cross_check
from batchembed.store.home import state_home
from batchembed.store.inspect import inspect
from tests.support.ledgers import committed, write_ledger
from tests.support.tampering import a_dataset, silent
from tests.support.users import as_no_root, open_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return a_dataset(tmp_path)


@pytest.fixture
def ledger(root: Path) -> Path:
    """The ledger of the dataset, in the state beside it."""
    path = state_home(str(root), None, "d" * 32).ledger
    path.parent.mkdir(parents=True)
    write_ledger(path, specs_of(root))
    return path


def specs_of(root: Path) -> tuple[RowSpec, ...]:
    return verify(Folder(root), silent).specs


def told(capsys: pytest.CaptureFixture[str], *argv: str, code: int) -> Any:
    capsys.readouterr()
    assert main(["verify", *argv, "--format", "json"], env={}) == code
    return json.loads(capsys.readouterr().out)


def test_a_ledger_beside_the_dataset_is_compared(
    root: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, str(root), code=0)
    assert found["checked"]["ledger"] == str(ledger)
    assert found["faults"] == found["notices"] == []


def test_a_ledger_is_found_by_the_manifest_or_the_state_folder(
    root: Path, ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "m.yaml").touch()
    ledger.parent.parent.rename(elsewhere / ".batchembed")
    found = told(capsys, str(root), code=0)
    assert (found["checked"]["ledger"], found["notices"]) == (None, [])
    (notice,) = told(capsys, str(root), "--state-dir", str(tmp_path), code=0)["notices"]
    assert notice["code"] == "ledger_missing"
    for argv in (
        ("--manifest", str(elsewhere / "m.yaml")),
        ("--state-dir", str(elsewhere / ".batchembed")),
    ):
        assert told(capsys, str(root), *argv, code=0)["checked"]["ledger"] is not None


def test_a_damaged_ledger_is_a_fault(
    root: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = ledger.read_bytes()
    ledger.write_bytes(content[: len(content) // 2])
    faults = told(capsys, str(root), code=4)["faults"]
    assert {(fault["code"], fault["file"]) for fault in faults} == {("ledger_damaged", str(ledger))}
    ledger.write_bytes(b"")
    assert [fault["code"] for fault in told(capsys, str(root), code=4)["faults"]] == [
        "ledger_damaged"
    ]


@pytest.mark.parametrize("what", ["ledger.sqlite", "."])
def test_a_ledger_that_may_not_be_read_is_told_and_not_judged(what: str) -> None:
    """It is not damaged, and nobody is told to put it away."""
    with open_folder() as folder:
        path = folder / "state" / "ledger.sqlite"
        path.parent.mkdir()
        write_ledger(path, ())
        (path.parent / what).chmod(0)
        with as_no_root():
            inspected = inspect(path)
        path.parent.chmod(0o755)
    assert inspected is not None
    assert inspected.faults == ()
    assert inspected.unread == (
        "Permission denied: see to its permissions, and those of the folders above it"
    )


def test_a_state_folder_that_may_not_be_searched_ends_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, str(root), code=0)  # what is imported late is there
    with open_folder() as folder:
        shutil.copytree(root, folder / "out")
        (folder / ".batchembed").mkdir(mode=0)
        with as_no_root():
            found = told(capsys, str(folder / "out"), code=0)
    (notice,) = found["notices"]
    assert (notice["code"], found["checked"]["ledger"]) == ("ledger_unread", None)
    assert "see to its permissions" in notice["message"]


def test_a_damaged_ledger_is_to_be_kept(
    root: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.write_bytes(b"no ledger at all")
    (fault,) = told(capsys, str(root), code=4)["faults"]
    assert fault["hint"].startswith("keep a copy of it, for it knows what was paid for")


def test_an_earlier_copy_of_a_dataset_is_not_blamed_for_the_ledger_beside_it(
    root: Path, ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(ledger, isolation_level=None)) as db:
        db.execute("UPDATE entries SET commit_number = 9")
    copy = tmp_path / "earlier"
    shutil.copytree(root, copy)
    found = told(capsys, str(copy), code=0)
    assert [(each["code"], each["file"]) for each in found["notices"]] == [
        ("ledger_ahead", str(ledger))
    ]
    named = ("--state-dir", str(tmp_path / ".batchembed"))
    (fault,) = told(capsys, str(copy), *named, code=4)["faults"]
    assert fault["code"] == "record_missing"


def test_a_ledger_of_a_newer_version_or_in_a_transaction_is_told_and_not_judged(
    root: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = ledger.with_name(f"{ledger.name}-journal")
    journal.write_bytes(b"half a page")
    (notice,) = told(capsys, str(root), code=0)["notices"]
    assert (notice["code"], "killed in a transaction" in notice["message"]) == (
        "ledger_unread",
        True,
    )
    journal.unlink()
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("PRAGMA user_version = 99")
    (notice,) = told(capsys, str(root), code=0)["notices"]
    assert "upgrade batchembed" in notice["message"]


def test_a_row_of_the_ledger_that_can_t_be_read_is_a_fault(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger, isolation_level=None)) as db:
        db.execute("UPDATE entries SET staged = '{'")
    inspected = inspect(ledger)
    assert inspected is not None
    assert "is damaged" in inspected.faults[0]


def entries_of(specs: tuple[RowSpec, ...]) -> dict[JobKey, Entry]:
    return {spec.job_key: committed(spec) for spec in specs}


def test_jobs_that_the_ledger_lacks_or_has_other_rows_of_are_told(root: Path) -> None:
    specs = specs_of(root)
    first, second = specs
    entries = entries_of(specs)
    assert list(cross_check("l", entries, specs, 1)) == []

    staged = entries[first.job_key].staged
    assert staged is not None
    entries[first.job_key] = replace(
        entries[first.job_key], staged=replace(staged, sha256="0" * 64)
    )
    del entries[second.job_key]
    found = list(cross_check("l", entries, specs, 1))
    assert [(each.code, each.file, each.video_id) for each in found] == [
        ("ledger_differs", "l", first.video_id),
        ("ledger_lacks", "l", second.video_id),
    ]

    rows = (("audio", 7),)
    entries = entries_of(specs)
    entries[first.job_key] = replace(entries[first.job_key], staged=replace(staged, rows=rows))
    (differs,) = cross_check("l", entries, specs, 1)
    assert "it counts {'audio': 7} rows" in differs.message


def test_a_record_that_only_the_ledger_remembers_is_told_as_lost(root: Path) -> None:
    specs = specs_of(root)
    entries = {key: replace(entry, commit=9) for key, entry in entries_of(specs).items()}
    (fault,) = cross_check("l", entries, specs, 3)
    assert (fault.code, fault.file) == ("record_missing", "_batchembed/commits/000009.json")


def test_what_is_fetched_again_contradicts_nothing(root: Path) -> None:
    specs = specs_of(root)
    entries = {
        key: replace(entry, state=State.STAGED, staged=replace(entry.staged, sha256="0" * 64))
        for key, entry in entries_of(specs).items()
        if entry.staged is not None
    }
    assert list(cross_check("l", entries, specs, 1)) == []
