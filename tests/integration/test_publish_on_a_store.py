"""A publish to an object store: broken at each of its requests, overtaken, slow, and large."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from batchembed.dataset.objects import Objects
from batchembed.dataset.places import storage_at
from batchembed.dataset.publish import Dataset, RowSpec
from batchembed.dataset.read import open_dataset
from batchembed.errors import (
    BatchembedError,
    DatasetError,
    LeaseLostError,
    LockedError,
    OutputRefusedError,
    StoreAccessError,
    StoreAwayError,
    UsageError,
)
from batchembed.store.lock import run_lock
from tests.support.dataset import publish, stage
from tests.support.places import (
    AT_ONCE,
    BucketPlace,
    FolderPlace,
    let_go,
    objects,
    open_at,
    parts_at,
)
from tests.support.s3 import Bucket, S3Server

pytestmark = pytest.mark.slow

#: So often a client asks before it gives up.
ATTEMPTS = 3
PARTITIONS = ("embedding_option",)
_WRITING = ("PUT", "POST")
_ALL = ("GET", "HEAD", *_WRITING)


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder


def publish_to(place: BucketPlace | FolderPlace, staging: Path, specs: list[RowSpec]) -> None:
    """As a run does it: the place is held, what was interrupted is ended."""
    listing = " ".join(spec.video_id for spec in specs).encode()
    dataset = Dataset.find(place.storage()) or open_at(place, staging)
    with dataset.storage.hold(run_lock):
        dataset.finish_interrupted(staging)
        publish(
            dataset,
            staging,
            specs,
            partition_by=PARTITIONS,
            side_files={"videos.jsonl": listing},
        )


def videos_in(place: BucketPlace) -> list[str]:
    """Of the last record, read whole."""
    rows = open_dataset(place.location).to_table(columns=["video_id", "embedding"])
    rows.validate(full=True)
    return sorted({str(video_id) for video_id in rows["video_id"].to_pylist()})


# -- broken


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A dataset of one record, the same in each bucket, and an edit of it."""

    objects: dict[str, bytes]
    after: list[RowSpec]
    expected: dict[str, bytes]  #: the parts of the edit, made in a folder
    staged: dict[str, bytes]
    methods: tuple[str, ...]  #: of the requests of the edit where nothing breaks

    def again(self, server: S3Server, name: str, staging: Path) -> BucketPlace:
        bucket = server.make_bucket(name)
        for key, content in self.objects.items():
            bucket.put(key, content)
        for file, content in self.staged.items():
            (staging / file).write_bytes(content)
        return BucketPlace(bucket)


@pytest.fixture
def world(s3: Bucket, staging: Path, tmp_path: Path) -> World:
    before = [stage(staging, name) for name in "ab"]
    place, beside = BucketPlace(s3), FolderPlace(tmp_path / "beside" / "out")
    for each in (place, beside):
        publish_to(each, staging, before)
        before = [stage(staging, name) for name in "ab"]
    held = {key: s3.get(key) for key in s3.keys()}  # noqa: SIM118  a bucket is no mapping
    after = [dataclasses.replace(before[0], options=("audio",)), stage(staging, "c")]
    (staging / f"{before[1].job_key}.arrow").unlink()
    staged = {path.name: path.read_bytes() for path in staging.glob("*.arrow")}
    publish_to(beside, staging, after)
    world = World(objects=held, after=after, expected=parts_at(beside), staged=staged, methods=())
    unbroken = world.again(s3.server, f"{s3.name}-whole", staging)
    s3.server.forget_asked()
    publish_to(unbroken, staging, after)
    return dataclasses.replace(world, methods=tuple(each.method for each in s3.server.asked()))


@pytest.mark.parametrize("how", ["refused from then on", "cut off", "answer lost"])
def test_broken_at_any_request_the_last_record_is_whole_and_the_next_publish_ends_the_same(
    how: str, world: World, s3: Bucket, staging: Path
) -> None:
    told: list[BatchembedError] = []
    methods = _ALL if how == "refused from then on" else _WRITING
    for number in range(sum(method in methods for method in world.methods)):
        place = world.again(s3.server, f"{s3.name}-{number}", staging)
        path = f"/{place.bucket.name}"
        match how:
            case "cut off":
                s3.server.cut(path, methods=methods, times=ATTEMPTS, after=number)
            case "answer lost":
                s3.server.lose(path, methods=methods, after=number)
            case _:
                s3.server.refuse(path, 403, "AccessDenied", after=number)
        with telling(told):
            publish_to(place, staging, world.after)
        s3.server.heal()
        assert videos_in(place) in (["a", "b"], ["a", "c"])
        let_go(place)
        publish_to(place, staging, world.after)
        assert parts_at(place) == world.expected
        assert place.read("_batchembed/videos.jsonl") == b"a c"
        assert not [key for key in place.listing() if key.endswith(".tmp")]
        assert videos_in(place) == ["a", "c"]
    assert bool(told) is (how != "answer lost")
    assert all(s3.name in str(error) for error in told)
    assert how != "refused from then on" or {type(error) for error in told} == {StoreAccessError}


@contextlib.contextmanager
def telling(told: list[BatchembedError]) -> Iterator[None]:
    try:
        yield
    except BatchembedError as error:
        told.append(error)


def test_a_part_that_is_cut_off_is_not_there_and_is_named(s3: Bucket, staging: Path) -> None:
    place = BucketPlace(s3)
    s3.server.cut(f"/{s3.name}/out/embedding_option=visual-text", times=-1)
    with pytest.raises(
        StoreAwayError, match=rf"{place.location}/embedding_option=visual-text/part-\w+\.parquet"
    ):
        publish_to(place, staging, [stage(staging, "a")])
    assert not any(key.startswith("embedding_option=visual-text") for key in place.listing())
    assert not list((staging / "incoming").iterdir())
    s3.server.heal()
    publish_to(place, staging, [stage(staging, "a")])
    assert videos_in(place) == ["a"]


@pytest.mark.parametrize("key", ["commits/000001.json", "lease.json", "dataset.json"])
def test_what_was_made_although_its_answer_was_lost_is_our_own(
    key: str, s3: Bucket, staging: Path
) -> None:
    place = BucketPlace(s3)
    s3.server.lose(f"/{s3.name}/out/_batchembed/{key}")
    publish_to(place, staging, [stage(staging, "a")])
    assert videos_in(place) == ["a"]


def test_a_record_that_was_made_without_any_answer_keeps_what_it_needs(
    s3: Bucket, staging: Path
) -> None:
    place = BucketPlace(s3)
    s3.server.lose(f"/{s3.name}/out/_batchembed/commits/", times=ATTEMPTS)
    with pytest.raises(StoreAwayError, match=r"commits/000001\.json"):
        publish_to(place, staging, [stage(staging, "a")])
    open_at(place, staging)
    assert videos_in(place) == ["a"]
    assert place.read("_batchembed/videos.jsonl") == b"a"


# -- other writers


def test_two_writers_without_a_lease_do_not_both_win(s3: Bucket, staging: Path) -> None:
    place, writers = BucketPlace(s3), 4
    open_at(place, staging)
    barrier = threading.Barrier(writers)

    def begin(video_id: str) -> str:
        own = staging / video_id
        own.mkdir()
        spec = stage(own, video_id)
        dataset = Dataset.find(objects(s3))
        assert dataset is not None
        assert dataset.last() is None
        barrier.wait()
        try:
            publish(dataset, own, [spec], side_files={})
        except DatasetError as error:
            return str(error)
        return video_id

    with ThreadPoolExecutor(writers) as pool:
        ends = [*pool.map(begin, "abcd")]
    (won,) = [end for end in ends if "made by another writer" not in end]
    assert videos_in(place) == [won]


_HOLDER = """
import contextlib, sys
from batchembed.errors import LeaseLostError
from batchembed.dataset.places import storage_at
from batchembed.core.model import StoreOptions
from batchembed.dataset.objects import Objects
from batchembed.stores.location import location_of
from batchembed.stores.objects import object_store

uri, endpoint = sys.argv[1:]
options = StoreOptions(endpoint_url=endpoint, region="us-east-1")
location = location_of(uri)
storage = Objects(location, options, object_store(location, options), ttl_s=2)
with storage.hold(lambda path: contextlib.nullcontext()):
    print("held", flush=True)
    sys.stdin.readline()
    for act in (
        lambda: storage.create("_batchembed/commits/000001.json", b"{}"),
        lambda: storage.remove("_batchembed/dataset.json"),
        lambda: storage.move("_batchembed/dataset.json", "_batchembed/moved.json"),
    ):
        try:
            act()
        except LeaseLostError as error:
            print(type(error).__name__, flush=True)
"""


@contextlib.contextmanager
def holder(place: BucketPlace) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the dataset, and renews its lease, which lasts for two seconds."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, place.location, place.bucket.server.endpoint_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def held_once_it_is_free(storage: Objects) -> Iterator[int]:
    """Hold the dataset as soon as that can be; gives how often it could not."""
    refused = 0
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(storage.hold(run_lock))
            except LockedError:
                refused += 1
            else:
                break
        yield refused


def test_the_dataset_of_a_run_that_was_killed_is_free_after_its_time(
    s3: Bucket, staging: Path
) -> None:
    place = BucketPlace(s3)
    open_at(place, staging)
    with holder(place) as process:
        process.kill()
        process.wait()
        with held_once_it_is_free(place.storage()) as refused:
            assert refused > 0


def test_a_run_that_stood_still_finds_its_dataset_taken_and_touches_nothing(
    s3: Bucket, staging: Path
) -> None:
    place = BucketPlace(s3)
    open_at(place, staging)
    with holder(place) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.send_signal(signal.SIGSTOP)
        with held_once_it_is_free(place.storage()):
            before = {key: place.read(key) for key in place.listing()}
            process.send_signal(signal.SIGCONT)
            process.stdin.write("go on\n")
            process.stdin.flush()
            assert [process.stdout.readline() for _ in range(3)] == ["LeaseLostError\n"] * 3
            assert {key: place.read(key) for key in place.listing()} == before


def remove_until_it_fails(storage: Objects) -> None:
    """Within a second of a renewal nobody asks whether the lease is held."""
    while True:
        storage.remove("_batchembed/nothing")


def test_a_publish_whose_lease_is_lost_makes_no_record(s3: Bucket, staging: Path) -> None:
    storage = objects(s3, ttl_s=1)
    place = BucketPlace(s3)
    open_at(place, staging)
    dataset = Dataset.find(storage)
    assert dataset is not None
    spec = stage(staging, "a")
    with storage.hold(run_lock):
        let_go(place)
        with pytest.raises(LeaseLostError, match="taken over by another run"):
            remove_until_it_fails(storage)
        with pytest.raises(LeaseLostError):
            publish(dataset, staging, [spec])
    assert not [key for key in place.listing() if "/commits/" in key]


def confirm_until_it_fails(storage: Objects) -> None:
    while True:
        storage.confirm_held()


def test_a_lease_that_is_lost_is_known_before_the_next_task_is_paid_for(s3: Bucket) -> None:
    storage = objects(s3, ttl_s=1)
    with storage.hold(run_lock):
        let_go(BucketPlace(s3))
        with pytest.raises(LeaseLostError, match="taken over by another run"):
            confirm_until_it_fails(storage)


# -- what is left over


def test_what_no_record_names_goes_once_it_is_old_and_what_one_named_at_once(
    s3: Bucket, staging: Path
) -> None:
    young, old = timedelta(hours=1), AT_ONCE
    stranger = "embedding_option=audio/part-0123456789abcdef.parquet"

    def open_with(safe_age: timedelta) -> Dataset:
        dataset = Dataset.find(objects(s3, safe_age=safe_age))
        assert dataset is not None
        return dataset

    place = BucketPlace(s3)
    specs = [stage(staging, name) for name in "ab"]
    publish_to(place, staging, specs)
    first = set(parts_at(place))
    place.write(stranger, b"of somebody whom nobody sees")

    publish(open_with(young), staging, specs[:1], partition_by=PARTITIONS)
    assert stranger in parts_at(place)
    assert not first & set(parts_at(place))
    (left,) = [key for key in place.listing() if "/groups/" in key]
    assert open_with(young).finish_interrupted(staging) == ()
    assert set(open_with(old).finish_interrupted(staging)) == {stranger}
    assert left in place.listing()


def test_what_an_interrupted_publish_superseded_goes_at_once(
    s3: Bucket, staging: Path, world: World
) -> None:
    place = world.again(s3.server, f"{s3.name}-interrupted", staging)
    superseded = set(parts_at(place))
    path = f"/{place.bucket.name}"
    s3.server.refuse(f"{path}/out/_batchembed/incoming/clock", 403, "AccessDenied", after=3)
    with pytest.raises(StoreAccessError):
        publish_to(place, staging, world.after)
    s3.server.heal()
    assert superseded < set(parts_at(place))
    dataset = Dataset.find(objects(place.bucket))
    assert dataset is not None
    assert set(dataset.finish_interrupted(staging)) >= superseded
    assert parts_at(place) == world.expected


# -- large


def test_a_listing_of_more_than_a_page_is_read_to_its_end(s3: Bucket) -> None:
    place, count = BucketPlace(s3), 1_050
    keys = [f"part-{number:016x}.parquet" for number in range(count)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: place.write(key, b"x"), keys))
    s3.server.forget_asked()
    storage = place.storage()
    assert storage.sizes(keys[1:]) == dict.fromkeys(keys[1:], 1)
    assert storage.names("") == keys
    assert sorted(key for key, _ in storage.own_files(exact=True)) == keys
    assert len(dict(storage.everything())) == count
    assert storage.is_foreign()
    assert len(s3.server.asked()) < 20


def test_parts_are_looked_at_by_listings_and_read_in_ranges(s3: Bucket, staging: Path) -> None:
    place = BucketPlace(s3)
    specs = [stage(staging, name) for name in "ab"]
    publish_to(place, staging, specs)
    s3.server.forget_asked()
    dataset = open_at(place, staging)
    assert dataset.missing_parts == ()
    assert not [asked for asked in s3.server.asked() if asked.path.endswith(".parquet")]

    publish(dataset, staging, [dataclasses.replace(specs[0], width=1), specs[1]])
    read = [asked for asked in s3.server.asked() if asked.method == "GET"]
    assert all(asked.range for asked in read if asked.path.endswith(".parquet"))


# -- a bucket that can't be used


@pytest.mark.parametrize("uri", ["s3://bucket/out", "s3://bucket/out/"])
def test_a_place_is_named_without_a_word_on_how_it_is_reached(s3: Bucket, uri: str) -> None:
    """As on AWS: then the client knows the endpoint."""
    assert storage_at(uri).named("a/b") == "s3://bucket/out/a/b"


def test_a_uri_that_is_none_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(UsageError, match="credentials in it: take them out"):
        storage_at("s3://key:secret@bucket/out")


def test_a_bucket_that_is_not_there_is_no_place_for_a_dataset(s3: Bucket, staging: Path) -> None:
    place = BucketPlace(Bucket(s3.server, "no-such-bucket"))
    with pytest.raises(OutputRefusedError, match="no bucket no-such-bucket"):
        open_at(place, staging)


def test_a_bucket_without_permission_is_named_with_the_way_out(s3: Bucket, staging: Path) -> None:
    s3.server.refuse(f"/{s3.name}", 403, "AccessDenied")
    with pytest.raises(
        StoreAccessError, match=rf"permission denied for s3://{s3.name}.*let these credentials"
    ):
        open_at(BucketPlace(s3), staging)
