"""How fast the answer of a two-hour video becomes Arrow arrays, and in how much memory.

    python -m benchmarks.answer [CLIPS]

1,200 clips x 2 options x 1,024 numbers are about 52 MB of JSON. Time is of reading and checking the
answer once it is there; memory, in a process of its own, is of receiving it over HTTP too. Beside
it stands what users of the official SDK do: its own parse, then NumPy and Arrow. Exit code 1 if a
target is missed.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from twelvelabs.core.pydantic_utilities import parse_obj_as
from twelvelabs.embed.tasks.types.tasks_retrieve_response import TasksRetrieveResponse

from batchembed.api import wire
from batchembed.api.tasks_client import TasksClient
from batchembed.core.segments import Span
from batchembed.dataset.checks import check_rows
from batchembed.media.limits import profile
from benchmarks.loopback import serving
from benchmarks.memory import peak_of

TARGET_MB_A_SECOND = 200
TARGET_PEAK = 1.5
_CLIP_S = 6
_DIMENSION = 1024


def make_answer(clips: int) -> bytes:
    """The body of a retrieve with both options of so many clips."""
    vectors = np.random.default_rng(0).standard_normal((2 * clips, _DIMENSION))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    segments = [
        {
            "start_offset_sec": _CLIP_S * (at % clips),
            "end_offset_sec": _CLIP_S * (at % clips + 1),
            "embedding_scope": "clip",
            "embedding_option": "visual-text" if at < clips else "audio",
            "float": vector.tolist(),
        }
        for at, vector in enumerate(vectors)
    ]
    answer = {"_id": "t1", "status": "ready", "video_embedding": {"segments": segments}}
    return json.dumps(answer, separators=(",", ":")).encode()


def ours(body: bytes | bytearray, clips: int) -> pa.Table:
    """The way of a run: every check included."""
    return check_rows(
        wire.segments(body),
        profile=profile("local-v1"),
        dimension=_DIMENSION,
        whole=Span(0, clips * _CLIP_S * 1000),
        clip_length_sec=_CLIP_S,
        scopes=("clip",),
    ).table


def with_the_sdk(body: bytes) -> pa.Table:
    """What the official SDK does with an answer, then the shortest way to Arrow."""
    answer = parse_obj_as(TasksRetrieveResponse, json.loads(body))
    segments = answer.video_embedding.segments if answer.video_embedding else None
    vectors = np.array([segment.float_ for segment in segments or ()], np.float32)
    flat = pa.array(vectors.reshape(-1))
    return pa.table({"embedding": pa.FixedSizeListArray.from_arrays(flat, _DIMENSION)})


def seconds(work: Callable[[], object], times: int) -> float:
    """The time of the fastest of so many."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return min(found)


def received_peak(base_url: str, clips: int) -> float:
    """Peak memory of receiving, reading and checking the answer, as a multiple of its size."""
    ours(make_answer(2), 2)  # what is loaded at first use is there before
    with TasksClient(base_url=base_url) as client:

        def work() -> int:
            body = client.retrieve_body("t1")
            ours(body, clips)
            return len(body)

        size, peak = peak_of(work)
    return peak / size


def main(clips: int) -> int:
    """Print the figures; 1 if a target is missed."""
    body = make_answer(clips)
    megabytes = len(body) / 1e6
    rate = megabytes / seconds(lambda: ours(body, clips), 5)
    sdk = megabytes / seconds(lambda: with_the_sdk(body), 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answer.json"
        path.write_bytes(body)
        with serving(path) as base_url, multiprocessing.get_context("spawn").Pool(1) as process:
            peak = process.apply(received_peak, (base_url, clips))
    print(
        f"answer of {megabytes:.0f} MB to Arrow: {rate:.0f} MB/s; the SDK's parse {sdk:.1f} MB/s, "
        f"ratio {rate / sdk:.0f}; peak memory {peak:.2f} times the answer"
    )
    return int(rate < TARGET_MB_A_SECOND or peak > TARGET_PEAK)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_200))
