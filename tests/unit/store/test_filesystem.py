"""A state folder on a network file system is refused, by what the system says of its mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchembed.errors import StorageError
from batchembed.store.filesystem import kind_of, require_local

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/share rw shared:1 - nfs4 server:/export rw
31 30 0:41 / /mnt/share/local rw - tmpfs tmpfs rw
32 22 0:42 / /mnt/two\\040words rw - cifs //server/x rw
33 22 0:43 / /mnt/ssh rw - fuse.sshfs me@there: rw
34 22 0:44 / /mnt/twice rw - ext4 /dev/sdb1 rw
35 22 0:45 / /mnt/twice rw - nfs server:/export rw
a line that is none
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/down", "nfs4"),
        ("/mnt/shared", "ext4"),
        ("/mnt/share/local/x", "tmpfs"),
        ("/mnt/two words/x", "cifs"),
        ("/mnt/ssh/x", "fuse.sshfs"),
        ("/mnt/twice/x", "nfs"),
    ],
)
def test_a_folder_is_of_the_innermost_mount(folder: str, kind: str) -> None:
    assert kind_of(Path(folder), MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.rclone"])
def test_a_network_is_refused_with_the_way_out(kind: str, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - {kind} there rw\n", encoding="utf-8")

    with pytest.raises(StorageError, match="--state-dir"):
        require_local(tmp_path, mounts=mounts)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk"])
def test_a_local_disk_is_taken(kind: str, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - {kind} here rw\n", encoding="utf-8")

    require_local(tmp_path, mounts=mounts)


def test_a_system_that_does_not_tell_refuses_nothing(tmp_path: Path) -> None:
    require_local(tmp_path, mounts=tmp_path / "there is none")
