"""Videos broken in every way: each ends as facts and vectors or as a reason, and the parent lives.

`make test` tries 1,000. More, or others, by one command:

    BATCHEMBED_MUTATED_VIDEOS=10000 .venv/bin/python -m pytest tests/integration/test_mutated_videos.py
    BATCHEMBED_MUTATED_VIDEOS=50 BATCHEMBED_MUTATED_FIRST=4200 ...

A failure names the number of its video, which is all that it is made from. Every video is probed.
Of those that pass, whatever limits would say of them, every sixteenth is embedded too: each that fails
costs a new process.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from batchembed.core.model import Facts
from batchembed.core.problems import Reason
from batchembed.engine.video.embed import Embedded, EmbedFailed, EmbedPlan
from batchembed.engine.workers.child import command_of
from batchembed.engine.workers.pool import WorkerPool
from batchembed.engine.workers.prober import Prober
from tests.support.media import make_video

COUNT = int(os.environ.get("BATCHEMBED_MUTATED_VIDEOS", "1000"))
FIRST = int(os.environ.get("BATCHEMBED_MUTATED_FIRST", "0"))
EMBED_EVERY = 16
#: One video is never worked on for longer than this.
DEADLINE_S = 30.0
PLAN = EmbedPlan(clip_length_sec=2, scopes=("clip", "video"))

Mutation = Callable[[random.Random, bytearray, list[bytes]], None]


def flip_bits(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    for _flip in range(chance.choice((1, 3, 10, 100))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def overwrite_runs(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    """With noise, zeros or ones."""
    for _run in range(chance.choice((1, 2, 5))):
        start, length = chance.randrange(len(data)), chance.choice((2, 16, 300, 4000))
        length = min(length, len(data) - start)
        data[start : start + length] = chance.choice(
            (chance.randbytes(length), bytes(length), b"\xff" * length)
        )


def truncate(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    del data[chance.randrange(1, len(data)) :]


def splice(chance: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    """Put in, in place of a part, a part of this or of another video."""
    other = chance.choice(seeds)
    start, length = chance.randrange(len(other)), chance.randrange(1, 5000)
    at = chance.randrange(len(data))
    data[at : at + chance.choice((0, length))] = other[start : start + length]


def edit_header(chance: random.Random, data: bytearray, _: list[bytes]) -> None:
    """Put numbers that are too large, negative or nothing where sizes and counts are."""
    for _edit in range(chance.choice((1, 2, 4))):
        width = chance.choice((1, 2, 4, 8))
        at = chance.randrange(min(len(data), 1500))
        value = chance.choice((0, 1, (1 << 8 * width) - 1, (1 << 8 * width - 1) - 1))
        data[at : at + width] = value.to_bytes(width, chance.choice(("big", "little")))


MUTATIONS: tuple[Mutation, ...] = (flip_bits, overwrite_runs, truncate, splice, edit_header)


def mutated(number: int, seeds: list[bytes]) -> bytes:
    """The video of this number; one in five is mutated twice."""
    chance = random.Random(number)  # noqa: S311  to be the same again
    data = bytearray(chance.choice(seeds))
    for mutation in chance.sample(MUTATIONS, chance.choice((1, 1, 1, 1, 2))):
        mutation(chance, data, seeds)
    return bytes(data)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    return [
        make_video(
            folder / f"{audio}{suffix}", seconds=2, fps=5, audio=audio, seed=seed
        ).read_bytes()
        for seed, suffix in enumerate((".mp4", ".mkv", ".avi", ".ts", ".webm", ".mov"))
        for audio in (True, False)
    ]


def _children() -> set[str]:
    """Ids of this process's children, zombies included."""
    found = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return set(" ".join(found).split())


def _embed(pool: WorkerPool, path: Path) -> Embedded | Reason:
    future = pool.submit(str(path), PLAN, deadline_s=DEADLINE_S)
    try:
        return future.result(4 * DEADLINE_S)
    except EmbedFailed as failure:
        return failure.reason


@pytest.mark.slow
def test_every_mutated_video_ends_as_a_result_or_a_reason(
    tmp_path: Path, seeds: list[bytes]
) -> None:
    children, path = _children(), tmp_path / "mutated"
    probed, embedded, odd = Counter[str](), Counter[str](), list[str]()
    with (
        Prober(1, deadline_s=DEADLINE_S) as prober,
        WorkerPool(1, command=command_of("tests.support.bad_worker")) as pool,
    ):
        for number in range(FIRST, FIRST + COUNT):
            path.write_bytes(mutated(number, seeds))
            found = prober.probe(str(path))
            probed["facts" if isinstance(found, Facts) else found.code] += 1
            if isinstance(found, Reason):
                if "probing it failed" in found.message:
                    odd.append(f"{number}: {found.message}")
                continue
            if probed["facts"] % EMBED_EVERY == 0:
                done = _embed(pool, path)
                embedded["vectors" if isinstance(done, Embedded) else done.code] += 1
                if isinstance(done, Reason) and done.code.startswith("worker_"):
                    odd.append(f"{number}: {done.message}")
        # Whatever they did to their processes, the next video has what it needs.
        path.write_bytes(seeds[0])
        assert isinstance(prober.probe(str(path)), Facts)
        assert isinstance(_embed(pool, path), Embedded)
    assert _children() == children
    # A process may die of a video; that PyAV stumbles in a way that nobody foresaw is ours to mend.
    assert not [words for words in odd if "worked on" in words]
    if COUNT >= 1000:
        assert probed.keys() >= {"facts", "video_file_broken"}
        assert embedded.keys() >= {"vectors", "video_truncated", "video_damaged"}
