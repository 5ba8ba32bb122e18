"""Two state folders with one output, or an old copy of one: what is in flight is not paid for again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from batchembed.cli.main import main
from batchembed.engine.faults.plan import IgnoreIdempotencyKey
from tests.support.emulator import MODEL, Emulator, HeldPool, emulated
from tests.support.media import make_video

pytestmark = pytest.mark.slow

FILMS = "abcd"
WARNING = "the ledger does not know the last run of this dataset: another state folder has it"


class Pool(HeldPool):
    """Can be held again."""

    def hold(self) -> None:
        with self._lock:
            self._held = []


@dataclass(frozen=True, kw_only=True)
class World:
    """A folder with a manifest, and a service that ignores every Idempotency-Key."""

    folder: Path
    emulator: Emulator
    pool: Pool
    capsys: pytest.CaptureFixture[str]

    def write(self, films: str) -> None:
        """Write a manifest of these films."""
        listed = "".join(f"- {{video_file: v/{name}.mp4, id: {name}}}\n" for name in films)
        (self.folder / "m.yaml").write_text(
            "version: 1\n"
            f"engine: {{kind: twelvelabs, base_url: '{self.emulator.base_url}', api_key_env: KEY}}\n"
            f"model_name: {MODEL}\n"
            "output: {path: out}\n"
            "polling: {first_wait_s: 0.02, longest_wait_s: 0.1}\n"
            "reconcile: {settle_s: 0.1}\n"
            f"videos:\n{listed}",
            encoding="utf-8",
        )

    def do(self, verb: str, state: str, *more: str) -> tuple[int, dict[str, Any]]:
        """The exit code of a verb, and what it says."""
        argv = [verb, "m.yaml", "--state-dir", state, "--format", "json", *more]
        code = main(argv, env={"KEY": "tlk_x"})
        return code, json.loads(self.capsys.readouterr().out)

    def leave_in_flight(self, state: str) -> None:
        code, report = self.do("run", state, "--set", "polling.deadline_s=1")
        assert (code, report["submitted"]) == (75, 2)
        self.pool.release()

    def ledger(self, state: str) -> Path:
        (found,) = (self.folder / state).rglob("ledger.sqlite")
        return found


@pytest.fixture
def world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[World]:
    """Whose service has embedded a and b, and embeds no other until it is released."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v").mkdir()
    for seed, name in enumerate(FILMS):
        make_video(tmp_path / "v" / f"{name}.mp4", seconds=4.0, fps=2, seed=seed)
    pool = Pool()
    with emulated(tmp_path / "service", rules=[IgnoreIdempotencyKey()], pool=pool) as emulator:
        pool.release()
        made = World(folder=tmp_path, emulator=emulator, pool=pool, capsys=capsys)
        made.write("ab")
        assert made.do("run", "A")[0] == 0
        pool.hold()
        yield made


def test_another_state_folder_finds_what_is_in_flight(world: World) -> None:
    assert world.do("run", "B")[0] == 0
    with closing(sqlite3.connect(world.ledger("B"))) as db, db:
        # Its doubts are over: the service lists nothing any more of the time before it began.
        db.execute("UPDATE beginning SET doubted_since = doubted_since - 8 * 86400")
    world.write(FILMS)
    world.leave_in_flight("A")

    _, planned = world.do("plan", "B")
    sought = [line for line in planned["videos"] if line["action"] == "submit"]
    assert ["unless the service lists" in line["why"] for line in sought] == [True, True]
    assert WARNING in str(world.do("status", "B")[1]["warnings"])
    code, report = world.do("run", "B")

    assert (code, report["submitted"], report["adopted"]) == (0, 0, 2)
    assert WARNING in str(report["warnings"])
    assert set(world.emulator.paid().values()) == {1}
    # From then on it is the last one, and says so no more.
    assert WARNING not in str(world.do("status", "B")[1]["warnings"])
    code, report = world.do("run", "B")
    assert (code, report["warnings"], report["requests"].get("list", 0)) == (0, [], 0)


def test_a_backup_that_is_put_back_finds_what_is_in_flight(world: World) -> None:
    backup = shutil.copy(world.ledger("A"), world.folder / "backup.sqlite")
    world.write(FILMS)
    world.leave_in_flight("A")
    shutil.copy(backup, world.ledger("A"))

    code, report = world.do("run", "A")

    assert (code, report["submitted"], report["adopted"]) == (0, 0, 2)
    assert WARNING in str(report["warnings"])
    assert set(world.emulator.paid().values()) == {1}
    assert main(["verify", "out"], env={}) == 0


def test_the_same_state_folder_says_nothing_and_asks_for_no_listing(world: World) -> None:
    world.pool.release()
    for films in ("abc", "abc", FILMS):
        world.write(films)
        assert world.do("status", "A")[1]["warnings"] == []
        code, report = world.do("run", "A")
        assert (code, report["warnings"]) == (0, [])
        assert report["adopted"] == 0
    assert set(world.emulator.paid().values()) == {1}


def test_the_embedded_engine_pays_for_nothing_and_says_so_nowhere(world: World) -> None:
    code, _ = world.do("run", "A", "--engine", "local")
    assert code == 0
    assert not (world.folder / "out.rehearsal" / "_batchembed" / "payer.json").exists()


def test_a_dataset_that_is_not_in_its_place_is_not_paid_for_again(world: World) -> None:
    (world.folder / "out").rename(world.folder / "away")
    (world.folder / "out").mkdir()  # as a mount point that nothing is mounted on

    code, refused = world.do("run", "A")
    assert code == 73
    words = "there was one, of which 2 tasks are paid for: mount the disk, or move it back"
    assert words in str(refused)
    assert [world.do(verb, "A")[0] for verb in ("plan", "reconcile")] == [73, 73]
    assert words in str(world.do("status", "A")[1]["warnings"])
    assert list((world.folder / "out").iterdir()) == []

    (world.folder / "out").rmdir()
    (world.folder / "away").rename(world.folder / "out")
    code, report = world.do("run", "A")
    assert (code, report["submitted"]) == (0, 0)
    assert set(world.emulator.paid().values()) == {1}


def test_what_is_to_be_paid_for_again_is_said_by_removing_its_state(world: World) -> None:
    shutil.rmtree(world.folder / "out")
    assert world.do("plan", "A")[0] == 73
    # Another place is another dataset, and another state folder knows of none.
    assert world.do("plan", "A", "--set", "output.path=elsewhere")[0] == 0
    assert world.do("plan", "B")[0] == 0
    # Nor does any folder that is named as one.
    (world.folder / "other" / "output").mkdir(parents=True)
    assert world.do("plan", ".")[0] == 0
    shutil.rmtree(world.ledger("A").parent)
    assert world.do("plan", "A")[1]["counts"] == {"submit": 2}
