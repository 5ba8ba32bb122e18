"""What a publish takes: the memory of a row group, and no pandas. In processes of their own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from batchembed.dataset.row_group import ROW_GROUP_ROWS

_DIMENSION = 1024
_STAGE_AND_PUBLISH = """
import dataclasses, json, sys
from pathlib import Path
from batchembed.core.model import JobKey, VideoId
from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import Dataset, DatasetIdentity, RowSpec
from batchembed.dataset.rows import CheckedRows
from batchembed.dataset.schema import dataset_schema
from batchembed.dataset.staging import write_staged
from tests.support.dataset import checked_rows

folder, dimension, videos, rows = Path(sys.argv[1]), *map(int, sys.argv[2:])
(folder / "staging").mkdir()

def staged(name):
    found = checked_rows(name, {"audio": rows, "visual-text": rows}, dimension=dimension)
    file = write_staged(found, folder / "staging", JobKey(name * 16))
    return RowSpec(
        video_id=VideoId(name), source=name, source_sha256=None, job_key=JobKey(name * 16),
        rows_sha256=file.sha256, rows=file.rows, options=None, duration_sec=None, width=None,
        height=None, metadata={"place": "here", "floor": 1, "new": True, "cost": 0.5},
    )

def peak():
    told = Path("/proc/self/status").read_text().split()
    return int(told[told.index("VmHWM:") + 1]) << 10

specs = [staged(f"{n:04d}") for n in range(videos)]
identity = DatasetIdentity(model_name="local-v1", dimension=dimension, engine={})
dataset = Dataset.open_or_create(Folder(folder / "out"), identity=identity, new_id=lambda: "d")
dataset.finish_interrupted(folder / "staging")
before = peak()

def publish(specs, kept=()):
    schema = dataset_schema(
        [spec.metadata for spec in specs], ["model_name", "embedding_option"], dimension
    )
    return dataset.publish(specs, kept, schema=schema, staging=folder / "staging", side_files={})

freed = len(publish(specs).freed)
# The second has all its rows from parts, and the third stages again what it does not show.
moved = [dataclasses.replace(spec, source="moved") for spec in specs]
published = publish(moved[:-1], moved[-1:])
publish([dataclasses.replace(spec, options=("audio",)) for spec in moved[:2]])
print(json.dumps({
    "grown": peak() - before, "rows": published.record.rows, "freed": freed,
    "pandas": "pandas" in sys.modules,
}))
"""


def published(folder: Path, *, dimension: int, videos: int, rows: int) -> dict[str, int]:
    done = subprocess.run(
        [
            *(sys.executable, "-c", _STAGE_AND_PUBLISH, folder),
            *map(str, (dimension, videos, rows)),
        ],
        check=True,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    told: dict[str, int] = json.loads(done.stdout)
    return told


def test_staging_and_publishing_never_import_pandas(tmp_path: Path) -> None:
    assert importlib.util.find_spec("pandas") is not None
    told = published(tmp_path, dimension=4, videos=3, rows=2)
    assert (told["rows"], told["freed"]) == (12, 3)
    assert not told["pandas"]


@pytest.mark.slow
def test_a_publish_takes_the_memory_of_a_row_group_and_of_its_writing(tmp_path: Path) -> None:
    """Two partitions of five row groups each: under four are taken, and ten would be the data."""
    told = published(tmp_path, dimension=_DIMENSION, videos=200, rows=200)
    assert told["rows"] == 80_000
    assert told["grown"] < 5 * ROW_GROUP_ROWS * _DIMENSION * 4
