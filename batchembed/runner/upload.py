"""The file of a create: opened as the one that was read, named for a listing, and looked at again."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import PurePosixPath

from batchembed.api.models import Upload
from batchembed.core.keys import upload_name
from batchembed.core.model import FileIdentity, FileSource, Job
from batchembed.errors import VideoChangedError
from batchembed.media.identity import identify, identity_of, open_regular, sha256_file
from batchembed.media.unreadable import UnreadableVideoError


def opened(path: str, identity: FileIdentity | None) -> FileIO:
    """The file, if it is the one that was read. It blocks.

    Raises:
        UnreadableVideoError: it can't be opened, or is no file.
        VideoChangedError: it is another, or has changed.
    """
    file = open_regular(path)
    if identity is not None and identity_of(path, os.fstat(file.fileno())) != identity:
        file.close()
        raise VideoChangedError(PurePosixPath(path).name, None)
    return file


def upload_of(job: Job, path: str, file: FileIO, *, dataset_id: str, attempt: int) -> Upload:
    """A job's open file, under the name by which a listing tells its task."""
    suffix = PurePosixPath(path).suffix.lower()
    told = suffix if suffix.isascii() and suffix[1:].isalnum() else ""
    return Upload(
        file=file,
        filename=upload_name(dataset_id, job.job_key, attempt, told),
        path=path,
        sha256=job.content.source_sha256,
    )


def is_changed(job: Job, identity: FileIdentity) -> bool:
    """Whether a file is not as it was read, nor has the bytes that its job is named by. It blocks."""
    return identify(identity.path) != identity and not has_bytes(job)


def has_bytes(job: Job) -> bool:
    """Whether a job's file has the bytes that the job is named by. It blocks."""
    if not isinstance(job.source, FileSource):
        return True
    try:
        return sha256_file(job.source.path) == job.content.digest
    except UnreadableVideoError:
        return False
