"""Ends a publish after its record exists, also one that was interrupted: every step may be redone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from batchembed.dataset.files import Files, sha256_of
from batchembed.dataset.identity import INCOMING
from batchembed.dataset.record import META, Record

_PART = re.compile(r"part-[0-9a-f]{16}\.parquet")
_GROUP = re.compile(r"group-[0-9a-f]{16}\.json")


def clear_incoming(root: Path, files: Files) -> None:
    """Remove the temporary files of a publish that has no record."""
    for path in _files(root / META / INCOMING):
        files.remove(path)


def waiting_name(name: str, sha256: str) -> str:
    """The temporary name of a side file until its record exists."""
    return f"{name}.{sha256[:16]}.tmp"


def is_right(path: Path, sha256: str) -> bool:
    """Whether the file is there and has these bytes."""
    return path.is_file() and sha256_of(path) == sha256


def write_side_files(root: Path, side_files: Mapping[str, tuple[str, bytes]], files: Files) -> None:
    """Write side files, each `(sha256, content)`, under the temporary names of the next record."""
    for name, (sha256, content) in side_files.items():
        if not is_right(root / META / name, sha256):
            files.write(root / META / INCOMING / waiting_name(name, sha256), content)


def place_side_files(root: Path, record: Record, files: Files) -> None:
    """Give the side files of a record their final names, where they still have temporary ones."""
    renamed = False
    for name, sha256 in record.side_files:
        waiting = root / META / INCOMING / waiting_name(name, sha256)
        # A publish that ended before its record may have left a torn one.
        if is_right(waiting, sha256):
            files.rename(waiting, root / META / name)
            renamed = True
    if renamed:
        files.sync_folder(root / META)


def sweep(root: Path, record: Record | None, files: Files) -> None:
    """Remove what no record names: temporary files, parts, group files, empty partitions.

    Only names that batchembed gives are touched; links are not followed.
    """
    clear_incoming(root, files)
    groups = set() if record is None else {group.file for group in record.groups}
    for path in _files(root / META / "groups"):
        if _GROUP.fullmatch(path.name) and path.name not in groups:
            files.remove(path)
    parts = set() if record is None else {str(root / part.path) for part in record.parts}
    for path in _files(root):
        if _PART.fullmatch(path.name) and str(path) not in parts:
            files.remove(path)
    for folder in _partitions(root):
        for path in _files(folder):
            if _PART.fullmatch(path.name) and str(path) not in parts:
                files.remove(path)
        if not any(folder.iterdir()):
            files.remove_folder(folder)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(Path(each.path) for each in entries if each.is_file(follow_symlinks=False))


def _partitions(folder: Path) -> Iterator[Path]:
    """The partitions below `folder`, inner before outer."""
    with os.scandir(folder) as entries:
        inner = sorted(
            each.path for each in entries if "=" in each.name and each.is_dir(follow_symlinks=False)
        )
    for path in inner:
        yield from _partitions(Path(path))
        yield Path(path)
