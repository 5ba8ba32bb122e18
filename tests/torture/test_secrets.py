"""The search for secrets that ends every session of tests: it finds what it looks for."""

from __future__ import annotations

import gzip
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.canary import KEY, SIGNATURE, found_in, leaks, presigned
from tests.support.emulator import Loss, emulated
from tests.support.killing import Launcher
from tests.support.serving import films_at
from tests.torture.scene import FORGETS, set_scene

pytestmark = pytest.mark.torture


def test_a_secret_is_found_wherever_it_is(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The negative control: one file of each kind has it, and each is found."""
    root = tmp_path_factory.mktemp("elsewhere")
    try:
        (root / "deep").mkdir()
        (root / "deep" / "run.log").write_bytes(b"x" * 100 + KEY.encode() + b"\n")
        (root / "report.json.gz").write_bytes(gzip.compress(SIGNATURE.encode()))
        column = pa.array([KEY] * 2000)
        pq.write_table(pa.table({"source": column}), root / "part.parquet", compression="zstd")
        with closing(sqlite3.connect(root / "ledger.sqlite")) as ledger:
            ledger.execute("CREATE TABLE t (words)")
            ledger.execute("INSERT INTO t VALUES (?)", ("y" * 9000 + SIGNATURE,))
            ledger.commit()
        (root / f"{SIGNATURE}.txt").write_bytes(b"")
        (root / "clean.txt").write_bytes(b"nothing")
        found = {path.name for path in leaks(root)}
        assert found == {
            "run.log",
            "report.json.gz",
            "part.parquet",
            "ledger.sqlite",
            f"{SIGNATURE}.txt",
        }
    finally:
        for path in sorted(root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("output", ["text", "json"])
def test_runs_of_presigned_urls_tell_and_keep_neither_key_nor_signature(
    films: list[Path], launcher: Launcher, tmp_path: Path, output: str
) -> None:
    """One URL can't be fetched, the answer of one create is lost, one service refuses the key's run."""
    losses = [Loss(how="drop", when="after")]
    with (
        films_at(films[0].parent, threading.Event()) as address,
        emulated(tmp_path / "service", rules=FORGETS, losses=losses, fetches=True) as emulator,
    ):
        names = (films[0].name, films[1].name, "absent.mp4")
        urls = [presigned(f"{address}/{name}") for name in names]
        scene = set_scene(tmp_path / "scene", launcher, emulator, urls=urls)
        ended = scene.run("--format", output)
        assert len(emulator.tasks()) == len(urls)
    away = scene.run("--format", output, "--set", "engine.base_url=http://127.0.0.1:9/v1.3")

    for run in (ended, away):
        assert not found_in(run.out + run.err)
    assert leaks(scene.folder) == []
