"""How long a manifest of 10,000 inline videos takes to validate, without probing.

Run as `python -m benchmarks.validate [VIDEOS]`. The ratio is against the plainest way that there
is: PyYAML's C loader and jsonschema over the same text, without places, limits, ids or sources.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from batchembed.manifest.resolve import read_manifest
from batchembed.manifest.schema import shape_validator

TARGET_S = 5.0


def manifest(videos: int) -> str:
    """A manifest whose videos set what videos usually set."""
    entries = (
        f"  - video_file: videos/{at % 100:02}/clip-{at:05}.mp4\n"
        f"    id: clip-{at:05}\n"
        f"    video_start_offset_sec: {at % 7}\n"
        f"    video_end_offset_sec: {at % 7 + 12}\n"
        f"    metadata: {{place: street-{at % 13}, take: {at}}}\n"
        for at in range(videos)
    )
    return f"version: 1\nengine: local\nvideos:\n{''.join(entries)}output:\n  path: out\n"


def bare(text: str) -> None:
    """Load and validate as one would without this package."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    value = yaml.load(text, Loader=loader)  # noqa: S506  either of the two is safe
    if not shape_validator().is_valid(value):
        raise ValueError("the manifest of the benchmark is not valid")


def seconds(work: Callable[[], object]) -> float:
    """The time of the fastest of three."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def main(videos: int) -> int:
    """Print the figures; 1 if the target is missed."""
    text = manifest(videos)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.yaml"
        path.write_text(text, encoding="utf-8")
        ours = seconds(lambda: read_manifest(path))
        plain = seconds(lambda: bare(text))
    print(f"{videos} videos: {ours:.2f} s; bare {plain:.2f} s; ratio {ours / plain:.2f}")
    return int(ours > TARGET_S)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
