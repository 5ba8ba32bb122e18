"""A snapshot of a dataset: what it is while others publish, and what is said where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchembed.core.keys import digest
from batchembed.dataset.folder import Folder
from batchembed.dataset.places import storage_at
from batchembed.dataset.publish import Dataset
from batchembed.dataset.read import open_dataset, snapshot
from batchembed.dataset.storage import Storage
from batchembed.errors import (
    ArgumentError,
    DatasetError,
    InputMissingError,
    StoreAccessError,
    StoreAwayError,
    StoreMissingError,
    UsageError,
)
from tests.support.dataset import IDENTITY, publish, stage
from tests.support.s3 import Bucket

DATASET_FILE = "_batchembed/dataset.json"
RECORD = "_batchembed/commits/000001.json"


class Place:
    """Where a dataset is made."""

    def __init__(self, storage: Storage, staging: Path) -> None:
        self.storage = storage
        self.location = storage.location
        self._staging = staging

    def publish(self, *videos: str) -> None:
        """Publish these videos, each with the rows of a job of its own."""
        dataset = self.begin()
        publish(dataset, self._staging, [stage(self._staging, video) for video in videos])

    def begin(self) -> Dataset:
        return Dataset.open_or_create(self.storage, identity=IDENTITY, new_id=lambda: "d" * 32)

    def part(self) -> str:
        """The key of one of its parts."""
        return snapshot(self.storage).parts[0].path

    def rows(self) -> pa.Table:
        return open_dataset(self.location).to_table()


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    (tmp_path / "staging").mkdir()
    return tmp_path / "staging"


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, staging: Path) -> Place:
    if request.param == "folder":
        return Place(Folder(tmp_path / "out"), staging)
    bucket: Bucket = request.getfixturevalue("s3")
    return Place(storage_at(bucket.uri("out"), bucket.server.options), staging)


def test_the_last_record_is_read(place: Place) -> None:
    place.publish("a", "b")
    place.publish("b", "c")
    table = place.rows()
    assert set(table["video_id"].to_pylist()) == {"b", "c"}
    assert table.num_rows == 10


def test_a_snapshot_whose_parts_were_replaced_says_which_is_gone(place: Place) -> None:
    place.publish("a")
    before = open_dataset(place.location)
    parts = [part.path for part in snapshot(place.storage).parts]
    assert before.count_rows() == 5
    place.publish("a", "b")
    with pytest.raises(FileNotFoundError, match="|".join(parts)):
        before.to_table()
    assert place.rows().num_rows == 10


def test_a_file_that_is_open_is_read_to_its_end(tmp_path: Path, staging: Path) -> None:
    place = Place(Folder(tmp_path / "out"), staging)
    place.publish("a")
    fragment = next(iter(open_dataset(place.location).get_fragments()))
    with fragment.open() as file:
        place.publish("b")
        table = pq.read_table(file)
    assert set(table["video_id"].to_pylist()) == {"a"}


class Racing(Folder):
    """A folder into which another writer publishes once, when a reader has its record."""

    def __init__(self, other: Place) -> None:
        super().__init__(Path(other.location))
        self._other = other
        self._has_raced = False

    def read(self, key: str) -> bytes:
        content = super().read(key)
        if key == RECORD and not self._has_raced:
            self._has_raced = True
            self._other.publish("b")
        return content


def test_a_record_that_comes_while_one_is_read_is_taken(tmp_path: Path, staging: Path) -> None:
    place = Place(Folder(tmp_path / "out"), staging)
    place.publish("a")
    record = snapshot(Racing(place))
    assert record.number == 2
    assert record == snapshot(place.storage)


def test_what_is_no_dataset_is_told(place: Place) -> None:
    with pytest.raises(InputMissingError, match=f"no dataset at {place.location}:.*output.path"):
        open_dataset(place.location)
    place.begin()
    with pytest.raises(InputMissingError, match="has no record yet: run its manifest first"):
        open_dataset(place.location)


@pytest.mark.parametrize("path", [None, 3, "", b"out"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(ArgumentError, match="is no path: name the dataset's folder, or its URI"):
        open_dataset(path)


def test_a_path_may_begin_with_the_users_folder(
    tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Place(Folder(tmp_path / "out"), staging).publish("a")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_dataset("~/out").count_rows() == 5
    assert open_dataset(Path("~/out")).count_rows() == 5


def test_a_file_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("rows")
    with pytest.raises(InputMissingError, match="is no dataset"):
        open_dataset(tmp_path / "out")


@pytest.mark.parametrize("key", [DATASET_FILE, RECORD])
def test_a_newer_format_asks_for_an_upgrade(key: str, place: Place) -> None:
    place.publish("a")
    content = json.loads(place.storage.read(key))
    content.pop("sha256", None)
    content["format"] = 2
    newer = {**content, "sha256": digest(content)} if key == RECORD else content
    place.storage.put(key, json.dumps(newer).encode())
    with pytest.raises(DatasetError, match=r"has format 2.*upgrade batchembed"):
        open_dataset(place.location)


def test_a_part_that_is_gone_or_cut_is_named(place: Place) -> None:
    place.publish("a")
    part = place.part()
    place.storage.put(part, place.storage.read(part)[:-1])
    told = f"{part.rpartition('/')[2]} is not there, or not of the size.*run the manifest again"
    with pytest.raises(DatasetError, match=told):
        open_dataset(place.location)
    place.storage.remove(part)
    with pytest.raises(DatasetError, match=told):
        open_dataset(place.location)


def test_a_part_that_was_edited_is_found_when_it_is_read(place: Place) -> None:
    place.publish("a")
    part = place.part()
    content = bytearray(place.storage.read(part))
    column = pq.read_metadata(pa.BufferReader(bytes(content))).row_group(0).column(0)
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    place.storage.put(part, bytes(content))
    with pytest.raises(OSError, match="CRC"):
        place.rows()


@pytest.fixture
def on_s3(s3: Bucket, staging: Path) -> Bucket:
    """A bucket with a dataset in `out`."""
    Place(storage_at(s3.uri("out"), s3.server.options), staging).publish("a")
    return s3


def test_the_arguments_go_before_the_variables(
    on_s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("AWS_REGION")
    found = open_dataset(
        on_s3.uri("out"), endpoint_url=on_s3.server.endpoint_url, region="us-east-1"
    )
    assert found.count_rows() == 5


def test_a_public_dataset_is_read_without_credentials(on_s3: Bucket) -> None:
    with pytest.raises(StoreAccessError, match="permission denied"):
        open_dataset(on_s3.uri("out"), anonymous=True)
    keys = on_s3.keys()
    for path in [f"/{on_s3.name}?acl", *(f"/{on_s3.name}/{quote(key)}?acl" for key in keys)]:
        status, _ = on_s3.server.request("PUT", path, headers={"x-amz-acl": "public-read"})
        assert status == 200
    assert open_dataset(on_s3.uri("out"), anonymous=True).count_rows() == 5


@pytest.mark.parametrize(
    ("location", "endpoint_url", "error", "why"),
    [
        ("s3://bucket/out", "localhost", ArgumentError, "endpoint_url: an endpoint begins with"),
        ("s3://bucket/out", "http://a/b", ArgumentError, "a host and a port alone"),
        ("s3:///out", None, UsageError, "names no bucket"),
        ("https://bucket/out", None, UsageError, "no object store that is known here"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(
    location: str, endpoint_url: str | None, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        open_dataset(location, endpoint_url=endpoint_url)


def test_a_store_that_refuses_is_named_with_the_way_out(on_s3: Bucket) -> None:
    with pytest.raises(StoreMissingError, match="there is no bucket nowhere: correct"):
        open_dataset("s3://nowhere/out")
    on_s3.server.refuse(f"/{on_s3.name}", 403, "AccessDenied")
    with pytest.raises(StoreAccessError, match=f"permission denied for s3://{on_s3.name}/out"):
        open_dataset(on_s3.uri("out"))
    on_s3.server.heal()
    on_s3.server.refuse(f"/{on_s3.name}", 400, "ExpiredToken")
    with pytest.raises(StoreAccessError, match="get new ones if they have expired"):
        open_dataset(on_s3.uri("out"))


def test_a_store_that_is_away_is_named(on_s3: Bucket) -> None:
    with pytest.raises(StoreAwayError, match=f"s3://{on_s3.name}/out.* gives no answer"):
        open_dataset(on_s3.uri("out"), endpoint_url="http://127.0.0.1:1")
