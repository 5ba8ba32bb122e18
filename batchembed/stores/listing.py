"""What is under a prefix of an object store."""

from __future__ import annotations

from collections.abc import Iterator

from pyarrow import fs

from batchembed.core.model import StoreOptions
from batchembed.stores.failures import no_bucket, translated
from batchembed.stores.filesystem import filesystem, lacks_bucket
from batchembed.stores.location import Location


def names_under(
    location: Location, options: StoreOptions, *, deep: bool
) -> Iterator[tuple[str, ...]]:
    """The objects under `location`, each as the parts of its name from there on, in no order.

    The listing is read to its last page before the first is given. With `deep`, those of its
    folders too. A prefix under which nothing is has no objects.

    Raises:
        StoreError: there is no such bucket, or it can't be listed.
    """
    store = filesystem(location, options)
    with translated(location):
        found = store.get_file_info(
            fs.FileSelector(location.path, recursive=deep, allow_not_found=True)
        )
    if not found and lacks_bucket(store, location):
        raise no_bucket(location)
    above = len(location.path) + 1
    for info in found:
        if info.type is fs.FileType.File:
            yield tuple(info.path[above:].split("/"))
