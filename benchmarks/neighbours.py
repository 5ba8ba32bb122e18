"""How often the nearest neighbour of a segment is a segment of the same video.

    python benchmarks/neighbours.py [--clip SECONDS] VIDEO_OR_FOLDER ...

Embeds every video with `local-v1`, limits aside, and looks at `visual-text` clips by cosine, over
the videos with at least two. Exit code 1 where the share is below the target.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchembed.engine.video.embed import EmbedFailed, EmbedPlan
from batchembed.engine.workers.pool import WorkerPool

SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".webm"})
TARGET = 0.85
DEADLINE_S = 3600.0


def videos(given: Sequence[str]) -> list[Path]:
    """The files given, and those in the folders given."""
    found: list[Path] = []
    for name in given:
        path = Path(name)
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found += [each for each in inside if each.suffix in SUFFIXES]
    return found


def clips(paths: Sequence[Path], clip_length_sec: float) -> tuple[NDArray[np.float32], list[str]]:
    """The vectors of the visual clips, and the video of each; videos of one clip are left out."""
    plan = EmbedPlan(clip_length_sec=clip_length_sec, scopes=("clip",))
    vectors, names = [], []
    with WorkerPool(2) as pool:
        futures = [(p, pool.submit(str(p), plan, deadline_s=DEADLINE_S)) for p in paths]
        for path, future in futures:
            try:
                embedded = future.result()
            except EmbedFailed as failure:
                print(f"left out {path.name}: {failure}")
                continue
            rows = [
                vector
                for segment, vector in zip(embedded.segments, embedded.vectors, strict=True)
                if segment.embedding_option == "visual-text"
            ]
            if len(rows) > 1:
                vectors += rows
                names += [str(path)] * len(rows)
            print(f"{path.name}: {len(rows)} clips")
    return np.array(vectors), names


def main(argv: Sequence[str]) -> int:
    """Print the share of segments whose nearest neighbour is of their own video."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clip", type=float, default=6.0)
    parser.add_argument("given", nargs="+")
    asked = parser.parse_args(argv)
    vectors, names = clips(videos(asked.given), asked.clip)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    nearest = likeness.argmax(axis=1)
    same = sum(names[i] == names[int(j)] for i, j in enumerate(nearest))
    share = same / len(names)
    print(f"same video: {same} of {len(names)} segments, {share:.1%} (at least {TARGET:.0%})")
    return 0 if share >= TARGET else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
