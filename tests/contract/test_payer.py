"""Which run paid last, as every place for a dataset keeps it."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

from batchembed.dataset.garbage import collect_garbage, list_garbage
from batchembed.dataset.payer import Payer, read_payer
from batchembed.dataset.storage import PAYER, Storage
from batchembed.dataset.verification.verify import verify
from batchembed.errors import StorageError
from batchembed.store.lock import run_lock
from tests.support.dataset import publish, stage
from tests.support.places import FolderPlace, Place, open_at
from tests.support.tampering import silent

pytestmark = pytest.mark.slow


def say(storage: Storage, run_id: str) -> None:
    Payer(storage, run_id, contextlib.nullcontext()).confirm_held()


def test_it_is_read_as_it_was_written_last(place: Place) -> None:
    storage = place.storage()
    assert read_payer(storage) is None
    storage.prepare()
    for run_id in ("run-1", "run-2"):
        with storage.hold(run_lock):
            say(storage, run_id)
        assert read_payer(place.storage()) == run_id


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"run_id":7}', b"\xff"])
def test_a_damaged_one_is_nobodys_and_is_written_anew(place: Place, content: bytes) -> None:
    storage = place.storage()
    place.write(PAYER, content)
    assert read_payer(storage) == ""
    say(storage, "run-1")
    assert read_payer(storage) == "run-1"


def test_it_is_the_datasets_own_and_no_record_names_it(place: Place, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    dataset = open_at(place, staging)
    publish(dataset, staging, [stage(staging, "a")])
    say(dataset.storage, "run-1")
    before = place.listing()
    assert PAYER in before

    assert verify(place.storage(), silent).verification.findings == ()
    assert list_garbage(place.storage()).files == ()
    assert collect_garbage(place.storage(), lock=run_lock, scratch=staging).files == ()
    assert {PAYER, *before} <= set(place.listing())
    assert open_at(place, staging).last() == dataset.last()


def test_one_that_cannot_be_read_or_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "out" / PAYER).mkdir(parents=True)
    storage = FolderPlace(tmp_path / "out").storage()
    for act in (read_payer, lambda storage: say(storage, "run-1")):
        with pytest.raises(StorageError, match=r"out/_batchembed/payer\.json can't be"):
            act(storage)


def test_a_publish_beside_it_takes_nothing_of_it_away(place: Place, tmp_path: Path) -> None:
    """A publish removes whatever has no name yet, and of a run it may be the first to end."""
    staging = tmp_path / "staging"
    staging.mkdir()
    dataset = open_at(place, staging)
    said = threading.Event()
    failed: list[StorageError] = []

    def pay() -> None:
        number = 0
        while not said.is_set():
            number += 1
            try:
                Payer(dataset.storage, f"run-{number}", dataset.turn).confirm_held()
            except StorageError as error:
                failed.append(error)

    paying = threading.Thread(target=pay)
    paying.start()
    try:
        for number in range(12):
            publish(dataset, staging, [stage(staging, "a", metadata={"floor": number})])
    finally:
        said.set()
        paying.join()
    assert failed == []
