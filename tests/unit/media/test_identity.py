"""Opening a source, its identity, and its hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from batchembed.core.model import FileIdentity
from batchembed.core.problems import Reason
from batchembed.media.identity import identify, open_regular, sha256_file
from batchembed.media.unreadable import UnreadableVideoError


def refusal(path: Path | str) -> Reason:
    reason = identify(str(path))
    assert isinstance(reason, Reason)
    assert reason.hint
    return reason


def test_the_identity_is_what_the_system_says_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"bytes")
    found = path.stat()
    assert identify(str(path)) == FileIdentity(
        path=str(path),
        dev=found.st_dev,
        inode=found.st_ino,
        size_bytes=5,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
    )


def test_other_bytes_under_the_old_time_are_another_identity(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"one")
    before, time_ns = identify(str(path)), path.stat().st_mtime_ns
    other = tmp_path / "b.mp4"
    other.write_bytes(b"two")
    os.utime(other, ns=(time_ns, time_ns))
    other.replace(path)
    assert identify(str(path)) != before


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x" * 1_000_000)
    assert sha256_file(str(path)) == hashlib.sha256(b"x" * 1_000_000).hexdigest()


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    assert sha256_file(str(tmp_path / "link.mp4")) == sha256_file(str(tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    "name", ["no.mp4", "a.mp4/no.mp4", "n" * 300, "nul\0.mp4", "\ud800.mp4", "dangling"]
)
def test_a_path_to_nothing_is_a_missing_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert refusal(f"{tmp_path}/{name}").code == "video_file_missing"


def test_a_missing_file_is_named_without_the_folders_of_this_machine(tmp_path: Path) -> None:
    message = refusal(tmp_path / "no.mp4").message
    assert "no.mp4" in message
    assert str(tmp_path) not in message


def test_an_empty_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    reason = refusal(tmp_path / "empty.mp4")
    assert reason.code == "video_file_broken"
    assert "empty.mp4 is empty" in reason.message


def test_a_folder_is_no_video_and_the_hint_writes_the_glob_as_the_path_was(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    reason = identify(str(tmp_path / "archive"), shown="../archive/")
    assert isinstance(reason, Reason)
    assert reason.code == "video_file_unreadable"
    assert reason.hint == "name a file, or write `glob: ../archive/**/*.mp4`"
    assert refusal(tmp_path / "archive").hint == "name a file in it"


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "pipe or a device" in refusal(tmp_path / "pipe").message


def test_a_device_is_refused() -> None:
    assert "pipe or a device" in refusal("/dev/null").message


def test_a_loop_of_links_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "loop of symbolic links" in refusal(tmp_path / "a").message


def test_the_hash_of_what_is_no_file_is_refused_like_its_identity(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideoError) as caught:
        sha256_file(str(tmp_path / "no.mp4"))
    assert caught.value.reason == refusal(tmp_path / "no.mp4")


def test_no_descriptor_is_left_open_by_a_refusal(tmp_path: Path) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    refusal(tmp_path)
    refusal("/dev/null")
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_an_open_file_is_read_from_its_start(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"bytes")
    with open_regular(str(tmp_path / "a.mp4")) as file:
        assert file.read() == b"bytes"
