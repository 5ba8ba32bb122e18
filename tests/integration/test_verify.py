"""What `verify` finds in the files of a dataset, and in its records."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchembed.cli.main import main
from batchembed.core.keys import canonical_json, digest
from batchembed.core.verification import Checked
from batchembed.dataset.folder import Folder
from batchembed.dataset.record import record_key
from batchembed.dataset.row_group import ROW_GROUP_ROWS
from batchembed.dataset.storage import META
from batchembed.dataset.verification.records import check_dataset_file
from batchembed.dataset.verification.verify import verify
from batchembed.errors import DatasetError
from tests.support.dataset import (
    BreakingFiles,
    CrashError,
    open_here,
    publish,
    stage,
)
from tests.support.tampering import (
    a_dataset,
    codes,
    silent,
    the_record,
    verified,
    write_record,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return a_dataset(tmp_path)


def test_a_sound_dataset_has_no_fault_and_is_looked_at_whole(root: Path) -> None:
    found = verified(root)
    record = the_record(root)
    assert found.findings == ()
    assert (found.dataset_id, found.model_name, found.record) == ("d" * 32, "local-v1", 3)
    assert found.checked == Checked(
        records=3,
        videos=2,
        parts=len(record.parts),
        rows=10,
        bytes=sum(part.bytes for part in record.parts),
    )


def test_a_copy_elsewhere_needs_neither_ledger_nor_manifest(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "elsewhere" / "copy")
    assert main(["verify", str(tmp_path / "elsewhere" / "copy")], env={}) == 0


def test_rows_of_several_row_groups_and_a_video_across_two_of_them(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    sizes = {"a": 8000, "b": ROW_GROUP_ROWS, "c": 1}
    specs = [
        replace(
            stage(tmp_path / "staging", name, rows={"audio": rows, "visual-text": 1}),
            duration_sec=rows * 2.0,
        )
        for name, rows in sizes.items()
    ]
    publish(open_here(tmp_path / "out"), tmp_path / "staging", specs)
    assert verified(tmp_path / "out").findings == ()


def test_a_dataset_without_a_record_yet_is_told_and_is_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_here(tmp_path / "out")
    assert main(["verify", str(tmp_path / "out")], env={}) == 0
    assert (
        "the dataset has no record yet; run its manifest [record_none]" in capsys.readouterr().out
    )


def test_an_interrupted_publish_is_no_damage_but_leaves_parts_that_a_glob_reads(
    tmp_path: Path,
) -> None:
    """At whatever operation it ended; the next run ends it."""
    at, broke = 0, True
    while broke:
        folder = tmp_path / str(at)
        (folder / "staging").mkdir(parents=True)
        before = [stage(folder / "staging", name) for name in ("a", "b")]
        publish(open_here(folder / "out"), folder / "staging", before)
        after = [*before[1:], stage(folder / "staging", "c")]
        files = BreakingFiles(at, crash=True)
        dataset = open_here(folder / "out")
        dataset.storage.files = files
        try:
            publish(dataset, folder / "staging", after, side_files={"videos.jsonl": b"{1}\n"})
        except CrashError:
            assert set(codes(folder / "out")) <= {"part_orphaned"}
            open_here(folder / "out")
            assert verified(folder / "out").findings == ()
        broke = files.broke
        at += 1
    assert at > 20


def test_what_is_wrong_is_all_told_at_once(root: Path) -> None:
    part, other = the_record(root).parts[:2]
    (root / part.path).unlink()
    content = bytearray((root / other.path).read_bytes())
    content[len(content) // 2] ^= 1
    (root / other.path).write_bytes(content)
    (root / META / "videos.jsonl").write_text("{}\n", encoding="utf-8")
    (root / record_key(1)).unlink()
    (root / "more.parquet").write_bytes(b"PAR1")
    assert [(fault.code, fault.file) for fault in verified(root).faults] == [
        ("record_missing", record_key(1)),
        ("file_damaged", f"{META}/videos.jsonl"),
        ("part_missing", part.path),
        ("part_damaged", other.path),
        ("file_foreign", "more.parquet"),
    ]


def test_the_row_group_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    spec = stage(tmp_path / "staging", "a", rows={"audio": ROW_GROUP_ROWS + 100})
    publish(open_here(tmp_path / "out"), tmp_path / "staging", [replace(spec, duration_sec=None)])
    (part,) = the_record(tmp_path / "out").parts
    path = tmp_path / "out" / part.path
    column = pq.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    assert column.dictionary_page_offset is not None
    content[column.dictionary_page_offset + column.total_compressed_size - 2] ^= 1
    path.write_bytes(content)
    (fault,) = verified(tmp_path / "out").faults
    assert (fault.code, fault.file, fault.row_group) == ("part_damaged", part.path, 1)
    content[-3] ^= 1  # the footer
    path.write_bytes(content)
    (fault,) = verified(tmp_path / "out").faults
    assert (fault.code, fault.file, fault.row_group) == ("part_damaged", part.path, None)


@pytest.mark.parametrize(
    ("name", "code", "is_fault"),
    [
        (f"part-{'0' * 16}.parquet", "part_orphaned", True),
        ("x=1/part-other.parquet", "file_foreign", True),
        (f"backup/part-{'0' * 16}.parquet", "file_foreign", True),
        (f"{META}/copy.parquet", "file_foreign", True),
        (f"{META}/incoming/group-0-1.tmp", "file_temporary", False),
        (f"{META}/groups/group-{'0' * 16}.json", "group_orphaned", False),
        (f"{META}/groups/group-1.json", "file_foreign", False),
        (f"{META}/.DS_Store", "file_foreign", False),
        (f"{META}/commits/000003.json.bak", "file_foreign", False),
        ("model_name=local-v1/notes.txt", "file_foreign", False),
    ],
)
def test_a_file_that_no_record_names_is_told(
    root: Path, name: str, code: str, is_fault: bool
) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(b"{}")
    (found,) = verified(root).findings
    assert (found.code, found.file, found.is_fault) == (code, name, is_fault)


def test_a_link_is_not_said_to_go_by_itself(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"PAR1")
    (root / f"part-{'0' * 16}.parquet").symlink_to(tmp_path / "elsewhere")
    (fault,) = verified(root).faults
    assert (fault.code, fault.hint) == ("file_foreign", "move it out of the dataset")


def test_what_no_reader_looks_at_is_said_to_disturb_none(root: Path) -> None:
    (root / META / ".DS_Store").touch()
    (notice,) = verified(root).notices
    assert notice.hint == "move it out; it disturbs no reader, for none looks in there"


def test_what_readers_of_a_folder_leave_out_is_left_out(root: Path) -> None:
    (root / "_SUCCESS").touch()
    (root / ".DS_Store").touch()
    assert verified(root).findings == ()


def test_the_loss_of_the_newest_record_is_told(root: Path) -> None:
    (root / record_key(3)).unlink()
    faults = verified(root).faults
    assert faults[-1].code == "record_missing"
    assert faults[-1].file == record_key(3)


def test_records_of_another_dataset_or_in_another_order_are_told(root: Path) -> None:
    record = the_record(root)
    write_record(root, replace(record, dataset_id="e" * 32, previous_sha256="0" * 64))
    assert codes(root) == ["record_unchained", "record_foreign"]
    (root / record_key(2)).rename(root / record_key(4))
    assert codes(root)[:1] == ["record_missing"]
    assert "record_misnamed" in codes(root)


def test_a_record_that_points_outside_the_dataset_is_not_followed(root: Path) -> None:
    record = the_record(root)
    (group, *_) = record.groups
    outside = replace(group.parts[0], path="../outside.parquet")
    write_record(root, replace(record, groups=(replace(group, parts=(outside,)),)))
    found = verified(root)
    assert "part_misnamed" in [fault.code for fault in found.faults]
    assert found.checked.parts == 0


def test_a_dataset_of_an_earlier_version_has_a_file_without_sha256_and_says_so(root: Path) -> None:
    path = root / META / "dataset.json"
    content = json.loads(path.read_bytes())
    del content["sha256"]
    path.write_text(canonical_json(content) + "\n", encoding="utf-8")
    found = verified(root)
    assert [(each.code, each.is_fault) for each in found.findings] == [
        ("dataset_file_unsealed", False)
    ]
    open_here(root)
    path.write_text(canonical_json({**content, "sha257": "0"}) + "\n", encoding="utf-8")
    assert codes(root) == ["file_damaged"]


def test_every_bit_of_the_file_that_says_which_dataset_this_is_counts(root: Path) -> None:
    path = root / META / "dataset.json"
    content = path.read_bytes()
    storage = Folder(root)
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        found: list[Any] = []
        assert check_dataset_file(storage, found.append) is None
        assert [each.code for each in found] == ["file_damaged"]


@pytest.mark.parametrize("name", ["dataset.json", "commits/000003.json"])
def test_a_newer_version_is_told_from_damage(root: Path, name: str) -> None:
    path = root / META / name
    content = json.loads(path.read_bytes())
    del content["sha256"]
    content["format"] = 2
    content["new"] = True
    sealed = {**content, "sha256": digest(content)}
    path.write_text(canonical_json(sealed) + "\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"has format 2.* upgrade batchembed"):
        verified(root)


def test_a_folder_that_nobody_may_read_is_told(root: Path) -> None:
    part = the_record(root).parts[0]

    class Torn(Folder):
        def open(self, key: str) -> pa.NativeFile:
            if key == part.path:
                raise OSError(5, "Input/output error", key)
            return super().open(key)

    (fault,) = verify(Torn(root), silent).verification.faults
    assert (fault.code, fault.file) == ("file_unreadable", part.path)
    assert fault.message == "a part can't be read: Input/output error"


def test_the_first_record_of_a_dataset_is_missed_for_its_side_files(root: Path) -> None:
    """Also where the rest of what it named might be the work of a run unseen."""
    shutil.rmtree(root / META / "commits")
    shutil.rmtree(root / "model_name=local-v1")
    shutil.rmtree(root / META / "groups")
    assert codes(root) == ["record_missing"]
