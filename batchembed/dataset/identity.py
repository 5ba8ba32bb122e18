"""`_batchembed/dataset.json`: which dataset a folder is. Made before anything else in it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batchembed.dataset.record import read_object, sealed
from batchembed.dataset.schema import FORMAT
from batchembed.dataset.storage import DATASET_FILE, META, Storage
from batchembed.errors import InputMissingError, OutputRefusedError, StorageError, StoreMissingError


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetIdentity:
    """One model, one dimension. `engine` says what computed the vectors: versions and the like."""

    model_name: str
    dimension: int | None  #: None: not known before the first record
    engine: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFile:
    """The content of `dataset.json`, which has the sha256 of the rest beside it, as a record has."""

    format: int
    dataset_id: str
    model_name: str
    dimension: int | None
    engine: Mapping[str, str | None]


def open_or_create_file(
    storage: Storage, identity: DatasetIdentity, new_id: Callable[[], str]
) -> tuple[DatasetFile, bool]:
    """What a place says it is, and whether it does so for the first time: an empty one becomes a dataset.

    Raises:
        OutputRefusedError: it is something else, of another model, or can't be written. Nothing
            was changed in it.
        DatasetError: its `dataset.json` is damaged or of a newer version.
    """
    is_new = False
    try:
        if not _is_dataset(storage):
            is_new = _create(storage, identity, new_id)
    except OSError as error:
        raise OutputRefusedError(
            f"no dataset can be made in {storage.location}: {error.strerror or error}; "
            f"choose another output.path, or {_mend(error)}"
        ) from error
    except StoreMissingError as error:
        raise OutputRefusedError(
            f"no dataset can be made in {storage.location}: {error}"
        ) from error
    try:
        storage.require_writable()
    except OSError as error:
        raise OutputRefusedError(
            f"{storage.location} can't be written: {error.strerror or error}; {_mend(error)}, or "
            "choose another output.path"
        ) from error
    found = read_object(storage, DATASET_FILE, DatasetFile)
    _require_same(storage, found, identity)
    return found, is_new


def require_usable(storage: Storage, identity: DatasetIdentity) -> None:
    """See that a place is a dataset of this identity, or may become one. Nothing is changed in it.

    Raises:
        OutputRefusedError: it is something else, of another model, or can't be looked at.
        DatasetError: its `dataset.json` is damaged or of a newer version.
    """
    try:
        if not _is_dataset(storage):
            return
    except OSError as error:
        raise OutputRefusedError(
            f"{storage.location} can't be looked at: {error.strerror or error}; choose another "
            "output.path, or change its permissions"
        ) from error
    _require_same(storage, read_object(storage, DATASET_FILE, DatasetFile), identity)


def read_identity(storage: Storage) -> DatasetFile:
    """What a dataset says it is, for those who only read it.

    Raises:
        InputMissingError: there is none.
        DatasetError: its `dataset.json` is damaged, or of a newer version.
        StorageError: it can't be known whether there is one; StoreMissingError: not even the bucket.
    """
    try:
        if not is_dataset(storage):
            raise no_dataset(storage)
    except OSError as error:
        raise StorageError(
            f"{storage.location} can't be read: {error.strerror or error}; see to its disk and its "
            "permissions"
        ) from error
    return read_object(storage, DATASET_FILE, DatasetFile)


def no_dataset(storage: Storage) -> InputMissingError:
    """What to say of a place where there is none.

    Raises:
        StoreMissingError: there is not even the bucket.
        OSError: it can't be known.
    """
    try:
        is_other = storage.is_foreign()
    except NotADirectoryError:
        is_other = True
    then = "name what a manifest has as output.path"
    if is_other:
        return InputMissingError(
            f"{storage.location} is no dataset of batchembed: it has no {DATASET_FILE}; {then}"
        )
    return InputMissingError(f"there is no dataset at {storage.location}: {then}")


def is_dataset(storage: Storage) -> bool:
    """Whether there is a dataset.

    Raises:
        OSError: it can't be known.
    """
    return DATASET_FILE in storage.sizes([DATASET_FILE])


def _is_dataset(storage: Storage) -> bool:
    """Whether there is a dataset already; False where one may be made."""
    try:
        foreign = storage.is_foreign()
    except NotADirectoryError as error:
        raise OutputRefusedError(
            f"{storage.location} is a file: choose another output.path"
        ) from error
    # In this order: another run may be making the dataset at this moment.
    if is_dataset(storage):
        return True
    if foreign:
        raise OutputRefusedError(
            f"{storage.location} is not empty and is no dataset of batchembed: choose another "
            "output.path, or empty it yourself"
        )
    return False


def _create(storage: Storage, identity: DatasetIdentity, new_id: Callable[[], str]) -> bool:
    """Make the dataset, unless another run does at this moment; whether it was made here."""
    storage.prepare()
    content = DatasetFile(
        format=FORMAT,
        dataset_id=new_id(),
        model_name=identity.model_name,
        dimension=identity.dimension,
        engine=identity.engine,
    )
    made = True
    try:
        storage.create(DATASET_FILE, sealed(content))
    except (FileExistsError, FileNotFoundError):
        # Of two runs that begin at once, one makes the dataset, and the other finds it made; the
        # first may have swept the other's temporary file away already.
        made = False
        if not is_dataset(storage):
            raise
    storage.settle([META, ""])
    return made


def _mend(error: OSError) -> str:
    """What helps, besides another place, where one can't be written."""
    if error.errno == errno.EROFS:
        return "mount its file system for writing"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "change its permissions"
    return "see to its disk"


def _require_same(storage: Storage, found: DatasetFile, identity: DatasetIdentity) -> None:
    if found.model_name != identity.model_name:
        raise OutputRefusedError(
            f"{storage.location} holds embeddings of {found.model_name}, and the manifest asks for "
            f"{identity.model_name}: vectors of two models can't be compared; "
            "give the manifest another output.path"
        )
    require_dimension(storage, found.dimension, identity.dimension)


def require_dimension(storage: Storage, held: int | None, asked: int | None) -> None:
    """See that two dimensions, where both are known, are one.

    Raises:
        OutputRefusedError: they are not.
    """
    if held is not None and asked is not None and held != asked:
        raise OutputRefusedError(
            f"{storage.location} holds vectors of {held} numbers, and these have {asked}: "
            "give the manifest another output.path"
        )


def engine_differences(
    held: Mapping[str, str | None], now: Mapping[str, str | None]
) -> tuple[str, ...]:
    """What is not the same now as when the dataset was made, by name."""
    return tuple(sorted(key for key in held.keys() | now.keys() if held.get(key) != now.get(key)))
