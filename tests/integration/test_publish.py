"""A dataset published, changed, narrowed and widened, on a real disk."""

from __future__ import annotations

import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchembed.core.groups import MIN_GROUP_ROWS
from batchembed.core.keys import cuts_group
from batchembed.core.model import VideoId
from batchembed.core.states import Staged
from batchembed.dataset.files import Files
from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import Dataset, RowsMissingError, RowSpec
from batchembed.dataset.read import open_dataset
from batchembed.errors import DatasetError, OutputRefusedError
from tests.support.dataset import (
    IDENTITY,
    open_here,
    parts_on_disk,
    publish,
    schema_of,
    stage,
)


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "out"


def rows_in(root: Path) -> list[dict[str, Any]]:
    return open_dataset(root).to_table().to_pylist()


def staged_of(spec: RowSpec) -> Staged:
    return Staged(file=f"{spec.job_key}.arrow", rows=spec.rows, sha256=spec.rows_sha256)


def test_published_rows_are_read_back_with_every_column(root: Path, staging: Path) -> None:
    spec = stage(staging, "a", metadata={"place": "bridge", "floor": 2})
    published = publish(open_here(root), staging, [spec])
    assert published.changed
    assert published.record.number == 1
    assert published.record.rows == 5
    first = rows_in(root)[0]
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
    assert [row["segment_index"] for row in rows_in(root)] == [0, 1, 0, 1, 2]


def test_staged_files_are_freed_once_the_record_has_all_their_rows(
    root: Path, staging: Path
) -> None:
    whole = stage(staging, "a")
    part = stage(staging, "b", options=("audio",))
    published = publish(open_here(root), staging, [whole, part])
    assert published.freed == (whole.job_key,)
    assert [path.name for path in staging.iterdir()] == [f"{part.job_key}.arrow"]


def test_publishing_the_same_again_makes_no_record(root: Path, staging: Path) -> None:
    spec = stage(staging, "a")
    dataset = open_here(root)
    first = publish(dataset, staging, [spec])
    again = publish(open_here(root), staging, [spec])
    assert not again.changed
    assert again.record == first.record


def test_another_side_file_makes_a_record_with_the_same_parts(root: Path, staging: Path) -> None:
    spec = stage(staging, "a")
    dataset = open_here(root)
    first = publish(dataset, staging, [spec])
    before = {path: path.stat().st_ino for path in root.rglob("*.parquet")}
    second = publish(dataset, staging, [spec], side_files={"videos.jsonl": b"other\n"})
    assert second.record.number == 2
    assert second.record.parts == first.record.parts
    assert second.record.previous_sha256 == first.record.sha256
    assert {path: path.stat().st_ino for path in root.rglob("*.parquet")} == before
    assert (root / "_batchembed" / "videos.jsonl").read_bytes() == b"other\n"


def test_a_lost_side_file_is_written_again(root: Path, staging: Path) -> None:
    spec = stage(staging, "a")
    publish(open_here(root), staging, [spec])
    (root / "_batchembed" / "videos.jsonl").unlink()
    assert not publish(open_here(root), staging, [spec]).changed
    assert (root / "_batchembed" / "videos.jsonl").read_bytes() == b"{}\n"


def lose_parts(root: Path) -> list[Path]:
    """Delete the first part and cut the second short."""
    deleted, cut = sorted(root.rglob("*.parquet"))
    deleted.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    return [deleted, cut]


def test_missing_and_cut_parts_are_written_again_with_the_same_bytes(
    root: Path, staging: Path
) -> None:
    specs = [stage(staging, name) for name in "ab"]
    first = publish(open_here(root), staging, specs).record
    before = parts_on_disk(root)
    lost = lose_parts(root)
    dataset = open_here(root)
    assert list(dataset.missing_parts) == [str(path) for path in lost]
    assert dataset.specs() == tuple(specs)
    assert [stage(staging, name) for name in "ab"] == specs
    healed = publish(dataset, staging, specs)
    assert healed.changed
    assert healed.record.groups == first.groups
    assert set(healed.freed) == {spec.job_key for spec in specs}
    assert parts_on_disk(root) == before
    assert dataset.missing_parts == ()
    assert open_here(root).missing_parts == ()
    assert not publish(open_here(root), staging, specs).changed


def test_jobs_whose_part_is_missing_have_no_rows_unless_they_are_staged(
    root: Path, staging: Path
) -> None:
    spec = stage(staging, "a")
    publish(open_here(root), staging, [spec])
    lost = lose_parts(root)
    dataset = open_here(root)
    for options in (None, ("audio",), ("visual-text",)):
        assert not dataset.has_rows(spec.job_key, staged_of(spec), options=options, staging=staging)
    with pytest.raises(RowsMissingError, match="2 parts are missing or cut short") as caught:
        publish(dataset, staging, [spec])
    assert str(lost[0]) in str(caught.value)
    stage(staging, "a")
    assert dataset.has_rows(spec.job_key, staged_of(spec), options=None, staging=staging)


def test_a_missing_part_leaves_other_groups_as_they_are(root: Path, staging: Path) -> None:
    cutting = next(name for name in (f"v{n}" for n in range(3000)) if cuts_group(VideoId(name)))
    specs = [stage(staging, name, rows={"audio": MIN_GROUP_ROWS}) for name in (cutting, "b")]
    record = publish(open_here(root), staging, specs).record
    whole, lost = [root / part.path for part in record.parts]
    inode = whole.stat().st_ino
    lost.unlink()
    dataset = open_here(root)
    assert dataset.has_rows(specs[0].job_key, staged_of(specs[0]), options=None, staging=staging)
    stage(staging, "b", rows={"audio": MIN_GROUP_ROWS})
    assert publish(dataset, staging, specs).record.groups == record.groups
    assert whole.stat().st_ino == inode
    assert lost.exists()


def test_a_video_without_rows_to_publish_is_absent(root: Path, staging: Path) -> None:
    spec = stage(staging, "a", rows={"visual-text": 3}, options=("audio",))
    published = publish(open_here(root), staging, [spec])
    assert published.record.parts == ()
    assert rows_in(root) == []
    assert (staging / f"{spec.job_key}.arrow").exists()


def test_narrowed_options_can_be_widened_without_a_task(root: Path, staging: Path) -> None:
    wide = stage(staging, "a")
    publish(open_here(root), staging, [wide])
    before = parts_on_disk(root)
    narrow = dataclasses.replace(wide, options=("audio",))
    published = publish(open_here(root), staging, [narrow])
    assert published.record.rows == 2
    assert published.freed == ()
    assert open_here(root).has_rows(wide.job_key, staged_of(wide), options=None, staging=staging)
    widened = publish(open_here(root), staging, [wide])
    assert widened.freed == (wide.job_key,)
    assert parts_on_disk(root) == before


def test_a_video_narrowed_to_nothing_keeps_its_rows_in_staging(root: Path, staging: Path) -> None:
    wide = stage(staging, "a", rows={"visual-text": 3})
    publish(open_here(root), staging, [wide])
    publish(open_here(root), staging, [dataclasses.replace(wide, options=("audio",))])
    assert parts_on_disk(root) == {}
    assert publish(open_here(root), staging, [wide]).record.rows == 3


def test_two_videos_of_one_job_share_its_rows(root: Path, staging: Path) -> None:
    one = stage(staging, "a", job="same", options=("audio",))
    two = stage(staging, "b", job="same", options=("visual-text",))
    published = publish(open_here(root), staging, [one, two])
    assert published.record.rows == 5
    assert published.freed == (one.job_key,)
    both = publish(open_here(root), staging, [dataclasses.replace(one, options=None)])
    assert both.record.rows == 5
    assert {row["video_id"] for row in rows_in(root)} == {"a"}


def test_a_changed_partitioning_is_published_from_the_parts_alone(
    root: Path, staging: Path
) -> None:
    specs = [stage(staging, name, metadata={"place": f"p-{name}"}) for name in "ab"]
    publish(open_here(root), staging, specs)
    rows = sorted(rows_in(root), key=str)
    publish(open_here(root), staging, specs, partition_by=("place",))
    assert sorted(path.name for path in root.iterdir()) == ["_batchembed", "place=p-a", "place=p-b"]
    names = sorted(rows[0])
    assert sorted(([row[n] for n in names] for row in rows_in(root)), key=str) == sorted(
        ([row[n] for n in names] for row in rows), key=str
    )
    publish(open_here(root), staging, specs, partition_by=())
    assert sorted(path.suffix for path in root.iterdir()) == ["", ".parquet"]
    assert len(rows_in(root)) == 10


def test_kept_videos_follow_the_listed_in_groups_of_their_own(root: Path, staging: Path) -> None:
    specs = [stage(staging, name) for name in "abc"]
    dataset = open_here(root)
    publish(dataset, staging, specs)
    published = publish(dataset, staging, [specs[2]], [specs[1], specs[0]])
    assert len(published.record.groups) == 2
    assert [spec.video_id for spec in dataset.specs()] == ["c", "a", "b"]


def test_a_kept_video_whose_metadata_has_another_type_is_told(root: Path, staging: Path) -> None:
    kept = stage(staging, "a", metadata={"floor": "second"})
    listed = stage(staging, "b", metadata={"floor": 2})
    with pytest.raises(DatasetError, match="video a has floor 'second'"):
        publish(open_here(root), staging, [listed], [kept])
    assert parts_on_disk(root) == {}


def test_rows_that_are_nowhere_are_all_named(root: Path, staging: Path) -> None:
    specs = [stage(staging, name) for name in "ab"]
    for spec in specs:
        (staging / f"{spec.job_key}.arrow").unlink()
    dataset = open_here(root)
    with pytest.raises(RowsMissingError) as caught:
        publish(dataset, staging, specs)
    assert caught.value.job_keys == tuple(spec.job_key for spec in specs)
    assert dataset.last() is None
    assert not dataset.has_rows(
        specs[0].job_key, staged_of(specs[0]), options=None, staging=staging
    )


def test_a_damaged_staged_file_is_never_published(root: Path, staging: Path) -> None:
    spec = stage(staging, "a")
    path = staging / f"{spec.job_key}.arrow"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RowsMissingError):
        publish(open_here(root), staging, [spec])
    assert list((root / "_batchembed" / "incoming").iterdir()) == []


def test_a_damaged_staged_file_counts_as_missing_where_its_rows_are_not_published(
    root: Path, staging: Path
) -> None:
    spec = stage(staging, "a", options=("audio",))
    dataset = open_here(root)
    publish(dataset, staging, [spec])
    assert dataset.has_rows(spec.job_key, staged_of(spec), options=None, staging=staging)
    (staging / f"{spec.job_key}.arrow").write_bytes(b"damaged")
    assert not dataset.has_rows(spec.job_key, staged_of(spec), options=None, staging=staging)
    assert dataset.has_rows(spec.job_key, staged_of(spec), options=("audio",), staging=staging)


def test_rows_that_are_fewer_than_they_are_said_to_be_are_never_published(
    root: Path, staging: Path
) -> None:
    spec = dataclasses.replace(stage(staging, "a"), rows=(("audio", 2), ("visual-text", 4)))
    dataset = open_here(root)
    with pytest.raises(DatasetError, match="5 rows were found of 6"):
        publish(dataset, staging, [spec])
    assert dataset.last() is None
    assert list((root / "_batchembed" / "incoming").iterdir()) == []


def test_rows_of_an_older_retrieval_are_read_from_the_parts(root: Path, staging: Path) -> None:
    old = stage(staging, "a")
    publish(open_here(root), staging, [old])
    newer = stage(staging, "a", rows={"audio": 1})
    assert newer.job_key == old.job_key
    moved = dataclasses.replace(old, metadata={"place": "bridge"})
    published = publish(open_here(root), staging, [moved])
    assert published.record.rows == 5
    assert published.freed == ()


def test_an_edit_rewrites_its_own_group_alone(root: Path, staging: Path) -> None:
    cutting = [name for name in (f"v{n}" for n in range(3000)) if cuts_group(VideoId(name))][:3]
    specs = [stage(staging, name, rows={"audio": MIN_GROUP_ROWS}) for name in cutting]
    dataset = open_here(root)
    before = publish(dataset, staging, specs).record
    edited = [specs[0], dataclasses.replace(specs[1], width=None), specs[2]]
    after = publish(dataset, staging, edited).record
    same = [old == new for old, new in zip(before.groups, after.groups, strict=True)]
    assert same == [True, False, True]
    assert len(parts_on_disk(root)) == 3


def test_row_groups_have_8192_rows_however_rows_arrive(root: Path, staging: Path) -> None:
    specs = [stage(staging, f"v{n}", rows={"audio": 1 + n * 3000}) for n in range(4)]
    publish(open_here(root), staging, specs)
    (path,) = root.rglob("*.parquet")
    found = pq.read_metadata(path)
    assert [found.row_group(n).num_rows for n in range(found.num_row_groups)] == [8192, 8192, 1620]


def test_a_part_is_compressed_split_by_bytes_and_says_what_it_is(root: Path, staging: Path) -> None:
    publish(open_here(root), staging, [stage(staging, "a")])
    path = next(root.rglob("*.parquet"))
    found = pq.read_metadata(path)
    columns = {
        found.row_group(0).column(n).path_in_schema: found.row_group(0).column(n)
        for n in range(found.num_columns)
    }
    vectors = columns["embedding.list.element"]
    assert vectors.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in vectors.encodings
    assert not vectors.has_dictionary_page
    assert not vectors.is_stats_set
    assert columns["video_id"].has_dictionary_page
    assert not columns["start_offset_sec"].has_dictionary_page
    schema = pq.read_schema(path)
    assert schema.field("embedding").type == pa.list_(
        pa.field("element", pa.float32(), nullable=False), 4
    )
    told = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    assert told == {
        "batchembed.format": "1",
        "batchembed.dimension": "4",
        "batchembed.metric": "cosine",
        "batchembed.normalised": "true",
    }


def test_what_is_not_ours_in_the_folder_is_left_alone(root: Path, staging: Path) -> None:
    specs = [stage(staging, name) for name in "ab"]
    publish(open_here(root), staging, specs)
    partition = next(root.rglob("*.parquet")).parent
    for name in ("notes.txt", "part-mine.parquet"):
        (partition / name).write_text("mine")
    (root / "README.md").write_text("mine")
    (partition / f"part-{'0' * 16}.parquet").write_text("left by a crash")
    publish(open_here(root), staging, specs[:1])
    assert sorted(path.name for path in partition.iterdir() if path.stat().st_size == 4) == [
        "notes.txt",
        "part-mine.parquet",
    ]
    assert not (partition / f"part-{'0' * 16}.parquet").exists()
    assert (root / "README.md").exists()


def test_a_partition_that_links_out_of_the_dataset_is_refused(
    root: Path, staging: Path, tmp_path: Path
) -> None:
    dataset = open_here(root)
    (tmp_path / "elsewhere").mkdir()
    (root / "model_name=local-v1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="leads out of the dataset"):
        publish(dataset, staging, [stage(staging, "a")])
    assert list((tmp_path / "elsewhere").rglob("*.parquet")) == []


def test_a_second_writer_is_found_when_it_takes_the_number(root: Path, staging: Path) -> None:
    spec = stage(staging, "a")
    slow = open_here(root)
    assert slow.last() is None
    publish(open_here(root), staging, [spec])
    other = stage(staging, "b")
    with pytest.raises(DatasetError, match="another writer"):
        publish(slow, staging, [other])
    assert [each.video_id for each in open_here(root).specs()] == ["a"]


def test_a_record_that_was_changed_is_damaged(root: Path, staging: Path) -> None:
    publish(open_here(root), staging, [stage(staging, "a")])
    path = root / "_batchembed" / "commits" / "000001.json"
    path.write_text(path.read_text().replace('"rows":2', '"rows":3'))
    with pytest.raises(DatasetError, match=r"000001\.json is damaged"):
        open_here(root)
    assert parts_on_disk(root)


def test_a_group_file_that_was_changed_is_damaged(root: Path, staging: Path) -> None:
    publish(open_here(root), staging, [stage(staging, "a")])
    (path,) = (root / "_batchembed" / "groups").iterdir()
    path.write_text(path.read_text().replace("640", "641"))
    with pytest.raises(DatasetError, match="not the file that the dataset's record names"):
        open_here(root).specs()


def test_records_that_are_gone_stop_every_writer_before_it_removes_parts(
    root: Path, staging: Path
) -> None:
    publish(open_here(root), staging, [stage(staging, "a")])
    (root / "_batchembed" / "commits").rename(root / "_batchembed" / "moved")
    with pytest.raises(DatasetError, match="records of"):
        open_here(root)
    assert parts_on_disk(root)


@pytest.mark.parametrize("name", ["dataset.json", "commits/000001.json"])
def test_a_newer_format_asks_for_an_upgrade(name: str, root: Path, staging: Path) -> None:
    publish(open_here(root), staging, [stage(staging, "a")])
    path = root / "_batchembed" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(DatasetError, match="upgrade batchembed"):
        open_here(root)


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(root: Path) -> None:
    root.mkdir()
    (root / "thesis.tex").write_text("mine")
    with pytest.raises(OutputRefusedError, match="is not empty and is no dataset"):
        open_here(root)
    assert [path.name for path in root.rglob("*")] == ["thesis.tex"]


def test_a_file_is_refused(root: Path) -> None:
    root.write_text("mine")
    with pytest.raises(OutputRefusedError, match="is a file"):
        open_here(root)


def test_a_place_where_nothing_can_be_made_is_refused(root: Path) -> None:
    root.write_text("a file where a folder should be")
    with pytest.raises(OutputRefusedError, match="no dataset can be made"):
        open_here(root / "below")


def test_another_model_or_dimension_is_told_to_go_elsewhere(root: Path) -> None:
    open_here(root)
    for other in (
        dataclasses.replace(IDENTITY, model_name="marengo3.0"),
        dataclasses.replace(IDENTITY, dimension=512),
    ):
        with pytest.raises(OutputRefusedError, match=r"another output\.path"):
            Dataset.open_or_create(Folder(root), identity=other, new_id=lambda: "x")


def test_another_engine_is_only_told(root: Path) -> None:
    open_here(root)
    now = dataclasses.replace(IDENTITY, engine={"pyav": "19", "ffmpeg": "8"})
    dataset = Dataset.open_or_create(Folder(root), identity=now, new_id=lambda: "x")
    assert dataset.engine_differences == ("ffmpeg", "pyav")
    assert dataset.dataset_id == "d" * 32


class OvertakenFiles(Files):
    """Another run makes the dataset, and sweeps it if asked to, just before this one would."""

    def __init__(self, root: Path, *, sweeps: bool) -> None:
        self._root = root
        self._sweeps = sweeps

    def link(self, old: Path, new: Path) -> None:
        other = Dataset.open_or_create(
            Folder(self._root), identity=IDENTITY, new_id=lambda: "theirs"
        )
        if self._sweeps:
            other.finish_interrupted(self._root.parent / "staging")
        super().link(old, new)


@pytest.mark.parametrize("sweeps", [False, True])
def test_a_dataset_that_another_run_made_first_is_taken_as_it_is(root: Path, sweeps: bool) -> None:
    files = OvertakenFiles(root, sweeps=sweeps)
    ours = Dataset.open_or_create(Folder(root, files), identity=IDENTITY, new_id=lambda: "ours")
    assert ours.dataset_id == "theirs"
    assert list((root / "_batchembed" / "incoming").iterdir()) == []


def test_runs_that_begin_an_output_at_once_agree_on_its_id(root: Path) -> None:
    runs = 4
    barrier = threading.Barrier(runs)

    def begin(output: int, run: int) -> str:
        barrier.wait()
        return Dataset.open_or_create(
            Folder(root / str(output)), identity=IDENTITY, new_id=lambda: f"run-{run}"
        ).dataset_id

    with ThreadPoolExecutor(runs) as pool:
        for output in range(10):
            ids = set(pool.map(begin, [output] * runs, range(runs)))
            assert len(ids) == 1


def test_kept_metadata_keeps_its_types_over_publishes(root: Path, staging: Path) -> None:
    spec = stage(staging, "a", metadata={"s": 1.0, "big": 1e300, "n": 1, "yes": True})
    first = publish(open_here(root), staging, [spec]).record.schema
    other = stage(staging, "b")
    kept = open_here(root).specs()
    second = open_here(root).publish(
        [other], kept, schema=schema_of([*kept, other]), staging=staging, side_files={}
    )
    assert second.record.schema == first
    assert {type(value) for value in kept[0].metadata.values()} == {float, int, bool}
    row = next(row for row in rows_in(root) if row["video_id"] == "a")
    assert (row["s"], row["big"], row["n"], row["yes"]) == (1.0, 1e300, 1, True)
    assert isinstance(row["s"], float)


def test_the_first_record_pins_a_dimension_that_was_not_known(root: Path, staging: Path) -> None:
    unknown = dataclasses.replace(IDENTITY, dimension=None)
    dataset = Dataset.open_or_create(Folder(root), identity=unknown, new_id=lambda: "x")
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


def test_open_dataset_says_what_is_missing(root: Path) -> None:
    with pytest.raises(DatasetError, match="is no dataset"):
        open_dataset(root)
    open_here(root)
    with pytest.raises(DatasetError, match="has no record yet"):
        open_dataset(root)
