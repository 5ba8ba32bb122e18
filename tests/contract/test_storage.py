"""What every place for a dataset promises: a folder, and an object store."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchembed.dataset.storage import COMMITS, GROUPS, INCOMING, META
from batchembed.errors import LockedError
from batchembed.store.lock import run_lock
from tests.support.places import Place

pytestmark = pytest.mark.slow

RECORD = f"{COMMITS}/000001.json"
PART = "place=p%20%C3%BC%2F/part-0123456789abcdef.parquet"


@pytest.fixture
def scratch(tmp_path: Path, place: Place) -> Path:
    """The folder for parts without a name, made."""
    storage = place.storage()
    storage.prepare()
    folder = storage.scratch(tmp_path / "staging")
    storage.files.make_folder(folder)
    return folder


def test_what_is_put_is_read_in_whole_and_in_ranges(place: Place, scratch: Path) -> None:
    storage = place.storage()
    storage.put(RECORD, b"old")
    storage.put(RECORD, b"0123456789")
    assert storage.read(RECORD) == b"0123456789"
    with storage.open(RECORD) as file:
        assert file.size() == 10
        file.seek(7)
        assert file.read(2) == b"78"
        file.seek(0)
        assert file.read(4) == b"0123"
    assert storage.named(RECORD) == f"{place.location}/{RECORD}"
    with storage.filesystem.open_input_file(storage.path(RECORD)) as file:
        assert file.read() == b"0123456789"


def test_what_is_not_there_is_a_missing_file(place: Place, scratch: Path) -> None:
    storage = place.storage()
    with pytest.raises(FileNotFoundError):
        storage.read(RECORD)
    with pytest.raises(FileNotFoundError), storage.open(RECORD):
        pass
    with pytest.raises(FileNotFoundError):
        storage.move(RECORD, f"{COMMITS}/000002.json")
    storage.remove(RECORD)
    assert storage.sizes([RECORD]) == {}
    assert storage.sizes([RECORD, PART]) == {}
    assert storage.sizes([]) == {}


def test_a_part_gets_its_name_whole_and_leaves_its_old_one(place: Place, scratch: Path) -> None:
    storage = place.storage()
    for content in (b"first", b"x" * (11 << 20)):
        temporary = scratch / "group-0-0.tmp"
        temporary.write_bytes(content)
        storage.place(temporary, PART)
        assert place.read(PART) == content
        assert not temporary.exists()
        assert storage.sizes([PART]) == {PART: len(content)}


def test_only_what_is_free_is_created(place: Place, scratch: Path) -> None:
    storage = place.storage()
    storage.create(RECORD, b"one")
    with pytest.raises(FileExistsError):
        storage.create(RECORD, b"two")
    assert place.read(RECORD) == b"one"
    assert not [key for key in place.listing() if key.startswith(f"{INCOMING}/")]


def test_of_several_who_create_at_once_one_does(place: Place, scratch: Path) -> None:
    writers, barrier = 4, threading.Barrier(4)

    def create(key: str, writer: int) -> int | None:
        barrier.wait()
        with contextlib.suppress(FileExistsError):
            place.storage().create(key, b"%d" % writer)
            return writer
        return None

    with ThreadPoolExecutor(writers) as pool:
        for number in range(10):
            key = f"{COMMITS}/{number:06d}.json"
            won = [*pool.map(create, [key] * writers, range(writers))]
            (winner,) = [each for each in won if each is not None]
            assert place.read(key) == b"%d" % winner


def test_a_file_that_is_moved_replaces_what_had_its_name(place: Place, scratch: Path) -> None:
    storage = place.storage()
    storage.put(f"{META}/videos.jsonl", b"old")
    storage.put(f"{INCOMING}/videos.tmp", b"new")
    storage.move(f"{INCOMING}/videos.tmp", f"{META}/videos.jsonl")
    storage.settle([META, ""])
    assert place.listing() == [f"{META}/videos.jsonl"]
    assert place.read(f"{META}/videos.jsonl") == b"new"


def test_names_are_of_one_folder_alone_and_in_order(place: Place, scratch: Path) -> None:
    storage = place.storage()
    for name in ("b", "a", "c.json"):
        storage.put(f"{COMMITS}/{name}", b"x")
    place.write(f"{COMMITS}/below/d", b"x")
    place.write(f"{COMMITS}-beside/e", b"x")
    assert storage.names(COMMITS) == ["a", "b", "c.json"]
    assert storage.names(INCOMING) == []


def test_sizes_are_of_what_is_asked_for(place: Place, scratch: Path) -> None:
    parts = {f"place=p{n}/part-{n:016x}.parquet": b"x" * n for n in range(4)}
    for key, content in parts.items():
        place.write(key, content)
    wanted = [*list(parts)[1:], "place=p1/part-absent.parquet"]
    assert place.storage().sizes(wanted) == {key: len(parts[key]) for key in list(parts)[1:]}
    assert dict(place.storage().everything()) == {key: len(parts[key]) for key in parts}


@pytest.mark.parametrize(
    ("key", "foreign"),
    [
        (None, False),
        (f"{INCOMING}/dataset.json.ab.tmp", False),
        (f"{META}/dataset.json", True),
        (f"{GROUPS}/group-0.json", True),
        ("thesis.tex", True),
        ("chapter/one.tex", True),
    ],
)
def test_what_is_more_than_an_interrupted_creation_is_foreign(
    place: Place, key: str | None, foreign: bool
) -> None:
    if key is not None:
        place.write(key, b"x")
    assert place.storage().is_foreign() is foreign


def test_leftovers_are_looked_for_in_the_datasets_own_places_alone(
    place: Place, scratch: Path
) -> None:
    own = [
        PART,
        f"{GROUPS}/group-0.json",
        f"{INCOMING}/videos.tmp",
        "model_name=m/place=p/part-1.parquet",
        "part-2.parquet",
    ]
    for key in (*own, RECORD, f"{META}/dataset.json", "mine/part-3.parquet", "mine/a=b/part-4"):
        place.write(key, b"x")
    for exact in (True, False):
        found = place.storage().own_files(exact=exact)
        assert sorted(found) == sorted((key, False) for key in own)


def test_what_is_left_of_a_partition_is_pruned_and_files_are_not(
    place: Place, scratch: Path
) -> None:
    storage = place.storage()
    for key in (PART, "place=q/part-1.parquet"):
        place.write(key, b"x")
    storage.remove(PART)
    storage.prune({"place"})
    assert place.listing() == ["place=q/part-1.parquet"]


def test_a_file_in_the_place_itself_is_told(place: Place) -> None:
    place.occupy()
    with pytest.raises(NotADirectoryError):
        place.storage().is_foreign()


def test_whoever_only_looks_sees_whether_it_is_held(place: Place, scratch: Path) -> None:
    storage = place.storage()
    assert storage.is_held() is False
    with storage.hold(run_lock):
        before = place.listing()
        assert place.storage().is_held() is True
        assert place.listing() == before
    assert storage.is_held() is False


def test_it_is_held_by_one_at_a_time_and_then_by_the_next(place: Place, scratch: Path) -> None:
    for _ in range(2):
        storage = place.storage()
        with storage.hold(run_lock):
            storage.confirm_held()
            storage.create(f"{COMMITS}/x", b"x")
            storage.remove(f"{COMMITS}/x")
            with (
                pytest.raises(LockedError, match="another run holds"),
                place.storage().hold(run_lock),
            ):
                pass
