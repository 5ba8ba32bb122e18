"""What only a dataset in a folder may meet, and what its parts are like.

What holds in every place is in `tests/contract/test_publish_anywhere.py`.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchembed.dataset.files import Files
from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import Dataset
from batchembed.dataset.storage import COMMITS
from batchembed.errors import DatasetError, OutputRefusedError
from tests.support.dataset import IDENTITY, open_here, parts_on_disk, publish, schema_of, stage


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "out"


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


def test_a_partition_that_links_out_of_the_dataset_is_refused(
    root: Path, staging: Path, tmp_path: Path
) -> None:
    dataset = open_here(root)
    (tmp_path / "elsewhere").mkdir()
    (root / "model_name=local-v1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="leads out of the dataset"):
        publish(dataset, staging, [stage(staging, "a")])
    assert list((tmp_path / "elsewhere").rglob("*.parquet")) == []


def test_a_file_is_refused(root: Path) -> None:
    root.write_text("mine")
    with pytest.raises(OutputRefusedError, match="is a file"):
        open_here(root)


def test_a_place_where_nothing_can_be_made_is_refused(root: Path) -> None:
    root.write_text("a file where a folder should be")
    with pytest.raises(OutputRefusedError, match="no dataset can be made"):
        open_here(root / "below")


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


def test_a_folder_of_records_that_is_gone_stops_every_writer_before_it_removes_parts(
    root: Path, staging: Path
) -> None:
    publish(open_here(root), staging, [stage(staging, "a")])
    (root / "_batchembed" / "commits").rename(root / "_batchembed" / "moved")
    with pytest.raises(DatasetError, match="records of"):
        open_here(root)
    assert parts_on_disk(root)


class Watched(Folder):
    """Tells how often its records were looked for."""

    looks = 0

    def names(self, folder: str) -> list[str]:
        self.looks += folder == COMMITS
        return super().names(folder)


def test_who_asks_in_the_middle_of_a_publish_reads_nothing(root: Path, staging: Path) -> None:
    """What it read might be kept when the publish has ended: the next would make the record again."""
    storage = Watched(root)
    dataset = Dataset.open_or_create(storage, identity=IDENTITY, new_id=lambda: "d" * 32)
    first, second = stage(staging, "a"), stage(staging, "b")
    publish(dataset, staging, [first])
    told: list[tuple[int, int]] = []

    def asks(_parts: object) -> None:
        before, record = storage.looks, dataset.last()
        told.append((0 if record is None else record.number, storage.looks - before))

    schema = schema_of([first, second])
    dataset.publish([first, second], (), schema=schema, staging=staging, side_files={}, accept=asks)
    assert told == [(1, 0)]
    record = dataset.last()
    assert record is not None
    assert record.number == 2
