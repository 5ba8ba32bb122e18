"""The lock file of a manifest, as `run` reads it with --locked and leaves it without."""

from __future__ import annotations

import asyncio
import errno
import glob
import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from batchembed.cli.files import write_whole
from batchembed.cli.options import Read
from batchembed.cli.state import remembered
from batchembed.cli.versions import engine_facts
from batchembed.core.build_lock import (
    BuildLock,
    LockedEngine,
    ended_video,
    leading_parts,
)
from batchembed.core.lock_differences import version_differences
from batchembed.core.model import EngineKind, public_url
from batchembed.core.outcome import VideoOutcome
from batchembed.core.run_report import RunReport
from batchembed.dataset.record import Record
from batchembed.dataset.schema import dataset_schema
from batchembed.errors import (
    ExitCode,
    InputMissingError,
    LockFileError,
    StorageError,
    UsageError,
)
from batchembed.manifest.lock_file import (
    is_foreign,
    is_newer,
    is_piped,
    lock_bytes,
    lock_path,
    owner,
    read_lock,
)
from batchembed.media.unreadable import MISSING, UNREADABLE
from batchembed.runner.locked import LockedBuild, build_lock, locked_parts, read_inputs

#: Of a folder that is not this user's to write: a manifest that came in a package, say.
_NOT_OURS = {errno.EACCES, errno.EPERM, errno.EROFS}
#: Videos that a warning names.
_NAMED = 5


def locked_build(asked: Read, state_dir: str | None) -> tuple[LockedBuild, tuple[str, ...]]:
    """What a locked run must come to, its inputs seen to be those of the lock; and what to warn of.

    Nothing is made or changed: this comes before the dataset is opened.

    Raises:
        UsageError: it is a rehearsal, or a manifest that has no lock file of its own.
        InputMissingError: there is no lock file.
        LockFileError: it is damaged, or of a newer version.
        BuildDiffersError: the inputs are others.
        StorageError: the ledger, which knows files that were read before, can't be read.
    """
    if is_rehearsal(asked):
        raise UsageError(
            "--locked and --engine local: a rehearsal has no lock file; lock a manifest that says "
            "`engine: local`"
        )
    manifest = asked.manifest
    nameless = _nameless(manifest.file)
    if nameless is not None:
        raise UsageError(f"--locked: {nameless}")
    path = lock_path(manifest.file)
    lock, engine = read_lock(path), this_engine(asked)
    videos, read = asyncio.run(
        read_inputs(manifest, asked.profile, remembered(manifest, state_dir).known)
    )
    locked = LockedBuild(file=str(path), lock=lock, engine=engine, read=read)
    locked.require_inputs(
        build_lock(manifest, engine=engine, dimension=asked.profile.dimension, videos=videos)
    )
    return locked, tuple(
        f"{other}: the parts may differ, and are compared before anything is published"
        for other in version_differences(lock.engine, engine)
    )


def leave_lock(
    asked: Read,
    report: RunReport,
    record: Record | None,
    *,
    write: Callable[[Path, bytes], None] = write_whole,
) -> RunReport:
    """Write the lock file of a build whose every video has ended; the report, with what was in the way.

    The data is committed whatever becomes of the file. Where it would not be of this build, or not
    this user's to write, what is there stays, with a warning; a disk that fails is an error of the
    run.
    """
    if record is None or report.exit_code not in {ExitCode.OK, ExitCode.INCOMPLETE}:
        return report
    if is_rehearsal(asked):
        return report
    path = lock_path(asked.manifest.file)
    lock = lock_of(asked, report, record)
    try:
        why = _why_none(asked, report, record, path)
        if why is not None:
            return replace(report, warnings=(*report.warnings, f"no lock file is written: {why}"))
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            left.unlink(missing_ok=True)  # of a run that was killed
        if not _says(path, lock):
            write(path, lock_bytes(lock))
    except (OSError, StorageError) as error:
        return _unwritten(report, path, error)
    return report


def _why_none(asked: Read, report: RunReport, record: Record, path: Path) -> str | None:
    """Why a build has no lock file, or keeps the one it had."""
    kept = _kept_columns(asked, record)
    if kept:
        return (
            f"rows of videos that the manifest no longer names have the columns {', '.join(kept)}, "
            "which a build from nothing would not have; `on_removed: drop` lets them go"
        )
    unread = [video.video.video_id for video in report.videos if _is_unread(video)]
    if unread:
        more = ", ..." if len(unread) > _NAMED else ""
        stays = f"; {path} is as it was" if os.path.lexists(path) else ""
        return (
            f"{len(unread)} of {len(report.videos)} videos can't be read "
            f"({', '.join(unread[:_NAMED])}{more}){stays}: mount their disk, or take them out of "
            "the manifest, and run again"
        )
    nameless = _nameless(asked.manifest.file)
    if nameless is not None:
        return nameless
    if is_foreign(path):
        return f"{path} is something else: move it away, or rename the manifest, and run again"
    if is_newer(path):
        return (
            f"{path} is of a newer version of batchembed: upgrade, or move it away, and run again"
        )
    return None


def _is_unread(video: VideoOutcome) -> bool:
    """Whether a video was out of reach: that says nothing about what it is."""
    return any(reason.code in {MISSING, UNREADABLE} for reason in video.reasons)


def _nameless(manifest: str) -> str | None:
    """Why a manifest has no lock file of its own, whatever its build."""
    if is_piped(manifest):
        return f"{manifest} is no file in a folder: save the manifest as one"
    other = owner(manifest)
    if other is None:
        return None
    return f"{lock_path(manifest)} is the lock file of {other}: rename one of the two manifests"


def lock_of(asked: Read, report: RunReport, record: Record) -> BuildLock:
    """The lock of what a run made."""
    videos = tuple(map(ended_video, report.videos))
    lock = build_lock(
        asked.manifest, engine=this_engine(asked), dimension=record.dimension, videos=videos
    )
    return replace(lock, parts=leading_parts(locked_parts(record.parts), lock.rows))


def this_engine(asked: Read) -> LockedEngine:
    """Who computes here, and in which versions. Of a hosted service none is known."""
    spec = asked.manifest.engine
    facts = dict(engine_facts()) if spec.kind is EngineKind.LOCAL else {}
    processor = facts.pop("cpu", None)
    writers = {name: importlib.metadata.version(name) for name in ("batchembed", "pyarrow")}
    return LockedEngine(
        kind=spec.kind,
        base_url=None if spec.base_url is None else public_url(spec.base_url),
        processor=processor,
        versions={**facts, **writers},
    )


def is_rehearsal(asked: Read) -> bool:
    """Whether another engine was asked for than the manifest's own."""
    written = asked.document.at(("engine",))
    kind = written.get("kind") if isinstance(written, dict) else written
    return kind != asked.manifest.engine.kind


def _kept_columns(asked: Read, record: Record) -> tuple[str, ...]:
    """Columns that the dataset has only because of rows that are kept."""
    own = dataset_schema(
        [video.metadata for video in asked.manifest.videos],
        asked.manifest.output.partition_by,
        record.dimension,
        normalised=asked.profile.unit_length,
    )
    return tuple(name for name, kind in record.schema.metadata if (name, kind) not in own.metadata)


def _says(path: Path, lock: BuildLock) -> bool:
    """Whether the file says so already; under which versions the same parts were made is left as it is."""
    try:
        before = read_lock(path)
        engine = replace(before.engine, kind=lock.engine.kind, base_url=lock.engine.base_url)
        return path.read_bytes() == lock_bytes(replace(lock, engine=engine))
    except (InputMissingError, LockFileError, OSError):
        return False


def _unwritten(report: RunReport, path: Path, error: OSError | StorageError) -> RunReport:
    cause = error if isinstance(error, OSError) else error.__cause__
    told = cause.strerror if isinstance(cause, OSError) else error
    words = f"the lock file {path} can't be written: {told}; the dataset is committed all the same"
    if isinstance(cause, OSError) and cause.errno in _NOT_OURS:
        words += ": copy the manifest to a folder of your own to have one"
        return replace(report, warnings=(*report.warnings, words))
    return replace(
        report, halted=f"{words}, run again once it can", exit_code=StorageError.exit_code
    )
