"""Runs whose dataset is on an object store that stops, refuses, or is another's at the moment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchembed.cli.main import main
from batchembed.core.states import State
from batchembed.dataset.folder import Folder
from batchembed.dataset.read import open_dataset
from batchembed.errors import LeaseLostError, StoreAccessError, StoreAwayError, StoreError
from batchembed.runner.listen import Event, Moved, Started
from batchembed.store.lock import run_lock
from tests.support.engines import InstantPool
from tests.support.media import make_video
from tests.support.places import BucketPlace, let_go, objects, parts_at
from tests.support.runs import Bench, Heard
from tests.support.s3 import Bucket

pytestmark = pytest.mark.slow

FILMS = ("a", "b", "c")
VIDEOS = "".join(f"  - {{video_file: v/{name}.mp4, id: {name}}}\n" for name in FILMS)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for seed, name in enumerate(FILMS):
        make_video(folder / f"{name}.mp4", seconds=8.5, audio=name == "a", seed=seed, fps=5)
    return folder


@pytest.fixture
def place(s3: Bucket) -> BucketPlace:
    return BucketPlace(s3)


@pytest.fixture
def bench(films: Path, tmp_path: Path) -> Bench:
    shutil.copytree(films, tmp_path / "v")
    made = Bench(folder=tmp_path)
    made.write(VIDEOS)
    return made


@pytest.fixture
def run(bench: Bench, place: BucketPlace) -> Callable[..., Any]:
    """Runs the manifest with its output in the bucket."""
    return lambda **more: bench.run(overrides=[f"output.path={place.location}"], **more)


def embedded(bench: Bench) -> list[str]:
    """What was paid for since the last look."""
    assert isinstance(bench.pool, InstantPool)
    names = sorted(bench.pool.embedded)
    bench.pool.embedded.clear()
    return names


def error_of(run: Callable[..., Any]) -> StoreError | None:
    try:
        run()
    except StoreError as error:
        return error
    return None


def test_the_parts_are_those_of_a_run_into_a_folder(
    bench: Bench, place: BucketPlace, run: Callable[..., Any]
) -> None:
    report = run()
    assert (report.exit_code, report.dataset) == (0, place.location)
    bench.run()
    assert parts_at(place) == bench.parts()
    assert open_dataset(place.location).to_table().equals(bench.rows())
    assert run().published is False


@pytest.mark.parametrize(
    "when",
    [
        lambda event: isinstance(event, Started),
        lambda event: isinstance(event, Moved) and event.state is State.PROCESSING,
        lambda event: isinstance(event, Moved) and event.state is State.STAGED,
    ],
    ids=["started", "processing", "staged"],
)
def test_a_store_that_stops_in_the_middle_costs_nothing_twice(
    when: Callable[[Event], bool], bench: Bench, place: BucketPlace, run: Callable[..., Any]
) -> None:
    server = place.bucket.server
    stopped: list[Event] = []

    def stop(event: Event) -> None:
        if when(event) and not stopped:
            stopped.append(event)
            server.stop()

    try:
        with pytest.raises(StoreAwayError, match=place.location) as caught:
            run(heard=Heard(then=stop))
    finally:
        server.start()
    assert caught.value.exit_code == 69
    assert len(embedded(bench)) == 3
    assert parts_at(place) == {}

    let_go(place)
    assert run().exit_code == 0
    assert embedded(bench) == []
    bench.run()
    assert parts_at(place) == bench.parts()


class _Taken(Folder):
    """A dataset that another run takes over once so many tasks are created."""

    def __init__(self, root: Path, *, after: int) -> None:
        super().__init__(root)
        self.left = after

    def confirm_held(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise LeaseLostError(f"{self.root} was taken over")


@pytest.mark.parametrize("after", [0, 1, 2])
def test_who_lost_the_dataset_creates_no_more_tasks_and_the_next_run_goes_on(
    bench: Bench, after: int
) -> None:
    mine = bench.storage_at
    bench.storage_at = lambda path, _: _Taken(Path(path), after=after)
    report = bench.run()
    assert (report.exit_code, report.submitted) == (75, after)
    assert report.halted is not None
    assert "was taken over" in report.halted
    assert len(embedded(bench)) == after
    bench.storage_at = mine
    again = bench.run()  # what was still embedded when the first ended is embedded anew
    assert (again.exit_code, again.submitted) == (0, 3 - after)


def test_a_key_that_expires_at_any_request_leaves_the_last_record_whole(
    bench: Bench, place: BucketPlace, run: Callable[..., Any]
) -> None:
    """A new one, and the work goes on."""
    bench.write(VIDEOS.splitlines(keepends=True)[0])
    run()
    before = parts_at(place)
    embedded(bench)
    bench.write(VIDEOS)
    server, number, broken = place.bucket.server, 0, 0
    while True:
        server.refuse(f"/{place.bucket.name}", 400, "ExpiredToken", after=number)
        error = error_of(run)
        server.heal()
        if error is None:
            break
        assert (type(error), error.exit_code) == (StoreAccessError, 77)
        assert place.location in str(error)
        assert "get new ones if they have expired" in str(error)
        let_go(place)
        broken += 1
        number += 5
        table = open_dataset(place.location).to_table(columns=["video_id"])
        assert set(table["video_id"].to_pylist()) in ({"a"}, set(FILMS))
        assert before.keys() <= parts_at(place).keys() or table.num_rows > 5
    assert broken > 4
    assert run().exit_code == 0
    assert len(embedded(bench)) == 2
    bench.run()
    assert parts_at(place) == bench.parts()


# -- as it is typed


MANIFEST = """\
version: 1
engine: local
videos: [{{video_file: v/a.mp4, id: a}}]
output: {{path: "{location}"}}
stores: {{s3: {{endpoint_url: "{endpoint}"}}}}
"""


@pytest.fixture
def folder(bench: Bench, place: BucketPlace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest that says where its store is."""
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.chdir(bench.folder)
    endpoint = place.bucket.server.endpoint_url
    Path("m.yaml").write_text(MANIFEST.format(location=place.location, endpoint=endpoint))
    return bench.folder


def test_a_manifest_whose_output_is_on_a_store_is_planned_run_and_told(
    folder: Path, place: BucketPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "m.yaml"]) == 0
    assert place.listing() == []
    assert main(["run", "m.yaml", "--format", "json"]) == 0
    capsys.readouterr()
    assert main(["status", "m.yaml", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"committed": 1}
    assert parts_at(place)
    assert not Path("s3:").exists()


def test_a_dataset_that_another_run_holds_is_left_to_it(
    folder: Path, place: BucketPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also from another machine, whose state folder is its own."""
    assert main(["run", "m.yaml"]) == 0
    before = place.listing()
    with objects(place.bucket).hold(run_lock):
        for state in ("one", "two"):
            assert main(["run", "m.yaml", "--state-dir", state]) == 75
            told = capsys.readouterr().err
            assert f"another run holds {place.location}: process" in told
        assert main(["run", "m.yaml", "--if-locked", "skip"]) == 0
    assert place.listing() == before


@pytest.mark.parametrize(
    ("refusal", "exit_code", "says"),
    [
        ((403, "AccessDenied"), 77, "permission denied for s3://{bucket}/out"),
        ((403, "InvalidAccessKeyId"), 77, "s3://{bucket}/out"),
        ((503, "SlowDown"), 69, "the store of s3://{bucket}/out"),
    ],
    ids=["denied", "unknown key", "overloaded"],
)
def test_a_store_that_refuses_is_told_before_anything_is_spent(
    folder: Path,
    place: BucketPlace,
    capsys: pytest.CaptureFixture[str],
    refusal: tuple[int, str],
    exit_code: int,
    says: str,
) -> None:
    place.bucket.server.refuse(f"/{place.bucket.name}", *refusal)
    for verb in ("plan", "run"):
        assert main([verb, "m.yaml"]) == exit_code
        told = capsys.readouterr().err
        assert says.format(bucket=place.bucket.name) in told
        assert "Traceback" not in told
    place.bucket.server.heal()
    assert place.listing() == []


def test_a_bucket_that_can_only_be_read_is_found_out_before_anything_is_spent(
    place: BucketPlace, bench: Bench, run: Callable[..., Any]
) -> None:
    run()
    bench.write(
        VIDEOS
        + "  - {video_file: v/a.mp4, id: window, video_end_offset_sec: 6, video_start_offset_sec: 0}\n"
    )
    embedded(bench)
    place.bucket.server.refuse(
        f"/{place.bucket.name}", 403, "AccessDenied", methods=("PUT", "POST", "DELETE")
    )
    with pytest.raises(StoreAccessError, match="permission denied"):
        run()
    assert embedded(bench) == []


def test_a_bucket_that_is_not_there_is_no_place_for_a_dataset(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "m.yaml", "--set", "output.path=s3://no-such-bucket/out"]) == 73
    assert "there is no bucket no-such-bucket" in capsys.readouterr().err
