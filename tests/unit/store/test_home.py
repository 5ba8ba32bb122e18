"""What is swept of a state folder before a run."""

from __future__ import annotations

from pathlib import Path

from batchembed.store.home import KEPT_REPORTS, Home


def test_the_newest_reports_are_kept_and_what_was_begun_is_not(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.runs.mkdir()
    home.staging.mkdir()
    for name in ("k.arrow", "l.arrow.tmp"):
        (home.staging / name).write_bytes(b"rows")
    names = [f"20261129T{number:06}Z-aaaaaa.json" for number in range(KEPT_REPORTS + 3)]
    for name in (*reversed(names), f".{names[-1]}.1.tmp"):
        (home.runs / name).write_text("{}")
    (home.runs / "notes.txt").write_text("mine")
    home.sweep()
    assert sorted(path.name for path in home.runs.iterdir()) == [*names[3:], "notes.txt"]
    assert [path.name for path in home.staging.iterdir()] == ["k.arrow"]
    home.sweep()
    assert len(list(home.runs.iterdir())) == KEPT_REPORTS + 1
