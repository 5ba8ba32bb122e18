"""`_batchembed/dataset.json`: which dataset a folder is. Made before anything else in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from batchembed.dataset.files import Files
from batchembed.dataset.record import META, read_object, write_object
from batchembed.dataset.schema import FORMAT
from batchembed.errors import OutputRefusedError

#: Temporary files of a publish, on the file system of the dataset.
INCOMING = "incoming"
_FOLDERS = ("commits", "groups", INCOMING)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetIdentity:
    """One model, one dimension. `engine` says what computed the vectors: versions and the like."""

    model_name: str
    dimension: int | None  #: None: not known before the first record
    engine: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFile:
    """The content of `dataset.json`."""

    format: int
    dataset_id: str
    model_name: str
    dimension: int | None
    engine: Mapping[str, str | None]


def open_or_create_file(
    root: Path, identity: DatasetIdentity, new_id: Callable[[], str], files: Files
) -> DatasetFile:
    """What `root` says it is; an empty or absent folder becomes a dataset.

    Raises:
        OutputRefusedError: `root` is something else, of another model, or can't be written.
            Nothing was changed in it.
        DatasetError: its `dataset.json` is damaged or of a newer version.
    """
    try:
        if not _is_dataset(root):
            _create(root, identity, new_id, files)
    except OSError as error:
        raise OutputRefusedError(
            f"no dataset can be made in {root}: {error.strerror or error}; "
            "choose another output.path, or change its permissions"
        ) from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise OutputRefusedError(
            f"{root} can't be written: change its permissions, or choose another output.path"
        )
    found = read_object(root / META / "dataset.json", DatasetFile)
    _require_same(root, found, identity)
    return found


def _is_dataset(root: Path) -> bool:
    """Whether `root` is a dataset already; False where one may be made."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise OutputRefusedError(f"{root} is a file: choose another output.path")
    foreign = any(path.name != META for path in root.iterdir()) or _has_files(root / META)
    # In this order: another run may be making the dataset at this moment.
    if (root / META / "dataset.json").exists():
        return True
    if foreign:
        raise OutputRefusedError(
            f"{root} is not empty and is no dataset of batchembed: choose another output.path, "
            "or empty it yourself"
        )
    return False


def _has_files(meta: Path) -> bool:
    """Whether there is more than an interrupted creation leaves."""
    return any(
        path.is_file() and path.parent.name != INCOMING
        for path in (meta.rglob("*") if meta.is_dir() else ())
    )


def _create(root: Path, identity: DatasetIdentity, new_id: Callable[[], str], files: Files) -> None:
    meta = root / META
    for name in _FOLDERS:
        files.make_folder(meta / name)
    dataset_id = new_id()
    content = DatasetFile(
        format=FORMAT,
        dataset_id=dataset_id,
        model_name=identity.model_name,
        dimension=identity.dimension,
        engine=identity.engine,
    )
    temporary = meta / INCOMING / f"dataset-{dataset_id}.tmp"
    final = meta / "dataset.json"
    try:
        files.write(temporary, write_object(content))
        files.link(temporary, final)
    except (FileExistsError, FileNotFoundError):
        # Of two runs that begin at once, one makes the dataset, and the other finds it made; the
        # first may have swept the other's temporary file away already.
        if not final.exists():
            raise
    finally:
        files.remove(temporary)
    for folder in (meta, root, root.parent):
        files.sync_folder(folder)


def _require_same(root: Path, found: DatasetFile, identity: DatasetIdentity) -> None:
    if found.model_name != identity.model_name:
        raise OutputRefusedError(
            f"{root} holds embeddings of {found.model_name}, and the manifest asks for "
            f"{identity.model_name}: vectors of two models can't be compared; "
            "give the manifest another output.path"
        )
    require_dimension(root, found.dimension, identity.dimension)


def require_dimension(root: Path, held: int | None, asked: int | None) -> None:
    """See that two dimensions, where both are known, are one.

    Raises:
        OutputRefusedError: they are not.
    """
    if held is not None and asked is not None and held != asked:
        raise OutputRefusedError(
            f"{root} holds vectors of {held} numbers, and these have {asked}: "
            "give the manifest another output.path"
        )


def engine_differences(
    held: Mapping[str, str | None], now: Mapping[str, str | None]
) -> tuple[str, ...]:
    """What is not the same now as when the dataset was made, by name."""
    return tuple(sorted(key for key in held.keys() | now.keys() if held.get(key) != now.get(key)))
