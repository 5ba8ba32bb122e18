"""What no current record names goes, and only that."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from batchembed.dataset.folder import Folder
from batchembed.dataset.garbage import Garbage, collect_garbage, list_garbage
from batchembed.dataset.record import last_record
from batchembed.dataset.storage import META
from batchembed.errors import BatchembedError, DatasetError, InputMissingError, LockedError
from batchembed.store.lock import run_lock
from tests.integration.test_publish_crashes import WORLDS, World, edit, names, readable
from tests.support.dataset import BreakingFiles, CrashError

#: Near what is swept, and named much like it.
FOREIGN = (
    "notes.txt",
    "mine.parquet",
    "part-0123.parquet",
    "model_name=local-v1/part-0123456789abcdef.parquet.bak",
    "other=x/deep=y/README",
    f"{META}/groups/group-mine.json",
    f"{META}/mine.json",
    f"{META}/incoming/notes.txt",
    f"{META}/incoming/mine.tmp",
    "year=2024/part-0123456789abcdef.parquet",
    "model_name=local-v1/year=2024/part-0123456789abcdef.parquet",
    "sub/part-0123456789abcdef.parquet",
)


def gc(root: Path, *, dry_run: bool = False) -> Garbage:
    if dry_run:
        return list_garbage(Folder(root))
    return collect_garbage(Folder(root), lock=run_lock, scratch=root.parent / "scratch")


def tree(root: Path) -> dict[str, bytes]:
    """Every file, but for the lock that whoever looks makes."""
    files = (path for path in root.rglob("*") if path.is_file())
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
    found.pop(f"{META}/lock", None)
    return found


def plant(root: Path) -> None:
    for name in FOREIGN:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"mine")


def of_records(root: Path) -> set[str]:
    """What the last record names, and the records themselves."""
    record = last_record(Folder(root))
    if record is None:
        return {f"{META}/dataset.json"}
    return {
        f"{META}/dataset.json",
        *(f"{META}/commits/{number:06d}.json" for number in range(1, record.number + 1)),
        *(part.path for part in record.parts),
        *(f"{META}/groups/{group.file}" for group in record.groups),
        *(f"{META}/{name}" for name, _ in record.side_files),
    }


@pytest.mark.slow
@pytest.mark.parametrize("build", WORLDS)
def test_after_a_publish_that_broke_anywhere_only_what_the_record_names_is_left(
    build: Callable[[Path], World], tmp_path: Path
) -> None:
    start = build(tmp_path / "start")
    broken, found_some = 0, 0
    while True:
        world = start.copy(tmp_path / f"broken-{broken}")
        files = BreakingFiles(broken, crash=True)
        with contextlib.suppress(CrashError, BatchembedError):
            world.publish(world.after, files)
        if (world.root / META / "dataset.json").exists():
            plant(world.root)
            before, record = tree(world.root), last_record(Folder(world.root))

            listed = gc(world.root, dry_run=True)
            assert tree(world.root) == before
            removed = gc(world.root)

            after = tree(world.root)
            assert removed == listed
            assert after.keys() == of_records(world.root) | set(FOREIGN)
            assert removed.files == tuple((key, len(before[key])) for key, _ in removed.files)
            assert last_record(Folder(world.root)) == record
            assert readable(world) in (names(world.before), names(world.after))
            assert gc(world.root).files == ()
            found_some += bool(removed.files)
        if not files.broke:
            break
        broken += 1
        shutil.rmtree(world.folder)
    assert found_some > 5


def test_a_partition_in_which_nothing_is_left_goes_too(tmp_path: Path) -> None:
    world = edit(tmp_path / "world")
    world.publish(world.after)
    left = world.root / "model_name=old/embedding_option=audio/part-0123456789abcdef.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left")

    assert gc(world.root).files == ((left.relative_to(world.root).as_posix(), 4),)
    assert not (world.root / "model_name=old").exists()


def test_a_link_out_of_the_dataset_is_not_followed(tmp_path: Path) -> None:
    world = edit(tmp_path / "world")
    world.publish(world.after)
    outside = tmp_path / "outside" / "part-0123456789abcdef.parquet"
    outside.parent.mkdir()
    outside.touch()
    (world.root / "place=linked").symlink_to(outside.parent)

    assert gc(world.root).files == ()
    assert outside.exists()


def test_nothing_is_removed_beside_a_run(tmp_path: Path) -> None:
    world = edit(tmp_path / "world")
    plant(world.root)
    before = tree(world.root)

    with run_lock(world.root / META / "lock"), pytest.raises(LockedError, match="another run"):
        gc(world.root)
    assert tree(world.root) == before


def test_looking_needs_no_lock_and_tells_of_a_run(tmp_path: Path) -> None:
    world = edit(tmp_path / "world")
    left = world.root / "model_name=local-v1" / "part-0123456789abcdef.parquet"
    left.write_bytes(b"left")

    with run_lock(world.root / META / "lock"):
        beside = gc(world.root, dry_run=True)
    (world.root / META / "lock").unlink()
    alone = gc(world.root, dry_run=True)

    assert (beside.at_work, alone.at_work) == (True, False)
    assert beside.files == alone.files == ((left.relative_to(world.root).as_posix(), 4),)
    assert not (world.root / META / "lock").exists()


def test_a_part_of_an_interrupted_publish_by_other_keys_goes_by_its_bytes(tmp_path: Path) -> None:
    world = edit(tmp_path / "world")
    content = b"a part"
    name = f"part-{hashlib.sha256(content).hexdigest()[:16]}.parquet"
    for key in (f"year=2024/{name}", f"month=5/day=1/{name}"):
        (world.root / key).parent.mkdir(parents=True)
        (world.root / key).write_bytes(content)

    removed = gc(world.root)

    assert {key for key, _ in removed.files} == {f"year=2024/{name}", f"month=5/day=1/{name}"}
    assert not (world.root / "year=2024").exists()
    assert not (world.root / "month=5").exists()


def test_an_empty_folder_that_is_no_partition_of_the_dataset_stays(tmp_path: Path) -> None:
    world = edit(tmp_path / "world")
    for name in ("year=2024", "model_name=old"):
        (world.root / name).mkdir()

    gc(world.root)

    assert (world.root / "year=2024").is_dir()
    assert not (world.root / "model_name=old").exists()


def torn_record(meta: Path) -> None:
    (meta / "commits" / "000001.json").write_bytes(b"{}")


def torn_group_file(meta: Path) -> None:
    next((meta / "groups").iterdir()).write_bytes(b"{}")


def no_records(meta: Path) -> None:
    (meta / "commits" / "000001.json").unlink()


@pytest.mark.parametrize("damage", [torn_record, torn_group_file, no_records])
def test_nothing_is_removed_where_the_record_is_damaged_or_gone(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    world = edit(tmp_path / "world")
    damage(world.root / META)
    before = tree(world.root)

    with pytest.raises(DatasetError, match="restore"):
        gc(world.root)
    assert tree(world.root) == before


def test_what_is_no_dataset_is_left_alone(tmp_path: Path) -> None:
    plant(tmp_path / "mine")
    before = tree(tmp_path / "mine")

    with pytest.raises(InputMissingError, match="is no dataset of batchembed"):
        gc(tmp_path / "mine")
    with pytest.raises(InputMissingError, match=f"there is no dataset at {tmp_path / 'nothing'}"):
        gc(tmp_path / "nothing")
    assert tree(tmp_path / "mine") == before
    assert not (tmp_path / "nothing").exists()
