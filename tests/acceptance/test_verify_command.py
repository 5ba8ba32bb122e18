"""`batchembed verify` as a person, or a program, meets it."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from batchembed.cli.main import main
from batchembed.cli.verify import progress_on
from batchembed.dataset.storage import META
from batchembed.errors import InputMissingError
from tests.support.s3 import Bucket
from tests.support.tampering import (
    a_dataset,
    the_record,
    verified,
)
from tests.support.users import as_no_root, open_folder
from tests.unit.cli.test_documents import agree, examples


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return a_dataset(tmp_path)


def asked(capsys: pytest.CaptureFixture[str], *argv: str, code: int) -> Any:
    capsys.readouterr()
    assert main(["verify", *argv, "--format", "json"], env={}) == code
    return json.loads(capsys.readouterr().out)


def test_the_command_tells_each_fault_with_its_place_and_way_out(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = the_record(root).parts[0]
    (root / part.path).write_bytes(b"PAR1")
    assert main(["verify", str(root)], env={}) == 4
    out, err = capsys.readouterr()
    first, last = out.splitlines()
    assert first == (
        f"fault: {part.path}: it has 4 bytes instead of {part.bytes}; restore it from a backup; "
        "or move it away and run the manifest: a run writes it anew where its rows are staged "
        "still, or the service has them [part_damaged]"
    )
    assert last.startswith("verify: 1 fault: 3 records, 2 parts, 10 rows, ")
    assert err == ""


def test_the_json_has_the_keys_that_are_documented(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = the_record(root).parts[0]
    (root / part.path).write_bytes(b"PAR1")
    (root / META / "incoming" / "x.tmp").touch()
    told = asked(capsys, str(root), code=4)
    documented = examples()["verify"]
    assert agree(told, documented)
    for key in documented:
        less = {name: value for name, value in documented.items() if name != key}
        assert not agree(told, less)


def test_a_sound_dataset_is_told_in_one_line(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(root)], env={}) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("verify: sound: 3 records, 2 parts, 10 rows, ")
    assert line.endswith(f" s; {root}")


@pytest.mark.parametrize("what", ["nothing", "a folder", "a file"])
def test_what_is_no_dataset_is_exit_66(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    if what == "a folder":
        place.mkdir()
        (place / "a.parquet").touch()
    if what == "a file":
        place.touch()
    assert main(["verify", str(place)], env={}) == 66
    assert "name what a manifest has as output.path" in capsys.readouterr().err


def test_a_lost_dataset_file_is_damage(root: Path) -> None:
    (root / META / "dataset.json").unlink()
    (fault,) = verified(root).faults
    assert (fault.code, fault.file) == ("file_missing", f"{META}/dataset.json")
    shutil.rmtree(root / META)
    with pytest.raises(InputMissingError):
        verified(root)


def test_deep_hashes_the_sources_again(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "b.mp4").write_bytes(b"bytes")
    manifest = tmp_path / "m.yaml"
    manifest.touch()
    told = asked(capsys, str(root), "--deep", "--manifest", str(manifest), code=0)
    assert told["checked"]["sources"] == 1
    assert [(each["code"], each["video_id"]) for each in told["notices"]] == [
        ("source_unreadable", "c"),
        ("ledger_missing", None),
    ]

    (tmp_path / "videos" / "c.mp4").write_bytes(b"others")
    told = asked(capsys, str(root), "--deep", "--sources", str(tmp_path), code=4)
    assert told["checked"]["sources"] == 2
    (fault,) = told["faults"]
    assert (fault["code"], fault["file"]) == (
        "source_changed",
        str(tmp_path / "videos" / "c.mp4"),
    )


def test_deep_must_know_where_the_sources_are(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(root), "--deep"], env={}) == 2
    assert "give --manifest or --sources" in capsys.readouterr().err
    assert main(["verify", str(root), "--manifest", "none.yaml"], env={}) == 66


@pytest.mark.parametrize("argv", [("",), ("{root}", "--manifest", "{root}")])
def test_what_can_name_neither_dataset_nor_manifest_is_refused(
    root: Path, argv: tuple[str, ...]
) -> None:
    assert main(["verify", *(each.format(root=root) for each in argv)], env={}) == 2


def test_a_dataset_that_may_not_be_read_is_exit_74(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever may not read it is not told that the command line is wrong."""
    main(["verify", str(tmp_path)], env={})  # what is imported late is there
    with open_folder() as folder:
        (folder / "out").mkdir(mode=0)
        with as_no_root():
            assert main(["verify", str(folder / "out")], env={}) == 74
    assert "Permission denied" in capsys.readouterr().err


def test_deep_without_one_source_at_hand_is_a_fault(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["verify", str(root), "--deep", "--sources", str(tmp_path)]
    assert main(argv, env={}) == 4
    out = capsys.readouterr().out
    assert f"fault: {tmp_path}: none of 2 sources can be read: nothing was compared" in out
    assert ", 0 of 2 sources checked in " in out


@pytest.mark.slow
def test_a_dataset_on_a_store_is_verified_there(
    s3: Bucket, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(root.rglob("*")):
        if path.is_file():
            s3.put(f"out/{path.relative_to(root).as_posix()}", path.read_bytes())
    uri = s3.uri("out")

    def told(code: int) -> Any:
        capsys.readouterr()
        assert main(["verify", uri, "--format", "json"], env=os.environ) == code
        return json.loads(capsys.readouterr().out)

    assert told(0)["checked"]["rows"] == 10
    part = the_record(root).parts[0]
    content = bytearray((root / part.path).read_bytes())
    content[100] ^= 1
    s3.put(f"out/{part.path}", bytes(content))
    assert [fault["file"] for fault in told(4)["faults"]] == [part.path]
    s3.delete(f"out/{part.path}")
    assert [fault["code"] for fault in told(4)["faults"]] == ["part_missing"]
    assert main(["verify", s3.uri("none")], env=os.environ) == 66
    s3.put(f"out/{part.path}", bytes(content))
    s3.server.refuse(f"/{s3.name}/out/model", status=403, code="AccessDenied")
    assert "permission denied" in told(77)["error"]["message"]


@pytest.mark.slow
def test_a_young_part_on_a_store_may_be_the_work_of_a_run_unseen(
    s3: Bucket, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`gc` would leave it, too. To see that, nothing is written."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            s3.put(f"out/{path.relative_to(root).as_posix()}", path.read_bytes())
    part = the_record(root).parts[0].path
    name = part.rpartition("/")[0] + f"/part-{'0' * 16}.parquet"
    s3.put(f"out/{name}", b"PAR1")
    writes = ("PUT", "POST", "DELETE")
    s3.server.refuse(f"/{s3.name}", 403, "AccessDenied", methods=writes)
    assert main(["verify", s3.uri("out"), "--format", "json"], env=os.environ) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["code"], each["file"]) for each in told["notices"]] == [("part_orphaned", name)]
    assert told["notices"][0]["hint"].endswith("removes it once it is an hour old")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_at_a_terminal_alone(root: Path) -> None:
    for stream, shown in ((_Terminal(), True), (io.StringIO(), False)):
        with progress_on(stream) as step:
            step("parts")(1, 2)
        assert ("parts" in stream.getvalue()) is shown
