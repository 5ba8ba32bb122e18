"""What a run reads and keeps: no file that it is asked to leave may replace any of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from batchembed.cli.options import Read
from batchembed.core.model import FileSource
from batchembed.manifest.lock_file import lock_path
from batchembed.manifest.sources import absolute
from batchembed.store.home import OWN_FILES, state_home
from batchembed.stores.location import is_uri

_DATASET_ID = re.compile("[0-9a-f]{32}")


def taken(path: Path, asked: Read, state_dir: str | None) -> str | None:
    """What `path` is taken by, as the end of a sentence; None where a file may be left there."""
    manifest, where = asked.manifest, path.resolve()
    for named, what in (
        (Path(manifest.file), "is the manifest"),
        (lock_path(manifest.file), "is the manifest's lock file"),
    ):
        if where == named.resolve():
            return what
    output = manifest.output.path
    if not is_uri(output) and where.is_relative_to(Path(output).resolve()):
        return f"is in output.path {output}, where a run keeps its own files"
    root = state_home(manifest.file, state_dir, "").path
    if where.is_relative_to(root.resolve()) and _is_state(where.relative_to(root.resolve())):
        return f"is in the state folder {root}, where a run keeps its own files"
    return _source(where, asked) if where.exists() else None


def _is_state(path: Path) -> bool:
    """Whether a file below the root of all state is of the package: the root may be anybody's folder."""
    first = path.parts[0] if path.parts else ""
    return first in OWN_FILES or _DATASET_ID.fullmatch(first) is not None


def _source(where: Path, asked: Read) -> str | None:
    """Of as many videos as there are: asks for no path to be resolved, but for what is there."""
    there = where.stat()
    for source, what in _sources(asked):
        try:
            if os.path.samestat(there, os.stat(source)):  # noqa: PTH116  as fast as can be
                return what
        except OSError:  # it is missing, which the run tells
            continue
    return None


def _sources(asked: Read) -> Iterator[tuple[str, str]]:
    for video in asked.manifest.videos:
        if isinstance(video.source, FileSource):
            yield video.source.path, f"is the video {video.video_id}"
    entries = asked.document.at(("videos",))
    for entry in entries if isinstance(entries, list) else ():
        table = entry.get("table") if isinstance(entry, dict) else None
        if isinstance(table, str) and not is_uri(table):
            folder = str(Path(asked.manifest.file).parent)
            yield absolute(folder, table), f"is the table {table}"
