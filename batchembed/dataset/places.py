"""From what people name to where a dataset is kept."""

from __future__ import annotations

from pathlib import Path

from batchembed.core.model import StoreOptions
from batchembed.dataset.folder import Folder
from batchembed.dataset.storage import Storage
from batchembed.errors import UsageError
from batchembed.stores.location import LocationError, is_uri, location_of
from batchembed.stores.objects import object_store

_USUAL = StoreOptions()


def storage_at(location: str, options: StoreOptions = _USUAL) -> Storage:
    """The place that a path or a URI names. Nothing is asked of an object store yet.

    Args:
        location: a folder, or `s3://bucket/folder`; `gs://` and `abfs://` are passed on untested.
        options: of object stores, complete (`stores.options.completed`).

    Raises:
        UsageError: the URI is none, or what its store needs is not installed.
        StoreError: the store's client can't be made; StoreAccessError: there are no credentials.
    """
    if not is_uri(location):
        return Folder(Path(location).absolute())
    try:
        place = location_of(location)
    except LocationError as error:
        raise UsageError(f"{error}: {error.hint}") from error
    store = object_store(place, options)
    from batchembed.dataset.objects import Objects  # noqa: PLC0415  needs what was just found there

    return Objects(place, options, store)
