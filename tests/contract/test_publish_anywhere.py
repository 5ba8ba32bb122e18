"""A dataset published, changed, narrowed and widened: in a folder, and on an object store."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batchembed.core.groups import MIN_GROUP_ROWS
from batchembed.core.keys import cuts_group
from batchembed.core.model import VideoId
from batchembed.core.states import Staged
from batchembed.dataset.publish import Dataset, RowsMissingError, RowSpec
from batchembed.dataset.read import open_dataset
from batchembed.errors import DatasetError, OutputRefusedError
from tests.support.dataset import IDENTITY, publish, schema_of, stage
from tests.support.places import Place, open_at, parts_at

pytestmark = pytest.mark.slow


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder


def rows_in(place: Place) -> list[dict[str, Any]]:
    return open_dataset(place.location).to_table().to_pylist()


def staged_of(spec: RowSpec) -> Staged:
    return Staged(file=f"{spec.job_key}.arrow", rows=spec.rows, sha256=spec.rows_sha256)


def test_published_rows_are_read_back_with_every_column(place: Place, staging: Path) -> None:
    spec = stage(staging, "a", metadata={"place": "bridge", "floor": 2})
    published = publish(open_at(place, staging), staging, [spec])
    assert published.changed
    assert published.record.number == 1
    assert published.record.rows == 5
    first = rows_in(place)[0]
    assert len(first.pop("embedding")) == 4
    assert first == {
        "video_id": "a",
        "source": "videos/a.mp4",
        "source_sha256": spec.source_sha256,
        "job_key": spec.job_key,
        "segment_index": 0,
        "start_offset_sec": 0.0,
        "end_offset_sec": 2.0,
        "duration_sec": 6.0,
        "width": 640,
        "height": 360,
        "floor": 2,
        "place": "bridge",
        "model_name": "local-v1",
        "embedding_option": "audio",
        "embedding_scope": "clip",
    }
    assert [row["segment_index"] for row in rows_in(place)] == [0, 1, 0, 1, 2]


def test_staged_files_are_freed_once_the_record_has_all_their_rows(
    place: Place, staging: Path
) -> None:
    whole = stage(staging, "a")
    part = stage(staging, "b", options=("audio",))
    published = publish(open_at(place, staging), staging, [whole, part])
    assert published.freed == (whole.job_key,)
    assert [path.name for path in staging.glob("*.arrow")] == [f"{part.job_key}.arrow"]


def test_publishing_the_same_again_makes_no_record(place: Place, staging: Path) -> None:
    spec = stage(staging, "a")
    dataset = open_at(place, staging)
    first = publish(dataset, staging, [spec])
    again = publish(open_at(place, staging), staging, [spec])
    assert not again.changed
    assert again.record == first.record


def test_another_side_file_makes_a_record_with_the_same_parts(place: Place, staging: Path) -> None:
    spec = stage(staging, "a")
    dataset = open_at(place, staging)
    first = publish(dataset, staging, [spec])
    before = {key: place.state(key) for key in parts_at(place)}
    second = publish(dataset, staging, [spec], side_files={"videos.jsonl": b"other\n"})
    assert second.record.number == 2
    assert second.record.parts == first.record.parts
    assert second.record.previous_sha256 == first.record.sha256
    assert {key: place.state(key) for key in parts_at(place)} == before
    assert place.read("_batchembed/videos.jsonl") == b"other\n"


def test_a_lost_side_file_is_written_again(place: Place, staging: Path) -> None:
    spec = stage(staging, "a")
    publish(open_at(place, staging), staging, [spec])
    place.remove("_batchembed/videos.jsonl")
    assert not publish(open_at(place, staging), staging, [spec]).changed
    assert place.read("_batchembed/videos.jsonl") == b"{}\n"


def test_a_damaged_side_file_is_written_again_without_a_record(place: Place, staging: Path) -> None:
    spec = stage(staging, "a")
    publish(open_at(place, staging), staging, [spec])
    place.write("_batchembed/videos.jsonl", b"{|\n")
    assert not publish(open_at(place, staging), staging, [spec]).changed
    assert place.read("_batchembed/videos.jsonl") == b"{}\n"


def lose_parts(place: Place) -> list[str]:
    """Delete the first part and cut the second short."""
    deleted, cut = parts_at(place)
    place.remove(deleted)
    place.write(cut, place.read(cut)[:-1])
    return [f"{place.location}/{key}" for key in (deleted, cut)]


def test_missing_and_cut_parts_are_written_again_with_the_same_bytes(
    place: Place, staging: Path
) -> None:
    specs = [stage(staging, name) for name in "ab"]
    first = publish(open_at(place, staging), staging, specs).record
    before = parts_at(place)
    lost = lose_parts(place)
    dataset = open_at(place, staging)
    assert list(dataset.missing_parts) == lost
    assert dataset.specs() == tuple(specs)
    assert [stage(staging, name) for name in "ab"] == specs
    healed = publish(dataset, staging, specs)
    assert healed.changed
    assert healed.record.groups == first.groups
    assert set(healed.freed) == {spec.job_key for spec in specs}
    assert parts_at(place) == before
    assert dataset.missing_parts == ()
    assert open_at(place, staging).missing_parts == ()
    assert not publish(open_at(place, staging), staging, specs).changed


def test_jobs_whose_part_is_missing_have_no_rows_unless_they_are_staged(
    place: Place, staging: Path
) -> None:
    spec = stage(staging, "a")
    publish(open_at(place, staging), staging, [spec])
    lost = lose_parts(place)
    dataset = open_at(place, staging)
    for options in (None, ("audio",), ("visual-text",)):
        assert not dataset.has_rows(spec.job_key, staged_of(spec), options=options, staging=staging)
    with pytest.raises(RowsMissingError, match="2 parts are missing or cut short") as caught:
        publish(dataset, staging, [spec])
    assert lost[0] in str(caught.value)
    stage(staging, "a")
    assert dataset.has_rows(spec.job_key, staged_of(spec), options=None, staging=staging)


def test_a_missing_part_leaves_other_groups_as_they_are(place: Place, staging: Path) -> None:
    cutting = next(name for name in (f"v{n}" for n in range(3000)) if cuts_group(VideoId(name)))
    specs = [stage(staging, name, rows={"audio": MIN_GROUP_ROWS}) for name in (cutting, "b")]
    record = publish(open_at(place, staging), staging, specs).record
    whole, lost = [part.path for part in record.parts]
    before = place.state(whole)
    place.remove(lost)
    dataset = open_at(place, staging)
    assert dataset.has_rows(specs[0].job_key, staged_of(specs[0]), options=None, staging=staging)
    stage(staging, "b", rows={"audio": MIN_GROUP_ROWS})
    assert publish(dataset, staging, specs).record.groups == record.groups
    assert place.state(whole) == before
    assert lost in place.listing()


def test_a_video_without_rows_to_publish_is_absent(place: Place, staging: Path) -> None:
    spec = stage(staging, "a", rows={"visual-text": 3}, options=("audio",))
    published = publish(open_at(place, staging), staging, [spec])
    assert published.record.parts == ()
    assert rows_in(place) == []
    assert (staging / f"{spec.job_key}.arrow").exists()


def test_narrowed_options_can_be_widened_without_a_task(place: Place, staging: Path) -> None:
    wide = stage(staging, "a")
    publish(open_at(place, staging), staging, [wide])
    before = parts_at(place)
    narrow = dataclasses.replace(wide, options=("audio",))
    published = publish(open_at(place, staging), staging, [narrow])
    assert published.record.rows == 2
    assert published.freed == ()
    assert open_at(place, staging).has_rows(
        wide.job_key, staged_of(wide), options=None, staging=staging
    )
    widened = publish(open_at(place, staging), staging, [wide])
    assert widened.freed == (wide.job_key,)
    assert parts_at(place) == before


OTHER_IPC = {
    "compressed": pa.ipc.IpcWriteOptions(compression="zstd"),
    "older": pa.ipc.IpcWriteOptions(metadata_version=pa.ipc.MetadataVersion.V4),
}


@pytest.fixture(params=[*OTHER_IPC.values()], ids=[*OTHER_IPC])
def other_arrow(request: pytest.FixtureRequest) -> Iterator[pytest.MonkeyPatch]:
    """A version of Arrow that writes other bytes for the same rows. `undo` brings this one back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pa.ipc, "new_file", functools.partial(pa.ipc.new_file, options=request.param))
        yield patch


def test_options_narrowed_under_another_version_of_arrow_can_be_widened_without_a_task(
    place: Place, staging: Path, other_arrow: pytest.MonkeyPatch
) -> None:
    wide = stage(staging, "a")
    path = staging / f"{wide.job_key}.arrow"
    by_other = path.read_bytes()
    publish(open_at(place, staging), staging, [wide])
    before = parts_at(place)
    other_arrow.undo()
    narrow = dataclasses.replace(wide, options=("audio",))
    publish(open_at(place, staging), staging, [narrow])
    assert path.read_bytes() != by_other
    assert open_at(place, staging).has_rows(
        wide.job_key, staged_of(wide), options=None, staging=staging
    )
    widened = publish(open_at(place, staging), staging, [wide])
    assert widened.freed == (wide.job_key,)
    assert parts_at(place) == before


def named_by_bytes(staging: Path, spec: RowSpec) -> RowSpec:
    """As a version did that named staged rows by the bytes of their file."""
    content = (staging / f"{spec.job_key}.arrow").read_bytes()
    return dataclasses.replace(spec, rows_sha256=hashlib.sha256(content).hexdigest())


def test_rows_that_a_record_of_an_earlier_version_names_are_narrowed_and_widened(
    place: Place, staging: Path
) -> None:
    wide = named_by_bytes(staging, stage(staging, "a"))
    publish(open_at(place, staging), staging, [wide])
    before = parts_at(place)
    publish(open_at(place, staging), staging, [dataclasses.replace(wide, options=("audio",))])
    assert publish(open_at(place, staging), staging, [wide]).freed == (wide.job_key,)
    assert parts_at(place) == before


def test_rows_that_would_not_be_known_again_are_not_given_up(
    place: Place, staging: Path, other_arrow: pytest.MonkeyPatch
) -> None:
    wide = named_by_bytes(staging, stage(staging, "a"))
    publish(open_at(place, staging), staging, [wide])
    other_arrow.undo()
    before = place.listing()
    narrow = dataclasses.replace(wide, options=("audio",))
    with pytest.raises(DatasetError, match=r"rows of video a in .* do not have the sha256"):
        publish(open_at(place, staging), staging, [narrow])
    assert place.listing() == before
    assert not (staging / f"{wide.job_key}.arrow").exists()
    assert not publish(open_at(place, staging), staging, [wide]).changed


def test_a_video_narrowed_to_nothing_keeps_its_rows_in_staging(place: Place, staging: Path) -> None:
    wide = stage(staging, "a", rows={"visual-text": 3})
    publish(open_at(place, staging), staging, [wide])
    publish(open_at(place, staging), staging, [dataclasses.replace(wide, options=("audio",))])
    assert parts_at(place) == {}
    assert publish(open_at(place, staging), staging, [wide]).record.rows == 3


def test_two_videos_of_one_job_share_its_rows(place: Place, staging: Path) -> None:
    one = stage(staging, "a", job="same", options=("audio",))
    two = stage(staging, "b", job="same", options=("visual-text",))
    published = publish(open_at(place, staging), staging, [one, two])
    assert published.record.rows == 5
    assert published.freed == (one.job_key,)
    both = publish(open_at(place, staging), staging, [dataclasses.replace(one, options=None)])
    assert both.record.rows == 5
    assert {row["video_id"] for row in rows_in(place)} == {"a"}


def test_a_changed_partitioning_is_published_from_the_parts_alone(
    place: Place, staging: Path
) -> None:
    specs = [stage(staging, name, metadata={"place": f"p-{name}"}) for name in "ab"]
    publish(open_at(place, staging), staging, specs)
    rows = sorted(rows_in(place), key=str)
    publish(open_at(place, staging), staging, specs, partition_by=("place",))
    assert {key.split("/")[0] for key in place.listing()} >= {"place=p-a", "place=p-b"}
    assert not any(key.startswith("model_name=") for key in place.listing())
    names = sorted(rows[0])
    assert sorted(([row[n] for n in names] for row in rows_in(place)), key=str) == sorted(
        ([row[n] for n in names] for row in rows), key=str
    )
    publish(open_at(place, staging), staging, specs, partition_by=())
    assert not any("=" in key for key in place.listing())
    assert len(rows_in(place)) == 10


def test_kept_videos_follow_the_listed_in_groups_of_their_own(place: Place, staging: Path) -> None:
    specs = [stage(staging, name) for name in "abc"]
    dataset = open_at(place, staging)
    publish(dataset, staging, specs)
    published = publish(dataset, staging, [specs[2]], [specs[1], specs[0]])
    assert len(published.record.groups) == 2
    assert [spec.video_id for spec in dataset.specs()] == ["c", "a", "b"]


def test_a_kept_video_whose_metadata_has_another_type_is_told(place: Place, staging: Path) -> None:
    kept = stage(staging, "a", metadata={"floor": "second"})
    listed = stage(staging, "b", metadata={"floor": 2})
    with pytest.raises(DatasetError, match="video a has floor 'second'"):
        publish(open_at(place, staging), staging, [listed], [kept])
    assert parts_at(place) == {}


def test_rows_that_are_nowhere_are_all_named(place: Place, staging: Path) -> None:
    specs = [stage(staging, name) for name in "ab"]
    for spec in specs:
        (staging / f"{spec.job_key}.arrow").unlink()
    dataset = open_at(place, staging)
    with pytest.raises(RowsMissingError) as caught:
        publish(dataset, staging, specs)
    assert caught.value.job_keys == tuple(spec.job_key for spec in specs)
    assert dataset.last() is None
    assert not dataset.has_rows(
        specs[0].job_key, staged_of(specs[0]), options=None, staging=staging
    )


def test_a_damaged_staged_file_is_never_published(place: Place, staging: Path) -> None:
    spec = stage(staging, "a")
    path = staging / f"{spec.job_key}.arrow"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RowsMissingError):
        publish(open_at(place, staging), staging, [spec])
    assert not [key for key in place.listing() if key.startswith("_batchembed/incoming")]


def test_a_damaged_staged_file_counts_as_missing_where_its_rows_are_not_published(
    place: Place, staging: Path
) -> None:
    spec = stage(staging, "a", options=("audio",))
    dataset = open_at(place, staging)
    publish(dataset, staging, [spec])
    assert dataset.has_rows(spec.job_key, staged_of(spec), options=None, staging=staging)
    (staging / f"{spec.job_key}.arrow").write_bytes(b"damaged")
    assert not dataset.has_rows(spec.job_key, staged_of(spec), options=None, staging=staging)
    assert dataset.has_rows(spec.job_key, staged_of(spec), options=("audio",), staging=staging)


def test_rows_that_are_fewer_than_they_are_said_to_be_are_never_published(
    place: Place, staging: Path
) -> None:
    spec = dataclasses.replace(stage(staging, "a"), rows=(("audio", 2), ("visual-text", 4)))
    dataset = open_at(place, staging)
    with pytest.raises(DatasetError, match="5 rows were found of 6"):
        publish(dataset, staging, [spec])
    assert dataset.last() is None
    assert not [key for key in place.listing() if key.startswith("_batchembed/incoming")]


def test_rows_of_an_older_retrieval_are_read_from_the_parts(place: Place, staging: Path) -> None:
    old = stage(staging, "a")
    publish(open_at(place, staging), staging, [old])
    newer = stage(staging, "a", rows={"audio": 1})
    assert newer.job_key == old.job_key
    moved = dataclasses.replace(old, metadata={"place": "bridge"})
    published = publish(open_at(place, staging), staging, [moved])
    assert published.record.rows == 5
    assert published.freed == ()


def test_an_edit_rewrites_its_own_group_alone(place: Place, staging: Path) -> None:
    cutting = [name for name in (f"v{n}" for n in range(3000)) if cuts_group(VideoId(name))][:3]
    specs = [stage(staging, name, rows={"audio": MIN_GROUP_ROWS}) for name in cutting]
    dataset = open_at(place, staging)
    before = publish(dataset, staging, specs).record
    edited = [specs[0], dataclasses.replace(specs[1], width=None), specs[2]]
    after = publish(dataset, staging, edited).record
    same = [old == new for old, new in zip(before.groups, after.groups, strict=True)]
    assert same == [True, False, True]
    assert len(parts_at(place)) == 3


def test_what_is_not_ours_in_the_place_is_left_alone(place: Place, staging: Path) -> None:
    specs = [stage(staging, name) for name in "ab"]
    publish(open_at(place, staging), staging, specs)
    partition = next(iter(parts_at(place))).rpartition("/")[0]
    mine = [f"{partition}/notes.txt", f"{partition}/part-mine.parquet", "README.md", "a/b=c/part-1"]
    left = f"{partition}/part-{'0' * 16}.parquet"
    for key in (*mine, left):
        place.write(key, b"mine")
    publish(open_at(place, staging), staging, specs[:1])
    assert set(mine) <= set(place.listing())
    assert left not in place.listing()


def test_a_second_writer_is_found_when_it_takes_the_number(place: Place, staging: Path) -> None:
    spec = stage(staging, "a")
    slow = open_at(place, staging)
    assert slow.last() is None
    publish(open_at(place, staging), staging, [spec])
    other = stage(staging, "b")
    with pytest.raises(DatasetError, match="another writer"):
        publish(slow, staging, [other])
    assert [each.video_id for each in open_at(place, staging).specs()] == ["a"]


def test_a_record_that_was_changed_is_damaged(place: Place, staging: Path) -> None:
    publish(open_at(place, staging), staging, [stage(staging, "a")])
    key = "_batchembed/commits/000001.json"
    place.write(key, place.read(key).replace(b'"rows":2', b'"rows":3'))
    with pytest.raises(DatasetError, match=r"000001\.json is damaged"):
        open_at(place, staging)
    assert parts_at(place)


def test_a_group_file_that_was_changed_is_damaged(place: Place, staging: Path) -> None:
    publish(open_at(place, staging), staging, [stage(staging, "a")])
    (key,) = (key for key in place.listing() if key.startswith("_batchembed/groups/"))
    place.write(key, place.read(key).replace(b"640", b"641"))
    with pytest.raises(DatasetError, match="not the file that the dataset's record names"):
        open_at(place, staging).specs()


def test_records_that_are_gone_stop_every_writer_before_it_removes_parts(
    place: Place, staging: Path
) -> None:
    publish(open_at(place, staging), staging, [stage(staging, "a")])
    place.remove("_batchembed/commits/000001.json")
    with pytest.raises(DatasetError, match=r"has lost its records.*restore .*_batchembed/commits"):
        open_at(place, staging)
    assert parts_at(place)


@pytest.mark.parametrize("name", ["dataset.json", "commits/000001.json"])
def test_a_newer_format_asks_for_an_upgrade(name: str, place: Place, staging: Path) -> None:
    publish(open_at(place, staging), staging, [stage(staging, "a")])
    key = f"_batchembed/{name}"
    content = {**json.loads(place.read(key)), "format": 2}
    place.write(key, json.dumps(content).encode())
    with pytest.raises(DatasetError, match="upgrade batchembed"):
        open_at(place, staging)


def test_a_place_with_something_else_is_refused_and_left_as_it_is(
    place: Place, staging: Path
) -> None:
    place.write("thesis.tex", b"mine")
    with pytest.raises(OutputRefusedError, match="is not empty and is no dataset"):
        open_at(place, staging)
    assert place.listing() == ["thesis.tex"]


def test_another_model_or_dimension_is_told_to_go_elsewhere(place: Place, staging: Path) -> None:
    open_at(place, staging)
    for other in (
        dataclasses.replace(IDENTITY, model_name="marengo3.0"),
        dataclasses.replace(IDENTITY, dimension=512),
    ):
        with pytest.raises(OutputRefusedError, match=r"another output\.path"):
            Dataset.open_or_create(place.storage(), identity=other, new_id=lambda: "x")


def test_another_engine_is_only_told(place: Place, staging: Path) -> None:
    open_at(place, staging)
    now = dataclasses.replace(IDENTITY, engine={"pyav": "19", "ffmpeg": "8"})
    dataset = Dataset.open_or_create(place.storage(), identity=now, new_id=lambda: "x")
    assert dataset.engine_differences == ("ffmpeg", "pyav")
    assert dataset.dataset_id == "d" * 32


def test_runs_that_begin_an_output_at_once_agree_on_its_id(place: Place) -> None:
    runs = 4
    barrier = threading.Barrier(runs)

    def begin(run: int) -> str:
        barrier.wait()
        return Dataset.open_or_create(
            place.storage(), identity=IDENTITY, new_id=lambda: f"run-{run}"
        ).dataset_id

    with ThreadPoolExecutor(runs) as pool:
        for _ in range(10):
            assert len(set(pool.map(begin, range(runs)))) == 1
            for key in place.listing():
                place.remove(key)


def test_kept_metadata_keeps_its_types_over_publishes(place: Place, staging: Path) -> None:
    spec = stage(staging, "a", metadata={"s": 1.0, "big": 1e300, "n": 1, "yes": True})
    first = publish(open_at(place, staging), staging, [spec]).record.schema
    other = stage(staging, "b")
    kept = open_at(place, staging).specs()
    second = open_at(place, staging).publish(
        [other], kept, schema=schema_of([*kept, other]), staging=staging, side_files={}
    )
    assert second.record.schema == first
    assert {type(value) for value in kept[0].metadata.values()} == {float, int, bool}
    row = next(row for row in rows_in(place) if row["video_id"] == "a")
    assert (row["s"], row["big"], row["n"], row["yes"]) == (1.0, 1e300, 1, True)
    assert isinstance(row["s"], float)


def test_the_first_record_pins_a_dimension_that_was_not_known(place: Place, staging: Path) -> None:
    unknown = dataclasses.replace(IDENTITY, dimension=None)
    dataset = Dataset.open_or_create(place.storage(), identity=unknown, new_id=lambda: "x")
    spec = stage(staging, "a")
    publish(dataset, staging, [spec])
    assert dataset.identity.dimension == 4
    with pytest.raises(OutputRefusedError, match="vectors of 4 numbers"):
        dataset.publish(
            [spec],
            [],
            schema=dataclasses.replace(schema_of([spec]), dimension=8),
            staging=staging,
            side_files={},
        )
