"""A video on its way in: whose file it is, what it is, and whether the model takes it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from batchembed.api.models import Upload
from batchembed.core.model import Facts, Parameters
from batchembed.core.problems import Reason
from batchembed.engine.refusal import unavailable
from batchembed.engine.requests import MODEL_NAME
from batchembed.engine.spool import Spool
from batchembed.engine.tasks.task import SourceFile
from batchembed.engine.workers.pool import PoolClosedError
from batchembed.engine.workers.prober import PROCESSES
from batchembed.media.identity import identity_of, sha256_file
from batchembed.media.limits import breaches
from batchembed.media.unreadable import UnreadableVideoError

#: The facts of the video at a path. It may block, and threads may share it.
Probe: TypeAlias = Callable[[str], Facts | Reason]


class Probes:
    """Probes for one event loop, few at once and in threads of their own.

    A hostile video takes long to probe; storage and everything else keep the loop's other threads.
    """

    def __init__(self, probe: Probe, *, at_once: int = PROCESSES) -> None:
        """Start no thread yet: each begins with its first video."""
        self._probe = probe
        self._closed = False
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="probe")

    async def facts(self, path: str) -> Facts | Reason:
        """The facts of the video at a path, once it is its turn.

        Raises:
            PoolClosedError: they were closed before, or meanwhile.
        """
        if self._closed:
            raise PoolClosedError("closed: no video is probed any more")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._facts, path)

    def close(self) -> None:
        """Begin no more. Waits for none: to interrupt what runs is the prober's owner's."""
        self._closed = True
        self._threads.shutdown(wait=False)

    def _facts(self, path: str) -> Facts | Reason:
        if self._closed:
            raise PoolClosedError("closed before the video was probed")
        return self._probe(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A file to embed. `owned` ones are the engine's to remove."""

    path: str
    filename: str
    found: os.stat_result
    sha256: str | None
    owned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A file that the model takes."""

    source: SourceFile
    facts: Facts


def arrive(upload: Upload, spool: Spool) -> Arrived:
    """The caller's own file, or a copy of what it has open. Blocks; may raise `OSError`."""
    if upload.path is not None:
        return Arrived(
            path=upload.path,
            filename=upload.filename,
            found=os.fstat(upload.file.fileno()),
            sha256=upload.sha256,
            owned=False,
        )
    return arrived(spool.copy(upload.file), upload.filename, sha256=upload.sha256)


def arrived(path: str, filename: str, *, sha256: str | None) -> Arrived:
    """A file of the spool. Blocks; may raise `OSError`."""
    return Arrived(
        path=path,
        filename=filename,
        found=os.stat(path),  # noqa: PTH116  as fstat
        sha256=sha256,
        owned=True,
    )


async def take(file: Arrived, parameters: Parameters, probes: Probes) -> Taken | Reason:
    """Probe a file and hold it to the limits. May raise `OSError`.

    Returns:
        What was taken, or why it is not.

    Raises:
        Refusal: 503, the engine ends meanwhile.
    """
    try:
        source = await asyncio.to_thread(_source, file)
    except UnreadableVideoError as error:
        return error.reason
    try:
        facts = await probes.facts(file.path)
    except PoolClosedError as error:
        raise unavailable("The server is ending: try again when it has started.") from error
    if isinstance(facts, Reason):
        return facts
    found = breaches(facts, parameters, None, MODEL_NAME)
    if found:
        return Reason(code=found[0].code, message="; ".join(reason.message for reason in found))
    return Taken(source=source, facts=facts)


def _source(file: Arrived) -> SourceFile:
    return SourceFile(
        identity=identity_of(file.path, file.found),
        sha256=file.sha256 or sha256_file(file.path),
        owned=file.owned,
    )
