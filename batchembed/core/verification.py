"""What `verify` finds in a dataset: each fault with the file that has it, and what was looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be.

    `file` is a key of the dataset, with `/`; what is not in the dataset has its path. A notice is
    odd, but contradicts nothing that the dataset says of itself.
    """

    code: str
    file: str
    message: str
    hint: str | None = None
    is_fault: bool = True
    row_group: int | None = None  #: of a part, from 0
    row: int | None = None  #: the first such row of a part, from 0
    video_id: str | None = None

    def __str__(self) -> str:
        where = [self.file]
        if self.row_group is not None:
            where.append(f"row group {self.row_group}")
        if self.row is not None:
            where.append(f"row {self.row}")
        if self.video_id is not None:
            where.append(f"video {self.video_id}")
        what = "fault" if self.is_fault else "notice"
        way_out = "" if self.hint is None else f"; {self.hint}"
        return f"{what}: {', '.join(where)}: {self.message}{way_out} [{self.code}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """How much was looked at."""

    records: int = 0
    videos: int = 0
    parts: int = 0
    rows: int = 0
    bytes: int = 0  #: of the parts
    sources: int = 0  #: files that were hashed again
    sources_known: int = 0  #: files whose sha256 the dataset has, where they were looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a dataset is, as far as it can be known, and everything that was found in it."""

    dataset_id: str | None
    model_name: str | None
    record: int | None  #: the number of the last one
    checked: Checked
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What must not be so."""
        return tuple(each for each in self.findings if each.is_fault)

    @property
    def notices(self) -> tuple[Finding, ...]:
        """What is odd all the same."""
        return tuple(each for each in self.findings if not each.is_fault)
