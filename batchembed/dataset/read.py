"""Reads a dataset as its last record has it, whatever else lies in the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from batchembed.dataset.folder import Folder
from batchembed.dataset.identity import is_dataset
from batchembed.dataset.record import last_record
from batchembed.errors import DatasetError


def open_dataset(path: str | os.PathLike[str]) -> ds.FileSystemDataset:
    """The dataset's rows, in its order, the partition keys among them as strings.

    The checksum of every page that is read is verified.

    Raises:
        DatasetError: `path` is no dataset, has no record yet, or is damaged.
    """
    root = Path(path).absolute()
    storage = Folder(root)
    if not is_dataset(storage):
        raise DatasetError(f"{root} is no dataset of batchembed: name the folder of output.path")
    record = last_record(storage)
    if record is None:
        raise DatasetError(f"{root} has no record yet: run its manifest first")
    columns = record.schema.columns
    for key in record.schema.partition_by:
        columns = columns.append(pa.field(key, pa.string(), nullable=False))
    parquet = ds.ParquetFileFormat(page_checksum_verification=True)
    local = fs.LocalFileSystem()
    fragments = []
    for part in record.parts:
        where = pc.scalar(True)
        for key, value in part.partition:
            where = where & (pc.field(key) == pc.scalar(value))
        fragments.append(
            parquet.make_fragment(str(root / part.path), local, partition_expression=where)
        )
    return ds.FileSystemDataset(fragments, columns, parquet, local)
