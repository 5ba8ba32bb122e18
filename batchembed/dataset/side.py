"""One of two datasets that are compared: what its last record has, and where each video's rows are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from batchembed.core.model import VideoId
from batchembed.dataset.identity import DatasetFile, read_identity
from batchembed.dataset.record import Record, RowSpec, last_record, read_group, require_record
from batchembed.dataset.row_group import ROW_GROUP_ROWS
from batchembed.dataset.storage import Storage

#: Lists of videos by the sha256 of their group file: the same file is read, and kept, once.
Listings = dict[str, tuple[RowSpec, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A video, and about where its rows are: neighbours are near each other in every part."""

    spec: RowSpec
    group: int  #: its number in the record
    block: int  #: in its group, of as many rows as a row group at most has
    position: int  #: in the dataset


@dataclass(frozen=True, kw_only=True)
class Side:
    """A dataset as its last record has it; no part is open."""

    storage: Storage
    about: DatasetFile
    record: Record
    groups: tuple[tuple[RowSpec, ...], ...]  #: the videos of each group of the record

    @cached_property
    def videos(self) -> Mapping[VideoId, Located]:
        """Every video, in order."""
        found: dict[VideoId, Located] = {}
        for number, specs in enumerate(self.groups):
            rows = 0
            for spec in specs:
                found[spec.video_id] = Located(
                    spec=spec, group=number, block=rows // ROW_GROUP_ROWS, position=len(found)
                )
                rows += spec.published_rows
        return found

    def is_still(self) -> bool:
        """Whether no other record has been made since it was read."""
        record = last_record(self.storage)
        return record is not None and record.number == self.record.number


def read_side(storage: Storage, known: Listings) -> Side:
    """Read a dataset's record and lists of videos.

    Args:
        storage: where it is.
        known: lists that were read of the other dataset; those of this one are put there.

    Raises:
        InputMissingError: there is no dataset, or none with a record yet.
        DatasetError: it is damaged, or of a newer version of batchembed.
        StorageError: it can't be known whether there is one.
    """
    about, record = read_identity(storage), require_record(storage)
    for group in record.groups:
        if group.sha256 not in known:
            known[group.sha256] = read_group(storage, group)
    listed = tuple(known[group.sha256] for group in record.groups)
    return Side(storage=storage, about=about, record=record, groups=listed)
