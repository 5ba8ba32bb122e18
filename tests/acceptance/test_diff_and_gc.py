"""`batchembed diff` and `batchembed gc` as a person types them."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batchembed.cli import diff
from batchembed.cli.main import main
from batchembed.store.lock import run_lock
from tests.support.films import CLIP, Film, make_dataset
from tests.support.s3 import Bucket
from tests.unit.cli.test_documents import agree, examples

ROWS = {(0.0, 2.0): [1.0, 0.0, 0.0], (2.0, 4.0): [0.0, 1.0, 0.0]}
SHORT = {(0.0, 2.0): [1.0, 0.0, 0.0], (2.0, 3.5): [0.0, 1.0, 0.0]}
TURNED = {(0.0, 2.0): [0.0, 1.0, 0.0], (2.0, 4.0): [0.0, 1.0, 0.0]}
NUDGED = {(0.0, 2.0): [1.0, 0.01, 0.0], (2.0, 4.0): [0.0, 1.0, 0.0]}


def film(name: str, **other: object) -> Film:
    plain = Film(video_id=name, rows={CLIP: ROWS}, content=name, metadata={"place": "bridge"})
    return replace(plain, **other)  # type: ignore[arg-type]  # fields of it


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two datasets that differ in every way, but for their model."""
    names = ("same.mp4", "gone.mp4", "old.mp4", "edited.mp4", "nudged.mp4", "turned.mp4")
    make_dataset(tmp_path / "a", list(map(film, names)), engine={"pyav": "18", "cpu": "x"})
    later = [
        film("same.mp4"),
        film("new.mp4", content="old.mp4"),
        film("edited.mp4", metadata={"place": "quay\x1b[2J"}, rows={CLIP: SHORT}),
        film("nudged.mp4", rows={CLIP: NUDGED}),
        film("turned.mp4", rows={CLIP: TURNED}),
        film("added.mp4"),
    ]
    make_dataset(tmp_path / "b", later, engine={"pyav": "19", "cpu": "x"})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def forbid(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody look into a folder, also where the tests are run by a user who may do all."""
    scandir, access, read, stat = os.scandir, os.access, Path.read_bytes, Path.stat

    def is_below(path: object) -> bool:
        return isinstance(path, str | Path) and root in (Path(path).absolute() / "any").parents

    def allow(path: object) -> None:
        if is_below(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def look(path: Any) -> Any:
        allow(path)
        return scandir(path)

    def read_bytes(path: Path) -> bytes:
        allow(path)
        return read(path)

    def stat_of(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        allow(path.parent)
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "scandir", look)
    monkeypatch.setattr(os, "access", lambda path, mode: not is_below(path) and access(path, mode))
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    monkeypatch.setattr(Path, "stat", stat_of)


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(words(capsys))


def test_diff_tells_every_difference_the_greatest_drift_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = f"""\
A         record 1 of {folder}/a: 6 videos, 12 rows of local-v1, 3 numbers each
B         record 1 of {folder}/b: 6 videos, 12 rows of local-v1, 3 numbers each
removed   gone.mp4  2 rows
added     added.mp4  2 rows
renamed   old.mp4 -> new.mp4
changed   edited.mp4
            metadata.place: bridge -> quay\\x1b[2J
            segments of visual-text, clip: 1 in both, 1 only in A, 1 only in B
drifted     max     mean  vectors  identical  video
              1      0.5        2          1  turned.mp4
          5e-05  2.5e-05        2          1  nudged.mp4
note: not computed with the same pyav: 18 -> 19
vectors: 9 compared, 7 identical; cosine distance: mean 0.111, p50 0, p90 1, p99 1, max 1
diff: 1 removed, 1 added, 1 renamed, 1 changed, 2 drifted; 1 video the same
"""

    assert main(["diff", "a", "b"]) == 4
    assert words(capsys) == expected


def test_diff_lists_as_many_as_are_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_dataset(folder / "c", [film("other.mp4")])

    assert main(["diff", "a", "c", "--limit", "2"]) == 4
    lines = words(capsys).splitlines()
    assert [line for line in lines if line.startswith("removed")] == [
        "removed   same.mp4  2 rows",
        "removed   gone.mp4  2 rows",
    ]
    assert "          and 4 more: --limit 0 lists all" in lines
    assert "vectors: none are in both" in lines
    assert main(["diff", "a", "c", "--limit", "0"]) == 4
    assert words(capsys).count("removed   ") == 6


def test_diff_as_json_has_all_of_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "a", "b", "--format", "json", "--limit", "1"]) == 4
    told = said(capsys)

    assert told["differ"]
    assert told["counts"] == {
        "removed": 1,
        "added": 1,
        "renamed": 1,
        "changed": 1,
        "drifted": 2,
        "same": 1,
    }
    assert told["removed"] == [{"video_id": "gone.mp4", "source": "film.mp4", "rows": 2}]
    assert told["vectors"] == {"compared": 9, "identical": 7}
    assert told["distance"]["quantiles"].keys() == {"0.5", "0.9", "0.99"}
    videos = {video["b"]: video for video in told["videos"]}
    assert videos.keys() == {"new.mp4", "edited.mp4", "nudged.mp4", "turned.mp4"}
    assert videos["turned.mp4"] == {
        "a": "turned.mp4",
        "b": "turned.mp4",
        "renamed": False,
        "changed": False,
        "drifted": True,
        "changes": [],
        "rows": [
            {
                "embedding_option": "visual-text",
                "embedding_scope": "clip",
                "segments": {"both": 2, "only_a": 0, "only_b": 0},
                "vectors": {"compared": 2, "identical": 1},
                "distance": {"min": 0.0, "mean": 0.5, "max": 1.0},
            }
        ],
    }


def test_diff_of_the_same_and_of_what_is_tolerated_exits_with_0(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", "a", "a"]) == 0
    assert words(capsys).splitlines()[2:] == [
        "vectors: 12 compared, 12 identical",
        "diff: no video differs; 6 videos the same",
    ]
    make_dataset(folder / "c", [film("x.mp4")])
    make_dataset(folder / "d", [film("x.mp4", rows={CLIP: NUDGED})])
    assert main(["diff", "c", "d"]) == 4
    assert main(["diff", "c", "d", "--tolerance", "1e-3"]) == 0
    assert "diff: no video differs; 1 video the same" in words(capsys)


def test_diff_of_two_models_says_why_no_vector_is_compared(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_dataset(folder / "c", [film("same.mp4")], model_name="marengo3.0")

    assert main(["diff", "a", "c"]) == 4
    lines = words(capsys).splitlines()
    assert "dataset   model_name: local-v1 -> marengo3.0" in lines
    assert lines[-2:] == [
        "vectors: not compared, they are of two models, local-v1 and marengo3.0",
        "diff: 5 removed; 1 video the same but for their vectors",
    ]
    assert main(["diff", "a", "c", "--format", "json"]) == 4
    told = said(capsys)
    assert (told["incomparable"], told["distance"]) == (
        "they are of two models, local-v1 and marengo3.0",
        None,
    )


def mount_read_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a folder be on a file system that nobody may write to."""
    access, statvfs = os.access, os.statvfs

    def may(path: str | Path, mode: int) -> bool:
        return access(path, mode) and not (
            mode & os.W_OK and root in (Path(path), *Path(path).parents)
        )

    monkeypatch.setattr(os, "access", may)
    monkeypatch.setattr(
        os, "statvfs", lambda path: SimpleNamespace(f_flag=statvfs(path).f_flag | os.ST_RDONLY)
    )


def test_gc_of_what_can_not_be_written_says_so_and_that_it_can_be_listed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mount_read_only(folder / "a", monkeypatch)

    assert main(["gc", "a"]) == 74

    told = f"nothing can be removed from {folder / 'a'}: Read-only file system; `gc --dry-run`"
    assert told in capsys.readouterr().err
    assert main(["gc", "a", "--dry-run"]) == 0


def test_a_run_into_what_is_mounted_read_only_does_not_blame_permissions(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "v.mp4").touch()
    (folder / "m.yaml").write_text(
        "version: 1\nengine: local\nvideos: [{video_file: v.mp4}]\noutput: {path: a}\n",
        encoding="utf-8",
    )
    mount_read_only(folder / "a", monkeypatch)

    assert main(["run", "m.yaml"]) == 73

    told = f"{folder / 'a'} can't be written: Read-only file system; mount its file system for"
    assert told in capsys.readouterr().err


def test_diff_and_gc_refuse_what_is_no_dataset(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "notes").touch()
    for verb in (["diff", "a"], ["gc"], ["verify"]):
        assert main([*verb, "mine"]) == 66
        assert "mine is no dataset of batchembed: it has no _batchembed/" in capsys.readouterr().err
        assert main([*verb, "nothing"]) == 66
        assert f"there is no dataset at {folder / 'nothing'}: name" in capsys.readouterr().err
    assert main(["diff", "a", "b", "--tolerance", "nan"]) == 2
    assert main(["diff", "a"]) == 2


def test_gc_lists_and_then_removes_what_no_record_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = folder / "a" / "model_name=local-v1" / "part-0123456789abcdef.parquet"
    left.write_bytes(b"x" * 1_234)
    named = f"record 1 of {folder}/a names everything else"

    assert main(["gc", "a", "--dry-run"]) == 0
    assert words(capsys).splitlines() == [
        "          1,234  model_name=local-v1/part-0123456789abcdef.parquet",
        f"gc: would remove 1 file, 1,234 bytes; {named}",
    ]
    assert left.exists()
    assert main(["gc", "a", "--format", "json"]) == 0
    assert said(capsys) == {
        "version": 1,
        "dataset": {"path": f"{folder}/a", "record": 1},
        "dry_run": False,
        "bytes": 1_234,
        "files": [{"path": "model_name=local-v1/part-0123456789abcdef.parquet", "bytes": 1_234}],
        "young": [],
        "run_at_work": False,
    }
    assert not left.exists()
    assert main(["gc", "a"]) == 0
    assert words(capsys) == f"gc: nothing to remove; {named}\n"
    assert main(["diff", "a", "a"]) == 0


def test_gc_never_works_beside_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_lock(folder / "a" / "_batchembed" / "lock"):
        assert main(["gc", "a"]) == 75
        assert "another run holds this output" in capsys.readouterr().err
        assert main(["gc", "a", "--dry-run"]) == 0
        assert words(capsys).startswith("note: a run is at work")
        assert main(["gc", "a", "--dry-run", "--format", "json"]) == 0
        assert said(capsys)["run_at_work"]


@pytest.mark.parametrize("arguments", [["gc", ""], ["diff", "", "a"], ["diff", "a", ""]])
def test_an_empty_name_is_not_the_folder_one_is_in(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "a")

    assert main(arguments) == 2


@pytest.mark.parametrize("arguments", [["gc", "a"], ["gc", "a", "--dry-run"], ["diff", "a", "b"]])
@pytest.mark.parametrize("below", ["", "_batchembed", "_batchembed/commits"])
def test_what_may_not_be_read_is_told_as_that(
    arguments: list[str],
    below: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    forbid(folder / "a" / below, monkeypatch)

    assert main(arguments) == 74
    told = capsys.readouterr().err
    assert "Permission denied" in told
    assert "permissions" in told
    assert "restore" not in told


def test_a_dataset_on_a_store_is_compared_with_one_in_a_folder(
    folder: Path, s3: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    there = s3.put_folder(folder / "b", "b")

    assert main(["diff", "b", there]) == 0
    words(capsys)
    assert main(["diff", "a", there, "--format", "json"]) == 4
    told = said(capsys)
    assert main(["diff", "a", "b", "--format", "json"]) == 4
    local = said(capsys)
    assert told["b"].pop("path") == there
    local["b"].pop("path")
    assert told == local
    assert main(["diff", "a", s3.uri("nothing")]) == 66
    assert main(["gc", s3.uri("nothing")]) == 66
    assert capsys.readouterr().err.count(f"there is no dataset at {s3.uri('nothing')}") == 2


@pytest.mark.parametrize("arguments", [["gc"], ["gc", "--dry-run"], ["diff", "a"]])
def test_a_bucket_that_is_not_there_is_named(
    arguments: list[str], folder: Path, s3: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "s3://no-such-bucket/a"]) == 66
    assert "there is no bucket no-such-bucket" in capsys.readouterr().err


def test_gc_on_a_store_leaves_what_may_be_another_writers(
    folder: Path, s3: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    (old,) = (folder / "a").rglob("*.parquet")
    key, content = old.relative_to(folder / "a").as_posix(), old.read_bytes()
    make_dataset(folder / "a", [film("other.mp4")])
    there = s3.put_folder(folder / "a", "a")
    s3.put(f"a/{key}", content)
    young = s3.put("a/part-0123456789abcdef.parquet", b"of a publish at this moment")

    for options in (["--dry-run"], []):
        assert main(["gc", there, "--format", "json", *options]) == 0
        told = said(capsys)
        assert told["files"] == [{"path": key, "bytes": len(content)}]
        assert told["young"] == [{"path": "part-0123456789abcdef.parquet", "bytes": 27}]
    for options in (["--dry-run"], []):
        assert main(["gc", there, *options]) == 0
        assert words(capsys) == (
            "gc: nothing to remove yet; 1 file, 27 bytes, that no record names may not go yet: "
            "younger than an hour, a run may be about to publish it; run gc again in an hour; "
            f"record 2 of {there} names everything else\n"
        )
    assert s3.get(young.removeprefix(s3.uri())) == b"of a publish at this moment"
    assert main(["diff", "a", there]) == 0


def test_gc_that_only_looks_writes_nothing_on_a_store(
    folder: Path, s3: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    there = s3.put_folder(folder / "a", "a")
    s3.server.refuse(f"/{s3.name}/a", 403, "AccessDenied", methods=("PUT", "POST", "DELETE"))
    before = s3.keys()

    assert main(["gc", there, "--dry-run"]) == 0
    assert words(capsys) == f"gc: nothing to remove; record 1 of {there} names everything else\n"
    assert s3.keys() == before
    assert main(["gc", there]) == 77


@pytest.mark.parametrize("verb", ["diff", "gc"])
def test_the_keys_are_those_that_are_documented(
    verb: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a" / "part-0123456789abcdef.parquet").touch()
    make_dataset(folder / "c", [film("edited.mp4", rows={CLIP: TURNED})], partition_by=())

    main([verb, "a", *(["c"] if verb == "diff" else []), "--format", "json"])

    told = said(capsys)
    documented = examples()[verb]
    assert agree(told, documented)
    for key in documented:
        assert not agree(told, {name: documented[name] for name in documented if name != key})


def test_the_page_about_another_model_calls_the_command_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "another-model.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ batchembed diff ([^#\n]+)", page, re.MULTILINE)

    assert len(lines) == 3
    for arguments in lines:
        asked = diff.command.make_context("diff", shlex.split(arguments))
        assert asked.params["a"] == "outputs/archive"
