"""Damage of every kind to the files of a dataset and of a ledger, and whether `verify` finds it.

BATCHEMBED_DAMAGES=1000 is the long form.
"""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchembed.dataset.folder import Folder
from batchembed.dataset.parts import part_writer
from batchembed.dataset.publish import RowSpec
from batchembed.dataset.verification.verify import verify
from batchembed.errors import InputMissingError
from batchembed.runner.cross_check import cross_check
from batchembed.store.inspect import inspect
from tests.support.dataset import open_here, publish, stage
from tests.support.ledgers import write_ledger
from tests.support.tampering import a_dataset, silent, verified

pytestmark = pytest.mark.torture

_DAMAGES = int(os.environ.get("BATCHEMBED_DAMAGES", "200"))
_CLEAN = 100 if _DAMAGES >= 1000 else 25
UNCHECKED = "file_unchecked"
_KINDS = ("flip", "cut", "delete", "swap")


class Damage(NamedTuple):
    kind: str
    files: tuple[str, ...]  #: those that are not what they were


def files_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def flip(root: Path, key: str, drawn: random.Random) -> None:
    content = bytearray((root / key).read_bytes())
    content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    (root / key).write_bytes(content)


def damage(root: Path, drawn: random.Random) -> Damage:
    """Do one damage to a dataset."""
    kind, whole = drawn.choice(_KINDS), files_of(root)
    key, other = drawn.sample(sorted(whole), 2)
    match kind:
        case "flip":
            flip(root, key, drawn)
        case "cut":
            (root / key).write_bytes(whole[key][: drawn.randrange(len(whole[key]))])
        case "delete":
            (root / key).unlink()
        case _:
            (root / key).write_bytes(whole[other])
            (root / other).write_bytes(whole[key])
            return Damage(kind, (key, other))
    return Damage(kind, (key,))


@pytest.fixture(scope="module", params=["by-all", "by-none", "by-place"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    keys = {
        "by-all": ("model_name", "embedding_option", "embedding_scope"),
        "by-none": (),
        "by-place": ("place",),
    }
    folder = tmp_path_factory.mktemp("damage") / "dataset"
    return a_dataset(folder, partition_by=keys[request.param])


def restored(whole: Path, scratch: Path) -> Path:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(whole, scratch)
    return scratch


def test_every_damage_is_found_and_located(whole: Path, tmp_path: Path) -> None:
    drawn = random.Random(5)  # noqa: S311  nothing to guess
    missed: list[Damage] = []
    done: Counter[str] = Counter()
    for _ in range(_DAMAGES // 3 + 1):
        root = restored(whole, tmp_path / "out")
        done_now = damage(root, drawn)
        done[done_now.kind] += 1
        found = verified(root)
        # A side file is vouched for by the last record alone: without that, it is told unchecked.
        named = {each.file for each in found.findings if each.is_fault or each.code == UNCHECKED}
        if not found.faults or not named >= set(done_now.files):
            missed.append(done_now)
    assert missed == []
    assert done.keys() == set(_KINDS)


def test_each_of_200_flipped_bits_is_found_and_located(whole: Path, tmp_path: Path) -> None:
    drawn = random.Random(6)  # noqa: S311  nothing to guess
    root = restored(whole, tmp_path / "out")
    content = files_of(root)
    missed = []
    for _ in range(max(200, _DAMAGES) // 3 + 1):
        key = drawn.choice(sorted(content))
        flip(root, key, drawn)
        if key not in {fault.file for fault in verified(root).faults}:
            missed.append(key)
        (root / key).write_bytes(content[key])
    assert missed == []


def shapes(
    drawn: random.Random, staging: Path
) -> Iterator[tuple[list[RowSpec], list[RowSpec], tuple[str, ...]]]:
    """Some publishes of one dataset: what is listed, what is kept, and the folders."""
    keys = ("model_name", "embedding_option", "embedding_scope", "place")
    by = tuple(key for key in keys if drawn.random() < 0.5)
    before: list[RowSpec] = []
    for _ in range(drawn.randint(1, 4)):
        specs = [
            a_spec(name, drawn, staging) for name in drawn.sample("abcdefgh", drawn.randint(1, 8))
        ]
        names = {spec.video_id for spec in specs}
        kept = [spec for spec in before if spec.video_id not in names and drawn.random() < 0.7]
        before = [*specs, *kept]
        yield specs, kept, by


def a_spec(name: str, drawn: random.Random, staging: Path) -> RowSpec:
    options = drawn.sample(["audio", "visual-text", "lyrics"], drawn.randint(1, 3))
    rows = {option: drawn.choice([1, 2, 5, 40]) for option in options}
    spec = stage(
        staging,
        name,
        rows=rows,
        job=f"{name}{drawn.random()}",
        options=drawn.choice([None, None, (min(rows),)]),
        metadata={"place": drawn.choice(["x", "y y"]), "n": drawn.randint(0, 9)},
    )
    duration = drawn.choice([None, 2.0 * max(rows.values())])
    return dataclasses.replace(spec, duration_sec=duration)


def test_a_dataset_to_which_nothing_happened_has_no_fault(tmp_path: Path) -> None:
    for number in range(_CLEAN):
        drawn = random.Random(number)  # noqa: S311  nothing to guess
        folder = tmp_path / str(number)
        (folder / "staging").mkdir(parents=True)
        for listed, kept, by in shapes(drawn, folder / "staging"):
            publish(open_here(folder / "out"), folder / "staging", listed, kept, partition_by=by)
            assert verified(folder / "out").findings == ()
        shutil.rmtree(folder)


def test_without_sha256_and_checksums_most_flipped_bits_go_unseen(tmp_path: Path) -> None:
    """The negative control: what a reader sees that does not ask for checksums."""
    drawn = random.Random(7)  # noqa: S311  nothing to guess
    vectors = np.random.default_rng(7).standard_normal(1000 * 128, dtype=np.float32)
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors), 128)
    path = tmp_path / "part.parquet"
    table = pa.table({"embedding": values.cast(pa.list_(pa.field("element", pa.float32()), 128))})
    with path.open("wb") as file, part_writer(file, table.schema) as writer:
        writer.write_table(table)
    content = path.read_bytes()
    seen = 0
    for _ in range(100):
        flip(tmp_path, "part.parquet", drawn)
        try:
            pq.read_table(path)
        except (OSError, pa.ArrowException):
            seen += 1
        path.write_bytes(content)
    assert seen < 50


def test_damage_of_a_ledger_is_found_where_it_can_be_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite's pages have no checksums: what is measured is what its own check and the dataset see."""
    drawn = random.Random(8)  # noqa: S311  nothing to guess
    (tmp_path / "staging").mkdir()
    specs = [stage(tmp_path / "staging", f"v{n}") for n in range(60)]
    path = tmp_path / "ledger.sqlite"
    write_ledger(path, specs)
    content = path.read_bytes()

    def found() -> str | None:
        inspected = inspect(path)
        assert inspected is not None
        if inspected.faults:
            return "integrity"
        if inspected.unread is not None:
            return "unread"
        assert inspected.entries is not None
        return "cross-check" if [*cross_check("l", inspected.entries, specs, 1)] else None

    assert found() is None
    told: Counter[str | None] = Counter()
    for _ in range(_DAMAGES):
        flip(tmp_path, path.name, drawn)
        told[found()] += 1
        path.write_bytes(content)
    with capsys.disabled():
        seen = _DAMAGES - told[None]
        print(f"\nledger: {seen} of {_DAMAGES} flipped bits seen: {dict(told)}")  # noqa: T201  the share is what is measured
    assert told["integrity"]
    assert told["cross-check"]
    path.write_bytes(content[: len(content) // 2])
    assert found() == "integrity"


def test_a_ledger_to_which_nothing_happened_has_no_fault(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    specs = [stage(tmp_path / "staging", f"v{n}") for n in range(3)]
    path = tmp_path / "ledger.sqlite"
    write_ledger(path, specs)
    with sqlite3.connect(path) as db:
        db.execute("VACUUM")
    db.close()
    inspected = inspect(path)
    assert inspected is not None
    assert inspected.faults == ()
    assert inspected.entries is not None
    assert list(cross_check("l", inspected.entries, specs, 1)) == []


def test_what_never_was_a_dataset_is_no_damaged_one(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputMissingError, match="is no dataset of batchembed"):
        verify(Folder(tmp_path), silent)
