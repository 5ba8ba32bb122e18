"""What `verify` says of a dataset to which a run publishes at that moment: nothing false."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchembed.core.verification import Verification
from batchembed.dataset.files import Files
from batchembed.dataset.folder import Folder
from batchembed.dataset.record import record_key
from batchembed.dataset.storage import META
from batchembed.dataset.sweep import waiting_key
from batchembed.dataset.verification.verify import verify
from batchembed.errors import LockedError
from batchembed.store.lock import run_lock
from tests.support.dataset import open_here, publish, stage
from tests.support.tampering import a_dataset, silent, the_record


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return a_dataset(tmp_path)


@pytest.mark.parametrize("publishes", [1, 3])
def test_a_publish_in_the_middle_raises_no_false_alarm(
    root: Path, tmp_path: Path, publishes: int
) -> None:
    """It is looked at again; where runs publish all the time, that is said."""

    class Busy(Folder):
        looks = 0

        def everything(self) -> Any:
            found = list(super().everything())
            if self.looks % 2 == 0 and self.looks // 2 < publishes:
                specs = [stage(tmp_path / "staging", f"n{self.looks}")]
                publish(open_here(root), tmp_path / "staging", specs)
            self.looks += 1
            return found

    if publishes == 1:
        assert verify(Busy(root), silent).verification.faults == ()
    else:
        with pytest.raises(LockedError, match="published anew while it is checked"):
            verify(Busy(root), silent)


class Watched(Files):
    """Looks at a dataset whenever a publish is between its parts and its record, or after that."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: list[Verification] = []
        self.pauses: list[float] = []

    def link(self, old: Path, new: Path) -> None:
        self.look()
        super().link(old, new)

    def remove(self, path: Path) -> None:
        if path.suffix == ".parquet":
            self.look()
        super().remove(path)

    def look(self) -> None:
        with run_lock(self.root / META / "lock"):
            self.found.append(verify(Folder(self.root), silent, self.pauses.append).verification)


def test_a_run_that_stays_in_the_middle_of_a_publish_is_no_fault(
    root: Path, tmp_path: Path
) -> None:
    """It is waited for, and then told."""
    dataset = open_here(root)
    dataset.storage.files = watched = Watched(root)
    publish(dataset, tmp_path / "staging", [stage(tmp_path / "staging", "new")])
    assert len(watched.found) > 2
    assert len(watched.pauses) >= 3 * len(watched.found)
    for found in watched.found:
        assert found.faults == ()
        orphaned = [each for each in found.notices if each.code == "part_orphaned"]
        assert orphaned
        assert {each.hint for each in orphaned} == {
            "a run is at work: verify again when it has ended"
        }


def test_the_first_publish_of_a_run_at_work_is_no_lost_record(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    dataset = open_here(tmp_path / "out")
    dataset.storage.files = watched = Watched(tmp_path / "out")
    publish(dataset, tmp_path / "staging", [stage(tmp_path / "staging", "a")])
    (found,) = watched.found
    assert found.faults == ()
    assert {"record_none", "part_orphaned"} <= {each.code for each in found.notices}


def test_what_a_run_ends_while_it_is_waited_for_was_never_a_fault(root: Path) -> None:
    orphan = root / f"part-{'0' * 16}.parquet"
    orphan.write_bytes(b"PAR1")
    with run_lock(root / META / "lock"):
        found = verify(Folder(root), silent, lambda _: orphan.unlink(missing_ok=True))
    assert found.verification.findings == ()


def test_where_no_run_is_at_work_nobody_waits(root: Path) -> None:
    (root / f"part-{'0' * 16}.parquet").write_bytes(b"PAR1")
    pauses: list[float] = []
    (fault,) = verify(Folder(root), silent, pauses.append).verification.faults
    assert (fault.code, pauses) == ("part_orphaned", [])


def test_what_goes_while_it_is_listed_is_left_out(root: Path) -> None:
    listing = Folder(root).everything()
    assert next(listing)[0] == record_key(1)
    (root / record_key(2)).unlink()
    shutil.rmtree(root / "model_name=local-v1")
    found = dict(listing)
    assert record_key(3) in found
    assert not any(key == record_key(2) or key.endswith(".parquet") for key in found)


def test_a_side_file_that_gets_its_name_while_it_is_looked_at_is_right(root: Path) -> None:
    """Its old bytes are read, and then it is where it belongs."""
    record = the_record(root)
    name, sha256 = record.side_files[0]
    content = (root / META / name).read_bytes()
    waiting = root / waiting_key(name, sha256)
    waiting.write_bytes(content)
    (root / META / name).write_bytes(b"before")

    class Moving(Folder):
        def read(self, key: str) -> bytes:
            if key == waiting_key(name, sha256):
                waiting.replace(root / META / name)
            return super().read(key)

    assert verify(Moving(root), silent).verification.faults == ()


def test_a_temporary_file_that_goes_after_it_is_listed_is_not_called_foreign(root: Path) -> None:
    class Passing(Folder):
        def everything(self) -> Iterator[tuple[str, int]]:
            yield from super().everything()
            yield f"{META}/incoming/group-0-1.tmp", 7

    (notice,) = verify(Passing(root), silent).verification.findings
    assert notice.code == "file_temporary"
