"""The columns of a dataset, and the texts that may name its folders."""

from __future__ import annotations

from urllib.parse import unquote

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchembed.core.partitions import folder_name, partition_problem
from batchembed.core.problems import Scalar
from batchembed.dataset.schema import (
    MetadataError,
    dataset_schema,
)
from batchembed.errors import ExitCode

KEYS = ("model_name", "embedding_option", "embedding_scope")


def refusal(metadata: list[dict[str, Scalar]], partition_by: tuple[str, ...] = KEYS) -> str:
    with pytest.raises(MetadataError) as caught:
        dataset_schema(metadata, partition_by, 4)
    assert caught.value.exit_code is ExitCode.MANIFEST
    return str(caught.value)


def test_the_columns_are_the_designs_and_then_the_users_in_order() -> None:
    schema = dataset_schema([{"place": "x", "floor": 1}, {"lit": True, "area": 2.5}], KEYS, 1024)
    assert schema.columns.names == [
        "video_id",
        "source",
        "source_sha256",
        "job_key",
        "segment_index",
        "start_offset_sec",
        "end_offset_sec",
        "embedding",
        "duration_sec",
        "width",
        "height",
        "area",
        "floor",
        "lit",
        "place",
    ]
    types = {field.name: str(field.type) for field in schema.columns}
    assert types["embedding"] == "fixed_size_list<element: float not null>[1024]"
    assert [types[name] for name in ("area", "floor", "lit", "place")] == [
        "double",
        "int64",
        "bool",
        "string",
    ]


def test_a_partition_key_is_no_column_and_another_path_column_becomes_one() -> None:
    schema = dataset_schema([{"place": "x"}], ["place", "model_name"], 4)
    assert "place" not in schema.columns.names
    assert "model_name" not in schema.columns.names
    assert schema.columns.field("embedding_option").type == pa.string()


def test_whole_numbers_and_others_become_one_column_of_floats() -> None:
    assert dataset_schema([{"a": 1}, {"a": 2.5}], KEYS, 4).metadata == (("a", "double"),)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((1, "x"), "int64 and string"),
        ((True, 1), "bool and int64"),
        ((2**63,), "64 bits"),
        ((2**53 + 1, 0.5), "as a float exactly"),
        ((float("nan"),), "finite"),
        ((float("inf"),), "finite"),
        (("\ud800",), "Unicode"),
    ],
)
def test_values_that_no_column_holds_are_refused(values: tuple[Scalar, ...], told: str) -> None:
    assert told in refusal([{"a": value} for value in values])


def test_all_that_is_wrong_is_told_at_once() -> None:
    told = refusal([{"a": 1, "b": "x", "place": "1"}, {"a": "x", "b": 2}], ("place",))
    assert "a: it is" in told
    assert "b: it is" in told
    assert "1 of 2 videos have no place" in told
    assert "'1' would be read as something else" in told


@pytest.mark.parametrize(
    "value",
    [
        "1", "01", "-1", "+1.5", ".5", "1e5", "1_000", "0x1f", "1,5", "12:30", "2024-01-01",
        "2024/01/01", "2024-01-01T00:00:00Z", "2024-01-01 00:00:00 UTC", "01-02-2024", "true",
        "False", "NO", "null", "None", "nan", "Inf", "infinity", "epoch", "", " a", "a ", ".", "..",
        "__HIVE_DEFAULT_PARTITION__", "a\x00b", "a\nb", "e\u0301", "x" * 129, "%" * 100, 1, 2.5, True,
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_that_a_reader_would_change_is_refused_with_a_hint(value: Scalar) -> None:
    problem = partition_problem("place", value)
    assert problem is not None
    assert problem.hint


@pytest.mark.parametrize(
    "value",
    ["bridge", "local-v1", "7th-street", "a/b", "50 %", "Zürich", "street 12", "v2.7", "東京"],
)
def test_other_text_may_name_a_folder(value: str) -> None:
    assert partition_problem("place", value) is None


@settings(max_examples=50)
@given(value=st.text(min_size=1, max_size=60))
def test_a_folders_name_is_one_plain_segment_that_says_the_value(value: str) -> None:
    if partition_problem("place", value) is not None:
        return
    name = folder_name("place", value)
    key, _, rest = name.partition("=")
    assert key == "place"
    assert unquote(rest) == value
    assert name.isascii()
    assert not set(name[6:]) - set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-%"
    )
    assert len(name) <= 255
