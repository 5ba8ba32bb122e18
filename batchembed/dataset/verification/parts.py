"""Checks one part: its bytes, then its footer, then its rows. Memory is that of a few batches.

What has not the bytes that the record names is not looked into, but to say where it is damaged: a
damaged file may claim anything of itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from batchembed.core.model import VideoId
from batchembed.core.verification import Finding
from batchembed.dataset.files import sha256_of_file
from batchembed.dataset.part_reader import open_part, part_batches
from batchembed.dataset.record import Part
from batchembed.dataset.row_group import ROW_GROUP_ROWS
from batchembed.dataset.schema import DatasetSchema
from batchembed.dataset.storage import Storage
from batchembed.dataset.verification.rows import ColumnCheck, Columns, Listed
from batchembed.dataset.verification.sealed import unreadable
from batchembed.dataset.verification.segments import check_segments
from batchembed.dataset.verification.vectors import check_vectors

_ANEW = "a run writes it anew where its rows are staged still, or the service has them"
_RESTORE = f"restore it from a backup; or move it away and run the manifest: {_ANEW}"
#: Faults of a part's rows that are told one by one.
_TOLD = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPart:
    """What was found in a part; `counts`, rows by video and option, is None where not all were read."""

    part: Part
    findings: tuple[Finding, ...]
    counts: Counter[tuple[VideoId, str]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartCheck:
    """Checks parts of one dataset; may be called from several threads."""

    storage: Storage
    schema: DatasetSchema

    def check(self, part: Part, size: int | None, listed: Listed | None) -> CheckedPart:
        """Check a part.

        Args:
            part: as the record names it.
            size: its bytes, as the storage lists them; None: it is not there.
            listed: what its rows must be; None where that is not known.

        Raises:
            StoreError: the store can't be reached.
        """
        fault = self._bytes(part, size)
        if fault is not None:
            return CheckedPart(part=part, findings=(fault,))
        findings: list[Finding] = []
        columns = None
        try:
            columns = self._content(part, listed, findings)
        except (OSError, pa.ArrowException) as error:
            findings.append(_unread(part, error))
        return CheckedPart(
            part=part,
            findings=_capped(part, findings),
            counts=None if columns is None else columns.counts(),
        )

    def _bytes(self, part: Part, size: int | None) -> Finding | None:
        if size is None:
            hint = f"restore it from a backup, or run the manifest: {_ANEW}"
            return Finding(code="part_missing", file=part.path, message="it is missing", hint=hint)
        if size != part.bytes:
            message = f"it has {size} bytes instead of {part.bytes}"
            return Finding(code="part_damaged", file=part.path, message=message, hint=_RESTORE)
        try:
            with self.storage.open(part.path) as file:
                sha256 = sha256_of_file(file)
            if sha256 == part.sha256:
                return None
            number = self._damaged_row_group(part)
        except OSError as error:
            return unreadable(part.path, "a part", error)
        return Finding(
            code="part_damaged",
            file=part.path,
            message="its sha256 is not the one that the record names",
            hint=_RESTORE,
            row_group=number,
        )

    def _damaged_row_group(self, part: Part) -> int | None:
        """The first with a page that is not what was written; None: it is the footer, or between."""
        number: int | None = None
        try:
            with self.storage.open(part.path) as opened:
                file = open_part(opened)
                for number in range(file.num_row_groups):
                    for _ in part_batches(file, None, [number]):
                        pass
        except (OSError, pa.ArrowException):
            return number
        return None

    def _content(self, part: Part, listed: Listed | None, found: list[Finding]) -> Columns | None:
        """The columns but for the vectors; None where they can't be compared with what they must be."""
        columns: Columns | None = None
        with self.storage.open(part.path) as opened:
            file = open_part(opened)
            footer = list(_footer(part, file, self.schema))
            found.extend(footer)
            if footer:
                return None
            if listed is not None:
                check = ColumnCheck(part, listed)
                found.extend(check.check(file))
                if check.is_known:
                    columns = check.columns
                    found.extend(check_segments(part.path, columns))
            normalised = self.schema.normalised
            found.extend(check_vectors(part.path, file, normalised=normalised, columns=columns))
        return columns


def _footer(part: Part, file: pq.ParquetFile, schema: DatasetSchema) -> Iterator[Finding]:
    found, wanted = file.schema_arrow, schema.columns
    if found.metadata != wanted.metadata:
        told, promised = (_texts(each) for each in (found.metadata, wanted.metadata))
        message = f"its footer says {told}, and the record {promised}"
        yield Finding(code="part_footer", file=part.path, message=message, hint=_RESTORE)
    if not found.equals(wanted, check_metadata=False):
        names = [name for name in wanted.names if name not in found.names]
        what = f"lacks {', '.join(names)}" if names else "has other columns, types or order"
        message = f"it {what}: {found.remove_metadata()}".replace("\n", ", ")
        yield Finding(code="part_schema", file=part.path, message=message, hint=_RESTORE)
    if file.metadata.num_rows != part.rows:
        message = f"it has {file.metadata.num_rows} rows, and the record says {part.rows}"
        yield Finding(code="part_rows", file=part.path, message=message, hint=_RESTORE)
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    for number, size in enumerate(sizes):
        is_last = number == len(sizes) - 1
        if size != ROW_GROUP_ROWS and not (is_last and 0 < size < ROW_GROUP_ROWS):
            yield Finding(
                code="part_row_groups",
                file=part.path,
                message=f"the row group has {size} rows where {ROW_GROUP_ROWS} are a full one",
                hint=_RESTORE,
                row_group=number,
            )


def _texts(metadata: object) -> dict[str, str]:
    pairs = cast("dict[bytes, bytes]", metadata or {}).items()
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in pairs}


def _unread(part: Part, error: Exception) -> Finding:
    return Finding(
        code="part_unreadable",
        file=part.path,
        message=f"its rows can't be read: {error}",
        hint=_RESTORE,
    )


def _capped(part: Part, findings: list[Finding]) -> tuple[Finding, ...]:
    """So many faults at most, and how many more there are: one mistake may be in every row."""
    faults = [each for each in findings if each.is_fault]
    notices = [each for each in findings if not each.is_fault]
    for kept in (faults, notices):
        if len(kept) > _TOLD:
            more, last = len(kept) - _TOLD, kept[_TOLD]
            del kept[_TOLD:]
            kept.append(
                Finding(
                    code=last.code,
                    file=part.path,
                    message=f"and {more} more of this part",
                    is_fault=last.is_fault,
                )
            )
    return (*faults, *notices)
