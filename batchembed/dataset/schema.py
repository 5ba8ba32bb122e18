"""The columns of a dataset, the same in every part, and the texts that may name its folders.

Both are computed from the whole manifest before anything is submitted, so that no row that was
paid for can turn out not to fit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from batchembed.core.partitions import partition_problem
from batchembed.core.problems import Reason, Scalar
from batchembed.errors import BatchembedError, ExitCode

FORMAT = 1

#: Columns that the path may carry instead of the file.
PATH_COLUMNS = ("model_name", "embedding_option", "embedding_scope")

_TYPES = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
}


class MetadataError(BatchembedError):
    """The manifest's metadata can't be the columns or folders of one dataset; `reasons` has all."""

    exit_code = ExitCode.MANIFEST

    def __init__(self, reasons: Sequence[Reason]) -> None:
        self.reasons = tuple(reasons)
        told = "; ".join(
            reason.message + (f" ({reason.hint})" if reason.hint else "") for reason in reasons
        )
        super().__init__(f"the metadata can't be written as it is: {told}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSchema:
    """What every part looks like; plain values, so that a record can hold it."""

    dimension: int
    normalised: bool  #: every vector has length 1
    partition_by: tuple[str, ...]
    metadata: tuple[tuple[str, str], ...]  #: (column, bool | int64 | double | string), by name

    @property
    def columns(self) -> pa.Schema:
        """The Arrow schema of a part, with the footer's metadata. Partition keys are not in it."""
        return _columns(self)

    @property
    def embedding(self) -> pa.DataType:
        """`fixed_size_list<float32 not null>[dimension]`."""
        return embedding_type(self.dimension)


def embedding_type(dimension: int) -> pa.DataType:
    """`fixed_size_list<float32 not null>[dimension]`."""
    return pa.list_(pa.field("element", pa.float32(), nullable=False), dimension)


@functools.lru_cache(maxsize=8)
def _columns(schema: DatasetSchema) -> pa.Schema:
    def always(name: str, kind: pa.DataType) -> pa.Field[Any]:
        return pa.field(name, kind, nullable=False)

    in_file = [name for name in PATH_COLUMNS if name not in schema.partition_by]
    fields = [
        always("video_id", pa.string()),
        always("source", pa.string()),
        pa.field("source_sha256", pa.string()),
        always("job_key", pa.string()),
        always("segment_index", pa.int32()),
        always("start_offset_sec", pa.float64()),
        always("end_offset_sec", pa.float64()),
        *(always(name, pa.string()) for name in in_file),
        always("embedding", schema.embedding),
        pa.field("duration_sec", pa.float64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        *(
            pa.field(name, _TYPES[kind])
            for name, kind in schema.metadata
            if name not in schema.partition_by
        ),
    ]
    return pa.schema(
        fields,
        metadata={
            "batchembed.format": str(FORMAT),
            "batchembed.dimension": str(schema.dimension),
            "batchembed.metric": "cosine",
            "batchembed.normalised": "true" if schema.normalised else "false",
        },
    )


def dataset_schema(
    manifest_metadata: Sequence[Mapping[str, Scalar]],
    partition_by: Sequence[str],
    dimension: int,
    *,
    normalised: bool = False,
) -> DatasetSchema:
    """The schema that holds the metadata of every video of a manifest.

    Args:
        manifest_metadata: of each video, in any order.
        partition_by: the keys of the folders, outermost first.
        dimension: of a vector.
        normalised: the model promises vectors of length 1.

    Raises:
        MetadataError: a column of mixed types, a value that no column holds, or a partition key
            that a video lacks or whose value a reader would take for something else than text.
    """
    reasons: list[Reason] = []
    values: dict[str, list[Scalar]] = {}
    for metadata in manifest_metadata:
        for name, value in metadata.items():
            values.setdefault(name, []).append(value)
    types = []
    for name in sorted(values):
        try:
            types.append((name, _type_of(name, values[name])))
        except MetadataError as error:
            reasons.extend(error.reasons)
    for key in partition_by:
        if key not in PATH_COLUMNS:
            reasons.extend(_partition_problems(key, manifest_metadata))
    if reasons:
        raise MetadataError(reasons)
    return DatasetSchema(
        dimension=dimension,
        normalised=normalised,
        partition_by=tuple(partition_by),
        metadata=tuple(types),
    )


def _type_of(name: str, values: Iterable[Scalar]) -> str:
    kinds: set[str] = set()
    wide: int | None = None  # an integer that a float can't hold exactly
    for value in values:
        match value:
            case bool():
                kinds.add("bool")
            case int():
                kinds.add("int64")
                if not -(2**63) <= value < 2**63:
                    raise _refused(name, f"the number {value} needs more than 64 bits", "quote it")
                wide = value if int(float(value)) != value else wide
            case float():
                kinds.add("double")
                if not math.isfinite(value):
                    raise _refused(name, f"{value} is not a finite number", "leave it out")
            case str():
                kinds.add("string")
                if any("\ud800" <= letter <= "\udfff" for letter in value):
                    raise _refused(name, f"{value!r} is not valid Unicode", "write other text")
    if kinds == {"int64", "double"}:
        if wide is not None:
            raise _refused(name, f"{wide} can't be written as a float exactly", "quote the numbers")
        return "double"
    if len(kinds) > 1:
        told = " and ".join(sorted(kinds))
        raise _refused(name, f"it is {told} in different videos", "give every video the same type")
    return kinds.pop()


def _refused(name: str, why: str, hint: str) -> MetadataError:
    reason = Reason(
        code="metadata_invalid", field=f"metadata.{name}", message=f"{name}: {why}", hint=hint
    )
    return MetadataError([reason])


def _partition_problems(key: str, metadata: Sequence[Mapping[str, Scalar]]) -> list[Reason]:
    lacking = sum(key not in each for each in metadata)
    reasons = []
    if lacking:
        reasons.append(
            Reason(
                code="partition_invalid",
                field="output.partition_by",
                message=f"{lacking} of {len(metadata)} videos have no {key} in their metadata",
                value=key,
                hint=f"give every video a {key}, or leave {key} out of partition_by",
            )
        )
    # A dict, not a set: the order of the manifest, and 1 is not True.
    values = {(type(each[key]), each[key]): each[key] for each in metadata if key in each}
    found = (partition_problem(key, value) for value in values.values())
    return reasons + [reason for reason in found if reason is not None]
