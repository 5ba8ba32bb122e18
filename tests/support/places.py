"""A place for a dataset, in a folder or in a bucket, reached past all of the package."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from batchembed.dataset.folder import Folder
from batchembed.dataset.objects import Objects
from batchembed.dataset.publish import Dataset
from batchembed.dataset.storage import Storage
from batchembed.stores.location import location_of
from batchembed.stores.objects import object_store
from tests.support.dataset import IDENTITY
from tests.support.s3 import Bucket

#: Everything is older than this.
AT_ONCE = timedelta(days=-1)


class Place(Protocol):
    """Where one dataset is, or may be."""

    @property
    def location(self) -> str: ...
    def storage(self) -> Storage: ...
    def listing(self) -> list[str]: ...
    def read(self, key: str) -> bytes: ...
    def write(self, key: str, content: bytes) -> None: ...
    def remove(self, key: str) -> None: ...
    def state(self, key: str) -> object:
        """Another once the file is written again."""

    def occupy(self) -> None:
        """Put a file where the dataset is to be."""


class FolderPlace:
    """A folder, which need not exist."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def location(self) -> str:
        return str(self._root)

    def storage(self) -> Storage:
        return Folder(self._root)

    def listing(self) -> list[str]:
        files = (path for path in self._root.rglob("*") if path.is_file())
        return sorted(path.relative_to(self._root).as_posix() for path in files)

    def read(self, key: str) -> bytes:
        return (self._root / key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def remove(self, key: str) -> None:
        (self._root / key).unlink()

    def state(self, key: str) -> object:
        return (self._root / key).stat().st_ino

    def occupy(self) -> None:
        self._root.write_text("mine")


class BucketPlace:
    """Keys of a bucket that begin with `out/`."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    @property
    def location(self) -> str:
        return self.bucket.uri("out")

    def storage(self) -> Objects:
        """What no record names may go at once, as in a folder."""
        return objects(self.bucket, safe_age=AT_ONCE)

    def listing(self) -> list[str]:
        found = self.bucket.keys()
        return [key.removeprefix("out/") for key in found if key.startswith("out/")]

    def read(self, key: str) -> bytes:
        return self.bucket.get(f"out/{key}")

    def write(self, key: str, content: bytes) -> None:
        self.bucket.put(f"out/{key}", content)

    def remove(self, key: str) -> None:
        self.bucket.delete(f"out/{key}")

    def state(self, key: str) -> object:
        """How often it was asked to be written."""
        path = f"/{self.bucket.name}/out/{key}"
        asked = self.bucket.server.asked()
        return sum(each.path == path and each.method in {"PUT", "POST"} for each in asked)

    def occupy(self) -> None:
        self.bucket.put("out", b"mine")


def objects(
    bucket: Bucket, *, ttl_s: float = 90.0, safe_age: timedelta = timedelta(hours=1)
) -> Objects:
    """The storage of a bucket's dataset."""
    location, options = location_of(bucket.uri("out")), bucket.server.options
    store = object_store(location, options)
    return Objects(location, options, store, ttl_s=ttl_s, safe_age=safe_age)


def open_at(place: Place, staging: Path) -> Dataset:
    """The dataset in a place, as a run opens it."""
    dataset = Dataset.open_or_create(place.storage(), identity=IDENTITY, new_id=lambda: "d" * 32)
    dataset.finish_interrupted(staging)
    return dataset


def parts_at(place: Place) -> dict[str, bytes]:
    """Every part, by its key."""
    return {key: place.read(key) for key in place.listing() if key.endswith(".parquet")}


def let_go(place: BucketPlace) -> None:
    """Of a run that could not release its lease any more, the time has passed."""
    place.remove("_batchembed/lease.json")


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A new place of each kind."""
    if request.param == "folder":
        yield FolderPlace(tmp_path / "out")
    else:
        yield BucketPlace(request.getfixturevalue("s3"))
