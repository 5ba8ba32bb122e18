"""The lock file as text: where it is, what it looks like, and that it is read as it was written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest

from batchembed import resources
from batchembed.core.outcome import Outcome
from batchembed.errors import ExitCode, InputMissingError, LockFileError
from batchembed.manifest.lock_file import (
    is_foreign,
    is_piped,
    lock_bytes,
    lock_path,
    owner,
    read_lock,
)
from tests.support.locks import a_lock, a_locked_video, a_part

LOCK = a_lock(
    a_locked_video("ä b", metadata={"n": 1, "x": 1.0, "yes": True, "t": "1"}),
    a_locked_video("c", outcome=Outcome.REJECTED, code="video_file_missing", facts=None, rows=0),
    parts=(a_part("1"), a_part("2")),
)


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        ("demo.yaml", "demo.lock.json"),
        ("demo.yml", "demo.yml.lock.json"),
        ("demo", "demo.lock.json"),
        ("a.b.yaml", "a.b.lock.json"),
    ],
)
def test_the_lock_file_is_beside_the_manifest(manifest: str, name: str) -> None:
    assert lock_path(f"/some/{manifest}") == Path(f"/some/{name}")


def test_where_two_manifests_would_share_a_lock_file_it_is_that_of_the_yaml_file(
    tmp_path: Path,
) -> None:
    plain, yaml, yml = (tmp_path / name for name in ("demo", "demo.yaml", "demo.yml"))
    assert owner(str(plain)) is None
    for path in (plain, yaml, yml):
        path.touch()
    assert lock_path(str(plain)) == lock_path(str(yaml))
    assert owner(str(plain)) == yaml
    assert (owner(str(yaml)), owner(str(yml))) == (None, None)


def test_what_comes_through_a_pipe_is_no_file_in_a_folder(tmp_path: Path) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "m.yaml"
    os.mkfifo(pipe)
    file.touch()
    assert is_piped(str(pipe))
    assert is_piped("/dev/stdin")
    assert is_piped("/dev/fd/63")
    assert not is_piped(str(file))


@pytest.mark.parametrize(
    ("content", "foreign"),
    [
        (lock_bytes(LOCK), False),
        (lock_bytes(LOCK)[:100], False),
        (lock_bytes(LOCK).replace(b"\n", b"\r\n"), False),
        (b"<<<<<<< HEAD\n" + lock_bytes(LOCK) + b"=======\n", False),
        (json.dumps(json.loads(lock_bytes(LOCK))).encode(), False),
        (b"", False),
        (b'{"name": "app", "lockfileVersion": 3}\n', True),
        (b"[" * 100_000, True),
        (b"\xff\xfe\0", True),
    ],
    ids=["whole", "cut", "CRLF", "conflict", "laid out anew", "empty", "JSON", "deep", "bytes"],
)
def test_a_damaged_lock_file_still_is_one(tmp_path: Path, content: bytes, foreign: bool) -> None:
    path = tmp_path / "m.lock.json"
    assert not is_foreign(path)
    path.write_bytes(content)
    assert is_foreign(path) == foreign


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "m.lock.json"
    path.write_bytes(lock_bytes(LOCK))

    read = read_lock(path)

    assert read == LOCK
    assert lock_bytes(read) == lock_bytes(LOCK), "1 and 1.0 are equal, and not the same"


def test_the_text_is_one_for_git() -> None:
    text = lock_bytes(LOCK).decode()
    lines = text.splitlines()

    assert text.endswith("\n")
    assert "ä b" in text
    assert [line.strip().partition(":")[0] for line in lines if line.startswith('  "')] == [
        '"dimension"',
        '"engine"',
        '"format"',
        '"manifest"',
        '"model_name"',
        '"partition_by"',
        '"parts"',
        '"videos"',
    ]
    assert sum(line.startswith("    {") for line in lines) == 4


@pytest.mark.parametrize("lock", [LOCK, a_lock()], ids=["full", "empty"])
def test_the_text_is_of_the_published_schema(lock: object) -> None:
    assert isinstance(lock, type(LOCK))
    told = json.loads(lock_bytes(lock))
    schema = resources.schema("lock")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(told)


def test_every_cut_of_a_lock_file_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "m.lock.json"
    whole = lock_bytes(LOCK)
    for length in range(0, len(whole) - 2, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(LockFileError, match="is damaged"):
            read_lock(path)


def test_a_newer_format_asks_for_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "m.lock.json"
    path.write_text('{"format": 2, "something": "else"}', encoding="utf-8")
    with pytest.raises(LockFileError, match="upgrade batchembed") as raised:
        read_lock(path)
    assert raised.value.exit_code is ExitCode.MANIFEST


def test_what_can_not_be_opened_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="a run without --locked writes it"):
        read_lock(tmp_path / "m.lock.json")
    with pytest.raises(InputMissingError, match="Is a directory"):
        read_lock(tmp_path)
