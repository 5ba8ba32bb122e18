"""Records as values and as bytes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from batchembed.core.model import JobKey, VideoId
from batchembed.core.problems import Scalar
from batchembed.dataset.folder import Folder
from batchembed.dataset.record import (
    Group,
    Part,
    Record,
    RowSpec,
    encode_record,
    fingerprint,
    last_record,
    record_key,
)
from batchembed.dataset.schema import DatasetSchema
from batchembed.errors import DatasetError

SCHEMA = DatasetSchema(
    dimension=4, normalised=True, partition_by=("place",), metadata=(("place", "string"),)
)
SPEC = RowSpec(
    video_id=VideoId("a"),
    source="a.mp4",
    source_sha256=None,
    job_key=JobKey("k"),
    rows_sha256="r",
    rows=(("audio", 2), ("lyrics", 0), ("visual-text", 3)),
    options=None,
    duration_sec=6.0,
    width=1,
    height=2,
    metadata={"place": "x"},
)
PART = Part(path="place=x/part-0.parquet", partition=(("place", "x"),), rows=5, bytes=9, sha256="s")
RECORD = Record(
    format=1,
    number=1,
    dataset_id="d",
    previous_sha256=None,
    schema=SCHEMA,
    groups=(Group(fingerprint="f", file="group-0.json", sha256="g", parts=(PART,)),),
    side_files=(("videos.jsonl", "v"),),
)


def write(root: Path, record: Record, content: bytes | None = None) -> Path:
    path = root / record_key(record.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_record(record) if content is None else content)
    return path


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path, RECORD)
    assert last_record(Folder(tmp_path)) == RECORD
    assert RECORD.rows == 5
    assert RECORD.parts == (PART,)


def test_the_last_record_is_that_of_the_highest_number(tmp_path: Path) -> None:
    for number in (9, 10, 1_000_000):
        write(tmp_path, dataclasses.replace(RECORD, number=number))
    ((tmp_path / record_key(1)).parent / "notes.json").write_text("mine")
    found = last_record(Folder(tmp_path))
    assert found is not None
    assert found.number == 1_000_000


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"format":"1"}', b'{"format":1}', b"\xff\xfe"]
)
def test_a_file_that_is_no_record_is_damaged(content: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, RECORD, content)
    with pytest.raises(DatasetError, match="damaged") as caught:
        last_record(Folder(tmp_path))
    assert str(path) in str(caught.value)


def test_a_record_under_another_number_is_told(tmp_path: Path) -> None:
    write(tmp_path, RECORD).rename(tmp_path / record_key(2))
    with pytest.raises(DatasetError, match="was renamed"):
        last_record(Folder(tmp_path))


def test_a_video_has_the_rows_of_the_wanted_options() -> None:
    assert SPEC.published == ("audio", "visual-text")
    assert SPEC.published_rows == 5
    audio = dataclasses.replace(SPEC, options=("audio", "other"))
    assert audio.published == ("audio",)
    assert audio.published_rows == 2
    assert audio.staged_options == {"audio", "visual-text"}


@pytest.mark.parametrize("metadata", [{}, {"place": "y"}, {"place": 1}, {"place": True}])
def test_a_fingerprint_changes_with_what_stands_beside_the_rows(
    metadata: dict[str, Scalar],
) -> None:
    before = fingerprint(SCHEMA, "m", [SPEC])
    other = dataclasses.replace(SPEC, metadata=metadata)
    assert fingerprint(SCHEMA, "m", [other]) != before
    assert fingerprint(SCHEMA, "other", [SPEC]) != before
    assert fingerprint(dataclasses.replace(SCHEMA, dimension=8), "m", [SPEC]) != before
    assert fingerprint(SCHEMA, "m", [SPEC, other]) != fingerprint(SCHEMA, "m", [other, SPEC])
    assert fingerprint(SCHEMA, "m", [dataclasses.replace(SPEC)]) == before
