"""Which kind of file system a folder is on: locks and SQLite can't be trusted on one of a network."""

from __future__ import annotations

import os
import re
from pathlib import Path

from batchembed.errors import StorageError

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|afs|ceph|glusterfs|lustre|gpfs|beegfs|ncpfs|davfs"
    r"|fuse\.(sshfs|s3fs|gcsfuse|rclone|goofys|glusterfs|ceph.*|mount-s3|blobfuse2?|davfs.*)"
)
_OCTAL = re.compile(r"\\([0-7]{3})")


def kind_of(folder: Path, mounts: str) -> str | None:
    """The type of the file system of a folder, by the text of `mountinfo`; None: it does not say."""
    real = os.path.realpath(folder)
    kind, longest = None, -1
    for line in mounts.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4])
        inside = point in {"/", real} or real.startswith(f"{point}/")
        if inside and len(point) >= longest:  # of two on one point the later covers the other
            kind, longest = after.split(" ")[0], len(point)
    return kind


def require_local(folder: Path, *, mounts: Path = _MOUNTS) -> None:
    """Refuse a folder on a network: two machines would not see each other's locks there.

    Where the system does not tell, nothing is refused.

    Raises:
        StorageError: it is on one.
    """
    try:
        kind = kind_of(folder, mounts.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return
    if kind is not None and _NETWORK.fullmatch(kind):
        raise StorageError(
            f"the state folder {folder} is on a network file system ({kind}), where neither locks nor "
            "the ledger are safe: name a folder on a local disk with --state-dir"
        )
