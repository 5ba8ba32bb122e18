"""A publish broken at every one of its operations, and the runs after it."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from batchembed.dataset.publish import RowSpec
from batchembed.dataset.read import open_dataset
from batchembed.errors import BatchembedError, StorageError
from tests.support.dataset import (
    BreakingFiles,
    CrashError,
    open_here,
    parts_on_disk,
    publish,
    stage,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A dataset of one record in `folder`, and the publish that is going to break."""

    folder: Path
    before: tuple[RowSpec, ...]
    after: tuple[RowSpec, ...]

    @property
    def root(self) -> Path:
        return self.folder / "out"

    @property
    def staging(self) -> Path:
        return self.folder / "staging"

    def publish(self, specs: tuple[RowSpec, ...], files: BreakingFiles | None = None) -> None:
        dataset = open_here(self.root, files=files or BreakingFiles(NEVER, crash=True))
        listing = " ".join(spec.video_id for spec in specs).encode()
        publish(dataset, self.staging, specs, side_files={"videos.jsonl": listing})

    def copy(self, to: Path) -> World:
        shutil.copytree(self.folder, to)
        return dataclasses.replace(self, folder=to)


def first_publish(folder: Path) -> World:
    """Into a folder that does not exist yet."""
    world = World(folder=folder, before=(), after=())
    world.staging.mkdir(parents=True)
    return dataclasses.replace(world, after=tuple(stage(world.staging, name) for name in "ab"))


def edit(folder: Path) -> World:
    """One video is new, one is narrowed, one is moved to another place, one is gone."""
    world = first_publish(folder)
    old = tuple(stage(world.staging, name, metadata={"place": "p-1"}) for name in "abcd")
    world.publish(old)
    after = (
        stage(world.staging, "new", metadata={"place": "p-2"}),
        dataclasses.replace(old[0], options=("audio",)),
        old[1],
        dataclasses.replace(old[2], metadata={"place": "p-3"}),
    )
    return dataclasses.replace(world, before=old, after=after)


#: Operations in a whole life of these datasets are far fewer.
NEVER = 1_000_000
WORLDS = [first_publish, edit]


def readable(world: World) -> set[str]:
    """The videos in the last record, read whole."""
    if open_here(world.root).last() is None:
        return set()
    rows = open_dataset(world.root).to_table(columns=["video_id", "embedding"])
    rows.validate(full=True)
    return {str(video_id) for video_id in rows["video_id"].to_pylist()}


def names(specs: tuple[RowSpec, ...]) -> set[str]:
    return {spec.video_id for spec in specs}


def wide(world: World) -> tuple[RowSpec, ...]:
    return tuple(dataclasses.replace(spec, options=None) for spec in world.after)


def side_file(world: World) -> bytes:
    return (world.root / "_batchembed" / "videos.jsonl").read_bytes()


def leftovers(world: World) -> list[str]:
    return [path.name for path in world.folder.rglob("*.tmp")]


@pytest.mark.slow
@pytest.mark.parametrize("build", WORLDS)
@pytest.mark.parametrize("crash", [True, False], ids=["killed", "disk full"])
def test_a_publish_broken_anywhere_leaves_a_whole_record_and_ends_the_same_when_run_again(
    build: Callable[[Path], World], crash: bool, tmp_path: Path
) -> None:
    start = build(tmp_path / "start")
    expected = start.copy(tmp_path / "expected")
    expected.publish(expected.after)
    broken = 0
    while True:
        world = start.copy(tmp_path / f"broken-{broken}")
        files = BreakingFiles(broken, crash=crash)
        with contextlib.suppress(CrashError, BatchembedError):
            world.publish(world.after, files)
        if not files.broke:
            break
        assert readable(world) in (names(world.before), names(world.after))
        world.publish(world.after)
        assert parts_on_disk(world.root) == parts_on_disk(expected.root)
        assert side_file(world) == side_file(expected)
        assert leftovers(world) == []
        assert readable(world) == names(world.after)
        broken += 1
        shutil.rmtree(world.folder)
    assert broken > 20


def test_what_was_narrowed_when_it_broke_can_still_be_widened(tmp_path: Path) -> None:
    start = edit(tmp_path / "start")
    expected = start.copy(tmp_path / "expected")
    expected.publish(wide(expected))
    broken = 0
    while True:
        world = start.copy(tmp_path / f"broken-{broken}")
        files = BreakingFiles(broken, crash=True)
        with contextlib.suppress(CrashError):
            world.publish(world.after, files)
        world.publish(wide(world))
        assert parts_on_disk(world.root) == parts_on_disk(expected.root)
        if not files.broke:
            break
        broken += 1
        shutil.rmtree(world.folder)


def test_a_full_disk_is_told_and_its_temporary_files_are_removed(tmp_path: Path) -> None:
    world = edit(tmp_path / "world")
    dataset = open_here(world.root)
    before = parts_on_disk(world.root)
    broken = open_here(world.root, files=BreakingFiles(10, crash=False))
    with pytest.raises(StorageError, match="No space left on device"):
        publish(broken, world.staging, world.after)
    assert leftovers(world) == []
    assert before.items() <= parts_on_disk(world.root).items()
    assert dataset.last() == open_here(world.root).last()


def test_ending_an_interrupted_publish_twice_changes_nothing(tmp_path: Path) -> None:
    world = edit(tmp_path / "world")
    with pytest.raises(CrashError):
        world.publish(world.after, BreakingFiles(25, crash=True))
    open_here(world.root)
    once = {path: path.stat().st_mtime_ns for path in world.folder.rglob("*") if path.is_file()}
    open_here(world.root)
    twice = {path: path.stat().st_mtime_ns for path in world.folder.rglob("*") if path.is_file()}
    assert once == twice
