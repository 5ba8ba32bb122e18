"""The lock file as text: where it is, what it looks like, and that it is read as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from batchembed import resources
from batchembed.core.outcome import Outcome
from batchembed.errors import ExitCode, InputMissingError, LockFileError
from batchembed.manifest.lock_file import lock_bytes, lock_path, read_lock
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
