"""Hashes the videos again that a dataset was made of, where they can be reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from batchembed.core.verification import Finding
from batchembed.dataset.files import sha256_of
from batchembed.dataset.record import RowSpec

_THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSources:
    """How many files were hashed, of how many that could be compared, and what was found."""

    hashed: int
    known: int
    findings: tuple[Finding, ...]


def check_sources(
    specs: Sequence[RowSpec], folder: Path, progress: Callable[[int, int], None]
) -> CheckedSources:
    """Compare each source's sha256 with the one in the dataset.

    Args:
        specs: the videos.
        folder: what relative sources are relative to: the manifest's.
        progress: is told how many files are done, and of how many.
    """
    known: dict[Path, list[RowSpec]] = {}
    for spec in specs:
        if spec.source_sha256 is not None:
            known.setdefault(folder / spec.source, []).append(spec)
    findings: list[Finding] = []
    hashed = 0
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="sources") as pool:
        for done, (path, sha256) in enumerate(zip(known, pool.map(_sha256, known), strict=True), 1):
            hashed += isinstance(sha256, str)
            findings.extend(
                _compared(path, sha256, spec)
                for spec in known[path]
                if spec.source_sha256 != sha256
            )
            progress(done, len(known))
    if known and not hashed:
        findings.append(
            Finding(
                code="sources_unreachable",
                file=str(folder),
                message=f"none of {len(known)} sources can be read: nothing was compared",
                hint="name with --sources the folder that their paths are relative to",
            )
        )
    unhashed = [spec for spec in specs if spec.source_sha256 is None]
    if unhashed:
        findings.append(
            Finding(
                code="source_unhashed",
                file=unhashed[0].source,
                message=f"it has no sha256 in the dataset, and so have {len(unhashed) - 1} others: "
                "URLs and objects of stores are not compared"
                if len(unhashed) > 1
                else "it has no sha256 in the dataset: URLs and objects of stores are not compared",
                is_fault=False,
            )
        )
    return CheckedSources(hashed=hashed, known=len(known), findings=tuple(findings))


def _sha256(path: Path) -> str | OSError:
    try:
        return sha256_of(path)
    except OSError as error:
        return error


def _compared(path: Path, found: str | OSError, spec: RowSpec) -> Finding:
    if isinstance(found, str):
        return Finding(
            code="source_changed",
            file=str(path),
            message="it is not the file whose vectors the dataset has",
            hint="run the manifest to embed it as it is now, or restore it",
            video_id=spec.video_id,
        )
    return Finding(
        code="source_unreadable",
        file=str(path),
        message=f"it can't be hashed again: {found.strerror or found}",
        is_fault=False,
        video_id=spec.video_id,
    )
