"""The oracle itself: whatever it must find, it finds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from tests.support import oracle
from tests.support.emulator import emulated
from tests.support.killing import Ended, Launcher
from tests.torture.scene import FORGETS, Scene, set_scene

pytestmark = pytest.mark.torture


@pytest.fixture
def done(films: list[Path], launcher: Launcher, tmp_path: Path) -> Iterator[Scene]:
    """Two videos that are committed, and the service that is still there."""
    with emulated(tmp_path / "service", rules=FORGETS) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, films[:2])
        assert scene.run().code == 0
        assert scene.problems(wanted=oracle.parts(scene.output)) == []
        yield scene


def test_rows_that_are_missing_too_many_or_not_right_are_found(
    done: Scene, films: list[Path]
) -> None:
    right = {f"v/{film.name}": film for film in films[:2]}
    first, second = right
    assert oracle.wrong_rows(done.output, right) == []

    def said(videos: dict[str, Path]) -> set[str]:
        return {problem.partition(":")[0] for problem in oracle.wrong_rows(done.output, videos)}

    assert said({first: films[0]}) == {"of nothing"}
    assert said({**right, "v/other.mp4": films[2]}) == {"missing"}
    # Of the same length, so that only the vectors differ.
    assert said({first: films[3], second: films[1]}) == {"other bits"}


def test_a_video_without_a_task_or_with_two_is_found(done: Scene, films: list[Path]) -> None:
    three = oracle.unpaid_or_twice(done.emulator, done.output, films[:3])
    assert three == [f"{films[2].name}: 0 tasks"]
    (one, _) = done.emulator.tasks()
    again = msgspec.structs.replace(one, task_id="f" * 24, idempotency_key=None)
    done.emulator.engine.tasks.add(again)
    twice = oracle.unpaid_or_twice(done.emulator, done.output, films[:2])
    assert len(twice) == 1
    assert twice[0].endswith(": 2 tasks")


@pytest.mark.parametrize(
    "name",
    [
        "out/model_name=local-v1/part-0123456789abcdef.parquet",
        "out/_batchembed/incoming/group-0",
        ".batchembed/ID/staging/left.arrow",
        ".batchembed/ID/staging/left.arrow.tmp",
    ],
)
def test_a_file_that_is_left_over_is_found(done: Scene, name: str) -> None:
    path = done.folder / name.replace("ID", oracle.dataset_id(done.output))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    assert any(path.name in problem for problem in oracle.left_over(done.folder, done.output))


def test_a_part_that_is_gone_or_not_as_written_is_found(done: Scene) -> None:
    first, *_ = sorted(done.output.rglob("*.parquet"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    assert any(first.name in told for told in oracle.unreadable(done.folder, done.output))
    first.unlink()
    assert any(first.name in told for told in oracle.left_over(done.folder, done.output))


def test_a_job_that_is_not_committed_is_found(done: Scene) -> None:
    ledger = oracle.ledger_file(done.folder)
    with closing(sqlite3.connect(ledger)) as opened:
        opened.execute("UPDATE entries SET state = 'staged'")
        opened.commit()
    assert any("staged" in told for told in oracle.damage(done.folder, done.output, 2))


def test_an_ending_that_may_not_be_is_found() -> None:
    def ended(code: int, *, err: str = "", late: bool = False) -> Ended:
        return Ended(number=0, code=code, out="", err=err, began_at=0, wall_s=1.0, late=late)

    fine = [ended(0), ended(75), ended(69), ended(-9)]
    assert oracle.bad_endings(fine) == []
    for bad in (ended(1), ended(0, err="Traceback (most"), ended(-9, late=True), ended(-11)):
        assert len(oracle.bad_endings([*fine, bad])) == 1
