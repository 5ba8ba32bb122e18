"""State that is damaged, old, full, held or edited: an error that names the way out, or a right end.

Nothing that is committed is lost or paid for again, and nobody sees a traceback.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from batchembed.cli.main import main
from batchembed.core.outcome import Outcome
from batchembed.core.states import State
from batchembed.errors import ExitCode, LedgerError
from batchembed.runner.listen import Event, Moved
from batchembed.store import queries
from batchembed.store.lock import run_lock
from batchembed.store.sqlite_ledger import SqliteLedger
from tests.stateful.bench import Bench as ModelBench
from tests.stateful.bench import FileVideo
from tests.support.engines import InstantPool
from tests.support.media import make_video
from tests.support.runs import Bench, Heard, entries

FILMS = ("a", "b")
VERBS = (["status"], ["plan"], ["failures"], ["show"], ["reconcile"], ["run"])
SEEDS = range(16)
#: Videos that no ledger of a few pages has room for.
FULL = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest, and all that a run of it left."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "v").mkdir()
    for seed, name in enumerate(FILMS):
        make_video(folder / "v" / f"{name}.mp4", seconds=7.0, seed=seed, fps=5)
    bench = Bench(folder=folder)
    bench.write(entries(*FILMS))
    assert bench.run().exit_code is ExitCode.OK
    return folder


@pytest.fixture
def bench(made: Path, tmp_path: Path) -> Bench:
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    return Bench(folder=folder)


def state(bench: Bench) -> Path:
    (found,) = (each for each in (bench.folder / ".batchembed").iterdir() if each.is_dir())
    return found


def ledger(bench: Bench) -> Path:
    return state(bench) / "ledger.sqlite"


def outcomes(bench: Bench, **options: object) -> set[Outcome]:
    return {video.outcome for video in bench.run(**options).videos}  # type: ignore[arg-type]


def said(bench: Bench, verb: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a verb on the manifest, and all that it printed."""
    video = ["a"] if verb == ["show"] else []
    code = main([*verb, str(bench.manifest), *video])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def noise(path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  nothing is secret here
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 3, 20))):
        at = chance.choice((chance.randrange(100), chance.randrange(len(data))))
        length = chance.choice((1, 8, 300))
        data[at : at + length] = chance.randbytes(length)
    path.write_bytes(data)


def cut(path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  nothing is secret here
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(1, len(data))])


# -- a ledger that can't be used


@pytest.mark.parametrize("damage", [noise, cut])
def test_a_damaged_ledger_is_told_with_the_way_out_and_harms_no_dataset(
    bench: Bench,
    capsys: pytest.CaptureFixture[str],
    damage: object,
) -> None:
    whole, parts = ledger(bench).read_bytes(), bench.parts()
    refused = 0
    for seed in SEEDS:
        ledger(bench).write_bytes(whole)
        assert callable(damage)
        damage(ledger(bench), seed)
        for verb in VERBS[:-1]:
            code, printed = said(bench, verb, capsys)

            assert "Traceback" not in printed, (seed, verb)
            assert code in {ExitCode.OK, ExitCode.INCOMPLETE, ExitCode.IO, ExitCode.USAGE}, (
                seed,
                verb,
                printed,
            )
            if code == ExitCode.IO:
                refused += 1
                assert str(ledger(bench)) in printed
                assert "restore" in printed or "damaged" in printed
        assert bench.parts() == parts

    assert refused > len(SEEDS)


@pytest.mark.parametrize("what", ["text", "folder", "version 99", "no journal"])
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_a_ledger_that_cannot_be_one_ends_a_verb_with_exit_74(
    bench: Bench, capsys: pytest.CaptureFixture[str], what: str, verb: list[str]
) -> None:
    path, parts = ledger(bench), bench.parts()
    match what:
        case "text":
            path.write_text("not a database, and long enough to be none" * 30, encoding="utf-8")
        case "folder":
            path.unlink()
            path.mkdir()
        case "version 99":
            with closing(sqlite3.connect(path)) as db:
                db.execute("PRAGMA user_version = 99")
        case _:
            # As on a disk that takes no new file: nothing can be written, all can be read.
            path.with_name("ledger.sqlite-journal").unlink()
            path.with_name("ledger.sqlite-journal").mkdir()

    code, printed = said(bench, verb, capsys)

    assert "Traceback" not in printed
    if what == "no journal" and verb[0] not in {"run", "reconcile"}:
        assert code in {ExitCode.OK, ExitCode.IO}
    else:
        assert (code, str(path) in printed) == (ExitCode.IO, True), printed
    assert bench.parts() == parts


def test_an_empty_ledger_of_a_dataset_with_rows_is_refused(bench: Bench) -> None:
    ledger(bench).write_bytes(b"")

    with pytest.raises(LedgerError, match=r"restore the file from a backup; .* remove it"):
        bench.run()

    assert isinstance(bench.pool, InstantPool)
    assert bench.pool.embedded == []


def test_a_dataset_without_a_ledger_is_gone_on_with(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = bench.parts()
    shutil.rmtree(bench.folder / ".batchembed")
    for verb in VERBS[:4]:
        code, printed = said(bench, verb, capsys)
        assert code == ExitCode.OK, printed
        assert "2 jobs are taken from its record" in printed
        assert "listing" not in printed
    assert not (bench.folder / ".batchembed").exists()

    report = bench.run()

    assert (report.exit_code, report.submitted, bench.parts()) == (ExitCode.OK, 0, parts)
    assert len(report.warnings) == 1
    assert bench.run().warnings == ()


def test_a_ledger_on_a_full_disk_ends_the_run_before_anything_more_is_sent(
    tmp_path: Path,
) -> None:
    model = ModelBench(folder=tmp_path, tasks=1)
    for slot in range(FULL):
        model.put(slot, FileVideo(content=f"film {slot}".encode()))

    def fill(opened: SqliteLedger) -> None:
        pages = opened._db.execute("PRAGMA page_count").fetchone()[0]
        opened._db.execute(f"PRAGMA max_page_count = {pages}")

    model.on_open = fill
    with pytest.raises(LedgerError, match="disk is full"):
        model.run()
    paid = len(model.service.tasks)
    assert paid < FULL
    assert len(model.rows("SELECT * FROM charges")) >= paid

    model.on_open = None
    report = model.run()
    assert report is not None
    assert report.exit_code is ExitCode.OK
    assert model.service.doubled == []
    assert len(model.service.tasks) == FULL


# -- a ledger of an earlier version


def as_version_1(path: Path) -> None:
    """The same ledger as the first version wrote it."""
    old = path.with_name("old.sqlite")
    with closing(sqlite3.connect(old, isolation_level=None)) as db:
        db.executescript(queries.migrations()[0])
        db.execute("PRAGMA user_version = 1")
        db.execute("ATTACH ? AS new", (str(path),))
        for table in ("entries", "files"):
            names = [row[1] for row in db.execute(f"PRAGMA main.table_info({table})")]
            columns = ", ".join(names)
            db.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")  # noqa: S608
        db.execute("DETACH new")
    old.replace(path)


def test_a_ledger_of_version_1_is_read_as_it_is_and_migrated_by_a_run(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    as_version_1(ledger(bench))
    before, parts = ledger(bench).read_bytes(), bench.parts()

    for verb in (["status"], ["plan"], ["failures"], ["show"]):
        code, printed = said(bench, verb, capsys)
        assert code == ExitCode.OK, printed
        assert ledger(bench).read_bytes() == before

    report = bench.run()

    assert (report.exit_code, report.submitted, bench.parts()) == (ExitCode.OK, 0, parts)
    kept = ledger(bench).with_name("ledger.v1.sqlite")
    with closing(sqlite3.connect(kept)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM entries").fetchone() == (len(FILMS),)


def test_a_doubt_of_version_1_is_looked_up(tmp_path: Path) -> None:
    model = ModelBench(folder=tmp_path)
    model.put(0, FileVideo(content=b"one"))
    model.run(once=(lambda: model.service.tasks, "kill"))
    as_version_1(model.home.ledger)
    with closing(sqlite3.connect(model.home.ledger)) as db, db:
        db.execute("UPDATE entries SET state = 'unknown', task_id = NULL, submitted_at = NULL")

    report = model.run()

    assert report is not None
    assert report.exit_code is ExitCode.OK
    assert model.service.doubled == []


# -- staged files and parts


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("damage", ["cut", "bit", "gone", "empty", "folder"])
def test_a_staged_file_that_is_damaged_is_fetched_again_and_not_paid_for(
    bench: Bench, damage: str
) -> None:
    parts = bench.parts()
    shutil.rmtree(bench.output)
    shutil.rmtree(bench.folder / ".batchembed")

    def end(event: Event) -> None:
        if isinstance(event, Moved) and event.state is State.STAGED:
            raise KilledError

    try:
        bench.run(heard=Heard(then=end))
    except* KilledError:
        pass
    for path in (state(bench) / "staging").glob("*.arrow"):
        data = bytearray(path.read_bytes())
        match damage:
            case "cut":
                path.write_bytes(data[:-100])
            case "bit":
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
            case "empty":
                path.write_bytes(b"")
            case _:
                path.unlink()
                if damage == "folder":
                    path.mkdir()
    assert isinstance(bench.pool, InstantPool)

    reports = [bench.run(), bench.run()]

    if damage == "folder":  # nothing of ours: it is told, not removed
        assert reports[-1].exit_code is ExitCode.IO
        return
    assert reports[-1].exit_code is ExitCode.OK
    assert bench.parts() == parts
    assert len(set(bench.pool.embedded)) == len(bench.pool.embedded)


def test_missing_parts_are_told_from_and_made_again_without_a_payment(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = bench.parts()
    for path in parts:
        (bench.output / path).unlink()

    for verb in VERBS[:-2]:
        code, printed = said(bench, verb, capsys)
        assert code == ExitCode.OK, printed
    report = bench.run()

    assert (report.exit_code, report.submitted, bench.parts()) == (ExitCode.OK, 0, parts)


@pytest.mark.parametrize("name", ["dataset.json", "commits/000001.json"])
def test_a_damaged_record_is_an_error_that_names_it(
    bench: Bench, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = bench.output / "_batchembed" / name
    whole, parts = path.read_bytes(), bench.parts()
    for seed in SEEDS:
        path.write_bytes(whole)
        (noise, cut)[seed % 2](path, seed)
        for verb in VERBS[:-2]:
            code, printed = said(bench, verb, capsys)

            assert "Traceback" not in printed, (seed, verb)
            if code != ExitCode.OK:
                assert (code, str(path) in printed) == (ExitCode.IO, True), printed
    assert bench.parts() == parts


# -- what happens beside a run


def test_a_manifest_that_is_edited_during_a_run_counts_from_the_next_run_on(bench: Bench) -> None:
    bench.write(entries("a"))

    def edit(event: Event) -> None:
        if isinstance(event, Moved) and event.state is State.SUBMITTING:
            bench.manifest.write_text("version: 1\nvideos: [", encoding="utf-8")

    first = bench.run(overrides=["defaults.video_clip_length=4"], heard=Heard(then=edit))
    assert (first.exit_code, first.submitted) == (ExitCode.OK, 1)

    bench.write(entries(*FILMS))
    again = bench.run(overrides=["defaults.video_clip_length=4"])
    assert (again.exit_code, again.submitted) == (ExitCode.OK, 1)


@pytest.mark.parametrize("text", ["", "999999\n", "not a process\n", "\x00\xff" * 40])
def test_a_lock_whose_holder_is_gone_is_free(bench: Bench, text: str) -> None:
    for path in (state(bench) / "run.lock", bench.output / "_batchembed" / "lock"):
        path.write_text(text, encoding="utf-8")

    assert bench.run().exit_code is ExitCode.OK


@pytest.mark.parametrize("where", ["state", "output"])
def test_a_run_beside_another_sends_nothing_and_says_who_is_at_work(
    bench: Bench, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    path = state(bench) / "run.lock" if where == "state" else bench.output / "_batchembed" / "lock"
    before = ledger(bench).read_bytes()

    with run_lock(path):
        code, printed = said(bench, ["run"], capsys)
        assert (code, "another run holds this output by process" in printed) == (75, True)
        code, printed = said(bench, ["run", "--if-locked", "skip"], capsys)
        assert code == ExitCode.OK

    assert ledger(bench).read_bytes() == before


@pytest.mark.parametrize("where", ["run.lock", "lock"])
def test_a_file_system_without_locks_is_told(
    bench: Bench,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    """As Lustre is, or NFS without its lock daemon."""
    flock = fcntl.flock

    def refusing(descriptor: int, operation: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == where:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", refusing)
    code, printed = said(bench, ["run"], capsys)
    assert code == ExitCode.IO
    assert f"/{where} can't be locked: No locks available" in printed
    assert "Traceback" not in printed


def test_a_lock_that_cannot_be_made_is_told(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    path = state(bench) / "run.lock"
    path.unlink()
    path.mkdir()

    code, printed = said(bench, ["run"], capsys)

    assert (code, str(path) in printed) == (ExitCode.IO, True)
    assert "Traceback" not in printed
