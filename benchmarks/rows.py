"""How many rows a folder of Parquet has, and of how many videos.

python -m benchmarks.rows FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq


def count_rows(folder: Path) -> tuple[int, int]:
    """Rows, and videos."""
    rows = 0
    videos: set[object] = set()
    for path in folder.rglob("*.parquet"):
        column = pq.ParquetFile(path).read(["video_id"]).column("video_id")
        rows += len(column)
        videos.update(pc.unique(column).to_pylist())
    return rows, len(videos)


if __name__ == "__main__":
    print(*count_rows(Path(sys.argv[1])))
