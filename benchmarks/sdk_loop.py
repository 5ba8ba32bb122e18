"""What a user would write with the official SDK: create, wait and retrieve in 32 threads, then a table.

python -m benchmarks.sdk_loop BASE_URL FOLDER OUTPUT
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
from twelvelabs import TwelveLabs
from twelvelabs.wrapper.embed_client_wrapper import EmbedTasksClientWrapper

from benchmarks.vectors import CLIP_LENGTH_S

_THREADS = 32
_MODEL = "Marengo-retrieval-2.7"


def embed(client: TwelveLabs, path: Path) -> list[dict[str, object]]:
    """The rows of one video."""
    with path.open("rb") as file:
        created = client.embed.tasks.create(
            model_name=_MODEL, video_file=file, video_clip_length=CLIP_LENGTH_S
        )
    task_id = created.id or ""
    # The SDK's types know nothing of what it wraps its own client in.
    done = cast("EmbedTasksClientWrapper", client.embed.tasks).wait_for_done(task_id)
    if done.status != "ready":
        raise RuntimeError(f"{path}: {done.status}")
    answer = client.embed.tasks.retrieve(task_id)
    segments = answer.video_embedding.segments if answer.video_embedding else None
    return [
        {
            "video_id": path.name,
            "start_offset_sec": segment.start_offset_sec,
            "end_offset_sec": segment.end_offset_sec,
            "embedding_option": segment.embedding_option,
            "embedding_scope": segment.embedding_scope,
            "embedding": segment.float_,
        }
        for segment in segments or ()
    ]


def main(base_url: str, folder: Path, output: Path) -> None:
    """Embed every film of the folder into one Parquet file."""
    client = TwelveLabs(api_key="any", base_url=base_url)
    paths = sorted(folder.glob("*.mp4"))
    with ThreadPoolExecutor(_THREADS) as pool:
        rows = list(chain.from_iterable(pool.map(lambda path: embed(client, path), paths)))
    pq.write_table(pa.Table.from_pylist(rows), output)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
