"""The file of a create: named for a listing, and looked at again."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import BinaryIO

from batchembed.api.models import Upload
from batchembed.core.keys import upload_name
from batchembed.core.model import FileIdentity, FileSource, Identity, Job, ReadSource, address
from batchembed.media.identity import identify, sha256_file
from batchembed.media.unreadable import UnreadableVideoError


def upload_of(
    job: Job, source: ReadSource, file: BinaryIO, *, dataset_id: str, attempt: int
) -> Upload:
    """A job's open file or object, under the name by which a listing tells its task."""
    suffix = PurePosixPath(address(source)).suffix.lower()
    told = suffix if suffix.isascii() and suffix[1:].isalnum() else ""
    return Upload(
        file=file,
        filename=upload_name(dataset_id, job.job_key, attempt, told),
        path=source.path if isinstance(source, FileSource) else None,
        sha256=job.content.source_sha256,
    )


def is_changed(job: Job, identity: Identity) -> bool:
    """Whether a file is not as it was read, nor has the bytes that its job is named by. It blocks.

    Of an object nothing is asked: it was never sent to its end if it had changed.
    """
    if not isinstance(identity, FileIdentity):
        return False
    return identify(identity.path) != identity and not has_bytes(job)


def has_bytes(job: Job) -> bool:
    """Whether a job's file has the bytes that the job is named by. It blocks."""
    if not isinstance(job.source, FileSource):
        return True
    try:
        return sha256_file(job.source.path) == job.content.digest
    except UnreadableVideoError:
        return False
