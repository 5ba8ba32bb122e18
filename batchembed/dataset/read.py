"""Reads a dataset as its last record has it, whatever else lies beside its parts."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from batchembed.core.model import StoreOptions
from batchembed.dataset.commit import missing_parts
from batchembed.dataset.identity import read_identity
from batchembed.dataset.places import storage_at
from batchembed.dataset.record import Part, Record, last_record, require_record
from batchembed.dataset.schema import DatasetSchema
from batchembed.dataset.storage import Storage
from batchembed.errors import ArgumentError, DatasetError
from batchembed.stores.options import completed, endpoint_fault


def open_dataset(
    path: str | os.PathLike[str],
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
    anonymous: bool = False,
) -> ds.FileSystemDataset:
    """The dataset's rows, in its order, the partition keys among them as strings.

    This is a snapshot: the parts that the last record names, whatever is published later. Parts
    never change, but a publish removes those that its record no longer names: whoever still reads
    them then gets FileNotFoundError, and opens the dataset again.

    The checksum of every page that is read is verified.

    Args:
        path: a folder, which may begin with `~`, or the URI of a dataset on an object store.
        endpoint_url: of a store that is not the provider's own; else AWS_ENDPOINT_URL_S3 or
            AWS_ENDPOINT_URL.
        region: of the bucket; else AWS_REGION or AWS_DEFAULT_REGION.
        anonymous: ask without credentials. They come from the usual chain: variables, profile, role.

    Raises:
        InputMissingError: `path` is no dataset, or has no record yet.
        DatasetError: it is damaged, lacks a part, or is of a newer version of batchembed.
        StorageError: it can't be reached, or refuses; a StoreError of an object store.
        UsageError: an argument can't be right, or what the store needs is not installed.
    """
    location = _location(path)
    fault = None if endpoint_url is None else endpoint_fault(endpoint_url)
    if fault is not None:
        raise ArgumentError(f"endpoint_url: {fault}")
    options = StoreOptions(endpoint_url=endpoint_url, region=region, anonymous=anonymous)
    storage = storage_at(location, completed(options, os.environ))
    read_identity(storage)
    record = snapshot(storage)
    parquet = ds.ParquetFileFormat(page_checksum_verification=True)
    fragments = [
        parquet.make_fragment(
            storage.path(part.path), storage.filesystem, partition_expression=_partition(part)
        )
        for part in record.parts
    ]
    columns = _columns(record.schema)
    return ds.FileSystemDataset(fragments, columns, parquet, storage.filesystem)


def _location(path: object) -> str:
    """What is named, the user's own folder written out."""
    named = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(named, str) or not named:
        raise ArgumentError(f"{path!r} is no path: name the dataset's folder, or its URI")
    return os.path.expanduser(named)  # noqa: PTH111  a Path would write s3:// with one slash


def snapshot(storage: Storage) -> Record:
    """The last record, of which every part is there now. One may be published at this moment.

    Raises:
        InputMissingError: there is no record yet.
        DatasetError: it is damaged, or a part is not there.
    """
    record = require_record(storage)
    while missing := missing_parts(storage, record):
        newer = last_record(storage)
        if newer is None or newer.number == record.number:
            others = f", and {len(missing) - 1} more" if missing[1:] else ""
            raise DatasetError(
                f"{storage.named(missing[0].path)} is not there, or not of the size that the "
                f"record says{others}: run the manifest again, or restore it"
            )
        record = newer
    return record


def _columns(schema: DatasetSchema) -> pa.Schema:
    """Those of the parts, and the partition keys."""
    columns = schema.columns
    for key in schema.partition_by:
        columns = columns.append(pa.field(key, pa.string(), nullable=False))
    return columns


def _partition(part: Part) -> Any:  # noqa: ANN401  Arrow's stubs know no single type for it
    """What holds of every row of a part."""
    where = pc.scalar(True)
    for key, value in part.partition:
        where = where & (pc.field(key) == pc.scalar(value))
    return where
