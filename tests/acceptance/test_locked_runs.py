"""`run` and its lock file, through `main(argv)`: real videos, a service on loopback that embeds at once."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from batchembed import resources
from batchembed.cli.build_lock import leave_lock
from batchembed.cli.main import main
from batchembed.cli.options import read
from batchembed.dataset.places import storage_at
from batchembed.dataset.publish import Dataset
from batchembed.engine.video.embed import Embedded, EmbedPlan
from batchembed.engine.workers.pool import Expected
from batchembed.errors import ExitCode, StorageError
from tests.support.engines import InstantPool, served_from_a_thread
from tests.support.media import make_video
from tests.support.s3 import Bucket
from tests.unit.report.reports import REPORT

TWO = ("- {video_file: v/a.mp4, id: a, metadata: {n: 1}}", "- {video_file: v/b.mp4, id: b}")


class ChangingPool(InstantPool):
    """As the service it stands for, it may one day give other vectors, or fail a video."""

    def __init__(self) -> None:
        super().__init__()
        self.turned = False
        self.tears = ""  #: a file that ends with this is given up

    def submit(
        self, path: str, plan: EmbedPlan, *, deadline_s: float, expect: Expected | None = None
    ) -> Future[Embedded]:
        if self._is_torn(path):
            return InstantPool(fails=True).submit(path, plan, deadline_s=deadline_s)
        future = super().submit(path, plan, deadline_s=deadline_s, expect=expect)
        if not self.turned:
            return future
        embedded, turned = future.result(), Future[Embedded]()
        turned.set_result(replace(embedded, vectors=np.ascontiguousarray(-embedded.vectors)))
        return turned

    def _is_torn(self, path: str) -> bool:
        return bool(self.tears) and Path(path).stat().st_size == Path(self.tears).stat().st_size


@dataclass(kw_only=True)
class World:
    """A manifest in a folder, the service that it names, and runs of the command."""

    folder: Path
    base_url: str
    pool: ChangingPool

    @property
    def manifest(self) -> Path:
        return self.folder / "m.yaml"

    @property
    def lock(self) -> Path:
        return self.folder / "m.lock.json"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def write(
        self, *videos: str, more: str = "", engine: str | None = None, output: str = "path: out"
    ) -> None:
        service = f"{{kind: twelvelabs, base_url: '{self.base_url}'}}"
        self.manifest.write_text(
            f"version: 1\nengine: {engine or service}\nmodel_name: local-v1\n{more}"
            f"polling: {{first_wait_s: 0.01}}\noutput: {{{output}}}\n"
            "videos:\n" + "".join(f"  {video}\n" for video in videos),
            encoding="utf-8",
        )

    def run(self, *argv: str) -> int:
        return main(["run", "m.yaml", *argv], env={"TWELVELABS_API_KEY": "tlk_key"})

    def forget(self) -> None:
        """Delete the dataset and the state."""
        shutil.rmtree(self.out)
        shutil.rmtree(self.folder / ".batchembed")

    def parts(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in sorted(self.out.rglob("*.parquet"))
        }

    def tree(self) -> dict[str, bytes]:
        """Every file of the dataset."""
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in sorted(self.out.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two legal videos."""
    folder = tmp_path / "project"
    (folder / "v").mkdir(parents=True)
    make_video(folder / "v" / "a.mp4", seconds=7.0, fps=5, audio=True)
    make_video(folder / "v" / "b.mp4", seconds=7.0, fps=5, seed=1)
    monkeypatch.chdir(folder)
    pool = ChangingPool()
    with served_from_a_thread(tmp_path / "service", pool) as base_url:
        made = World(folder=folder, base_url=base_url, pool=pool)
        made.write(*TWO)
        yield made


def test_a_build_from_nothing_has_the_bytes_that_were_locked(world: World) -> None:
    assert world.run() == 0
    parts = world.parts()
    world.forget()

    assert world.run("--locked") == 0

    assert world.parts() == parts


def test_the_lock_file_is_of_its_schema_and_says_nothing_of_this_machine(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    text = world.lock.read_text(encoding="utf-8")

    told = json.loads(text)
    capsys.readouterr()
    assert main(["schema", "lock"]) == 0
    assert json.loads(capsys.readouterr().out) == resources.schema("lock")
    jsonschema.Draft202012Validator(resources.schema("lock")).validate(told)
    assert str(world.folder) not in text
    assert "tlk_key" not in text
    assert [part["path"] for part in told["parts"]] == sorted(world.parts())
    lines = text.splitlines()
    assert sum('"video_id"' in line for line in lines) == 2
    assert sum("part-" in line for line in lines) == len(told["parts"])


def test_the_same_build_has_the_same_lock_file(world: World) -> None:
    assert world.run() == 0
    before, at = world.lock.read_bytes(), world.lock.stat().st_mtime_ns

    assert world.run() == 0
    assert (world.lock.read_bytes(), world.lock.stat().st_mtime_ns) == (before, at)
    world.forget()
    world.lock.unlink()
    assert world.run() == 0

    assert world.lock.read_bytes() == before


def test_a_dataset_that_is_as_locked_is_left_alone(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    before, embedded = world.tree(), list(world.pool.embedded)
    capsys.readouterr()

    assert world.run("--locked") == 0

    assert "submitted 0 tasks" in capsys.readouterr().out
    assert (world.tree(), world.pool.embedded) == (before, embedded)


def append_a_byte(world: World) -> None:
    with (world.folder / "v" / "a.mp4").open("ab") as file:
        file.write(b"x")


def shorten(world: World) -> None:
    make_video(world.folder / "v" / "a.mp4", seconds=3.0, fps=5)


#: What is changed, and what is said of it.
CHANGES: dict[str, tuple[Callable[[World], object], tuple[str, ...]]] = {
    "a byte": (append_a_byte, ("video a: source_sha256: locked as ",)),
    "a file that is gone": (
        lambda world: (world.folder / "v" / "a.mp4").unlink(),
        (
            "video a: source_sha256: locked as ",
            "video a: outcome: locked as committed with 2 rows, and now rejected (video_file_missing)",
        ),
    ),
    "a video that became illegal": (
        shorten,
        (
            "video a: facts.duration_sec: locked as 7, and now 3",
            "2 rows, and now rejected (video_duration_too_short)",
        ),
    ),
    "a parameter": (
        lambda world: world.write(*TWO, more="defaults: {video_clip_length: 4}\n"),
        (
            "manifest, its digest: locked as ",
            "video a: parameters.video_clip_length: locked as 6, and now 4",
            "video b: parameters.video_clip_length: locked as 6, and now 4",
        ),
    ),
    "an option": (
        lambda world: world.write(*TWO, more="defaults: {embedding_option: [visual-text]}\n"),
        ('video a: parameters.embedding_option: locked as null, and now ["visual-text"]',),
    ),
    "a video more": (
        lambda world: world.write(*TWO, "- {video_file: v/b.mp4, id: c, video_clip_length: 4}"),
        ("video c: not in the lock file, and now in the manifest",),
    ),
    "a video less": (
        lambda world: world.write(TWO[0]),
        ("video b: locked as a video, and now gone",),
    ),
    "another order": (
        lambda world: world.write(*reversed(TWO)),
        ("order of the videos: locked as a first, and now b first",),
    ),
    "an integer that became a double": (
        lambda world: world.write(TWO[0].replace("n: 1", "n: 1.0"), TWO[1]),
        ("video a: metadata.n: locked as 1, and now 1.0",),
    ),
    "a video to skip": (
        lambda world: world.write(TWO[0], TWO[1].replace("id: b", "id: b, skip: dull")),
        ("video b: outcome: locked as committed with 1 rows, and now skipped",),
    ),
    "other folders": (
        lambda world: world.write(*TWO, output="path: out, partition_by: [model_name]"),
        ("output.partition_by: locked as model_name, embedding_option, embedding_scope, and now",),
    ),
    "another engine": (
        lambda world: world.write(*TWO, engine="local"),
        (
            "engine: locked as twelvelabs, and now local",
            "engine.base_url: locked as http://127.0.0.1",
        ),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_differs_is_listed_before_anything_is_made_or_sent(
    world: World, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    assert world.run() == 0
    world.forget()
    del world.pool.embedded[:]
    alter, words = CHANGES[change]
    alter(world)
    capsys.readouterr()

    assert world.run("--locked") == 4

    heard = capsys.readouterr()
    assert [each for each in words if each not in heard.out] == []
    assert f"from {world.lock}: nothing was submitted, and nothing published" in heard.err
    assert "run without --locked" in heard.err
    assert not world.out.exists()
    assert not (world.folder / ".batchembed").exists()
    assert world.pool.embedded == []


def test_everything_that_differs_is_told_at_once_also_as_json(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    append_a_byte(world)
    world.write(TWO[0].replace("n: 1", "n: 2"), "- {video_file: v/b.mp4, id: c}")
    capsys.readouterr()

    assert world.run("--locked", "--format", "json", "--log-format", "json") == 4

    heard = capsys.readouterr()
    told = json.loads(heard.out)
    assert told["error"]["exit_code"] == 4
    assert [each["what"] for each in told["differences"]] == [
        "manifest, its digest",
        "video a: source_sha256",
        "video a: facts.size_bytes",
        "video a: metadata.n",
        "video c",
        "video b",
    ]
    (line,) = heard.err.splitlines()
    assert json.loads(line)["exit_code"] == 4


@pytest.mark.parametrize("others", [False, True], ids=["a first build", "a dataset that is there"])
def test_other_vectors_are_not_published(
    world: World, capsys: pytest.CaptureFixture[str], others: bool
) -> None:
    if others:
        world.write(TWO[1])
        assert world.run() == 0
        world.write(*TWO)
    assert world.run("--set", "output.path=elsewhere") == 0
    locked = world.lock.read_bytes()
    before = world.tree() if others else None
    world.pool.turned = True
    capsys.readouterr()

    assert world.run("--locked", "--summary-file", "last.json") == 4

    heard = capsys.readouterr()
    assert json.loads((world.folder / "last.json").read_bytes())["exit_code"] == 4
    assert "part of model_name=local-v1/embedding_option=audio/embedding_scope=clip" in heard.out
    assert "locked as part-" in heard.out
    assert " rows, " in heard.out
    assert "a hosted service may give other vectors" in heard.err
    assert "run without --locked" in heard.err
    assert world.lock.read_bytes() == locked
    now = world.tree()
    for tree in (now, before or {}):
        tree.pop("_batchembed/payer.json", None)  # it paid, and says so
    assert before is None or now == before
    assert others or list(now) == ["_batchembed/dataset.json", "_batchembed/lock"]

    embedded = list(world.pool.embedded)
    assert world.run() == 0
    assert world.pool.embedded == embedded, "what was staged was paid for again"
    assert world.lock.read_bytes() != locked
    assert world.run("--locked") == 0


def test_a_locked_run_that_is_interrupted_publishes_nothing_and_is_run_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    parts = world.parts()
    world.forget()
    capsys.readouterr()

    assert world.run("--locked", "--limit", "1", "--format", "json") == 75

    report = json.loads(capsys.readouterr().out)
    assert (report["counts"]["pending"], report["dataset"]["record"]) == (2, None)
    (reason,) = [
        reason["code"]
        for video in report["videos"]
        if video["state"] == "staged"
        for reason in video["reasons"]
    ]
    assert reason == "withheld"
    assert world.parts() == {}
    assert world.run("--locked") == 0
    assert world.parts() == parts


def test_a_video_that_failed_instead_is_a_difference(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    world.forget()
    world.pool.tears = str(world.folder / "v" / "b.mp4")
    capsys.readouterr()

    assert world.run("--locked") == 4

    heard = capsys.readouterr()
    assert heard.out == "video b: outcome: locked as committed with 1 rows, and now failed\n"
    assert "batchembed failures" in heard.err
    assert world.parts() == {}


def test_a_video_that_failed_before_fails_again_as_locked(world: World) -> None:
    world.pool.tears = str(world.folder / "v" / "b.mp4")
    assert world.run() == 3
    parts = world.parts()
    world.forget()

    assert world.run("--locked") == 3

    assert world.parts() == parts


def test_rows_that_are_kept_are_not_locked(world: World) -> None:
    assert world.run() == 0
    world.write(TWO[0])
    assert world.run() == 0
    assert world.run("--locked") == 0
    kept = world.parts()
    world.forget()

    assert world.run("--locked") == 0

    assert world.parts().items() < kept.items()


def test_rows_that_are_kept_with_a_column_of_their_own_leave_no_lock_file(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write(TWO[0].replace("n: 1", "n: 1, gone: x"), TWO[1])
    assert world.run() == 0
    before = world.lock.read_bytes()
    world.write(TWO[1])
    capsys.readouterr()

    assert world.run() == 0

    assert "no lock file is written: rows of videos" in capsys.readouterr().out
    assert world.lock.read_bytes() == before
    assert world.run("--set", "on_removed=drop") == 0
    assert world.lock.read_bytes() != before


def test_a_run_that_leaves_work_leaves_no_lock_file(world: World) -> None:
    assert world.run("--limit", "1") == 75
    assert not world.lock.exists()
    world.run("--only", "a")
    assert world.run("--only", "b") == 0
    assert world.lock.exists()


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_videos_out_of_reach_leave_the_lock_file_as_it_was(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    before = world.lock.read_bytes()
    videos = world.folder / "v"
    videos.rename(world.folder / "unmounted")
    capsys.readouterr()

    assert world.run() == 3

    heard = capsys.readouterr().out
    assert "no lock file is written: 2 of 2 videos can't be read (a, b)" in heard
    assert f"{world.lock} is as it was: mount their disk" in heard
    assert world.lock.read_bytes() == before
    assert world.run("--locked") == 4
    (world.folder / "unmounted").rename(videos)
    assert world.run() == 0
    assert world.lock.read_bytes() == before
    assert world.run("--locked") == 0


def test_a_build_that_lacks_a_file_is_not_locked(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.folder / "v" / "b.mp4").unlink()
    assert world.run() == 3
    assert not world.lock.exists()
    heard = capsys.readouterr().out
    assert "1 of 2 videos can't be read (b): mount their disk" in heard
    assert "as it was" not in heard


def test_a_damaged_part_is_not_what_was_locked(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    whole, (name, *_) = world.tree(), world.parts()
    flip_a_bit(world.out / name)
    damaged = world.tree()
    capsys.readouterr()

    assert world.run("--locked") == 4

    heard = capsys.readouterr()
    assert heard.out.startswith(f"part {world.out / name}: locked as ")
    assert len(heard.out.splitlines()) == 1
    assert f"`batchembed verify {world.out}` says where; remove what is damaged" in heard.err
    assert world.tree() == damaged
    (world.out / name).unlink()
    assert world.run() == 0
    assert world.parts()[name] == whole[name]
    assert world.run("--locked") == 0


def test_a_damaged_part_is_not_named_by_another_record(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    world.write(TWO[0])
    assert world.run() == 0  # the rows of b are kept, in parts of their own
    own = {part["path"] for part in json.loads(world.lock.read_bytes())["parts"]}
    world.write(TWO[0].replace("n: 1", "n: 2"))
    assert world.run("--set", "output.path=elsewhere") == 0
    name = min(world.parts().keys() - own)
    flip_a_bit(world.out / name)
    damaged = world.tree()
    capsys.readouterr()

    assert world.run("--locked") == 4

    assert capsys.readouterr().out.startswith(f"part {world.out / name}: locked as ")
    assert world.tree() == damaged


def test_a_damaged_part_on_a_store_is_not_what_was_locked(
    world: World, s3: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write(*TWO, output=f"path: '{s3.uri('out')}'")
    assert world.run() == 0
    assert world.run("--locked") == 0
    names = s3.keys()
    key = next(name for name in names if name.endswith(".parquet"))
    content = bytearray(s3.get(key))
    content[len(content) // 2] ^= 1
    s3.put(key, bytes(content))
    capsys.readouterr()

    assert world.run("--locked") == 4

    heard = capsys.readouterr()
    assert heard.out.startswith(f"part {s3.uri(key)}: locked as ")
    assert f"`batchembed verify {s3.uri('out')}` says where" in heard.err


def test_a_lock_file_that_was_edited_is_to_be_restored(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    told = json.loads(world.lock.read_bytes())
    told["videos"][0]["rows"] += 1
    world.lock.write_text(json.dumps(told), encoding="utf-8")
    capsys.readouterr()

    assert world.run("--locked") == 4

    heard = capsys.readouterr()
    assert heard.out.startswith("video a: outcome: locked as committed with 3 rows, and now")
    assert "restore the lock file if it was edited, or run without --locked" in heard.err
    assert "--retry" not in heard.err


def test_a_file_of_something_else_is_not_replaced(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.lock.write_bytes(b'{"name": "app", "lockfileVersion": 3}\n')
    before = world.lock.read_bytes()

    assert world.run() == 0

    assert f"{world.lock} is something else: move it away" in capsys.readouterr().out
    assert world.lock.read_bytes() == before
    assert world.run("--locked") == 65
    assert "move it away and run without --locked" in capsys.readouterr().err


def test_a_lock_file_of_a_newer_version_is_not_replaced(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    newer = world.lock.read_bytes().replace(b'"format": 1', b'"format": 99')
    world.lock.write_bytes(newer)
    capsys.readouterr()

    assert world.run() == 0

    assert "is of a newer version of batchembed: upgrade" in capsys.readouterr().out
    assert world.lock.read_bytes() == newer


def test_a_lock_file_after_a_merge_is_written_anew(world: World) -> None:
    assert world.run() == 0
    before = world.lock.read_bytes()
    ours, middle, theirs = b"<<<<<<< HEAD\n", b"=======\n", b">>>>>>> theirs\n"
    world.lock.write_bytes(ours + before + middle + before.replace(b"a.mp4", b"c.mp4") + theirs)

    assert world.run() == 0

    assert world.lock.read_bytes() == before


def test_of_two_manifests_with_one_name_the_yaml_file_has_the_lock_file(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run() == 0
    before = world.lock.read_bytes()
    other = world.folder / "m"
    shutil.copy(world.manifest, other)
    env = {"TWELVELABS_API_KEY": "tlk_key"}
    capsys.readouterr()

    assert main(["run", "m", "--set", "defaults.video_clip_length=4"], env=env) == 0

    words = f"{world.lock} is the lock file of {world.manifest}: rename one"
    assert words in capsys.readouterr().out
    assert world.lock.read_bytes() == before
    assert main(["run", "m", "--locked"], env=env) == 2
    assert words in capsys.readouterr().err


def test_a_manifest_from_a_pipe_needs_a_folder_for_its_state_and_has_no_lock_file(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    text = world.manifest.read_text(encoding="utf-8")
    text = text.replace("v/", f"{world.folder}/v/").replace("path: out", f"path: {world.out}")

    def run(*argv: str) -> int:
        reading, writing = os.pipe()
        try:
            os.write(writing, text.encode())
            os.close(writing)
            env = {"TWELVELABS_API_KEY": "tlk_key"}
            return main(["run", f"/dev/fd/{reading}", *argv], env=env)
        finally:
            os.close(reading)

    assert run() == 2
    assert "is no file in a folder" in capsys.readouterr().err
    assert not world.out.exists()
    assert run("--state-dir", "state") == 0
    assert "no lock file is written: /dev/fd/" in capsys.readouterr().out
    assert run("--state-dir", "state", "--locked") == 2
    assert "save the manifest as one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, 66, "there is no lock file"),
        (b"<<<<<<< HEAD\n", 65, "is damaged"),
        (b'{"format": 1, "videos": []}', 65, "is damaged: Object missing required field"),
        (b'{"format": 1, "x": ' + b"[" * 100_000, 65, "is damaged"),
        (
            b'{"format": 2, "videos": {}}',
            65,
            "has format 2, and this version of batchembed knows 1",
        ),
    ],
    ids=["absent", "conflict", "cut", "deep", "newer"],
)
def test_a_lock_file_that_can_not_be_used_says_so_and_makes_nothing(
    world: World,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
    code: int,
    words: str,
) -> None:
    if content is not None:
        world.lock.write_bytes(content)
    before = sorted(world.folder.rglob("*"))

    assert world.run("--locked") == code

    heard = capsys.readouterr().err
    assert words in heard
    assert str(world.lock) in heard
    assert sorted(world.folder.rglob("*")) == before


def test_a_rehearsal_neither_writes_nor_reads_a_lock_file(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run("--engine", "local", "--limit", "0") == 75
    assert main(["run", "m.yaml", "--engine", "local", "--locked"], env={}) == 2
    assert "a rehearsal has no lock file" in capsys.readouterr().err
    assert not world.lock.exists()


def test_a_lock_file_that_can_not_be_written_is_an_error_and_the_data_is_committed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.lock.mkdir()

    assert world.run() == 74

    assert "can't be written: Is a directory" in capsys.readouterr().out
    assert world.parts()
    world.lock.rmdir()
    (world.folder / ".m.lock.json.00.tmp").touch()
    assert world.run() == 0
    assert sorted(path.name for path in world.folder.iterdir() if path.is_file()) == [
        "m.lock.json",
        "m.yaml",
    ]


def test_in_a_folder_of_somebody_else_there_is_a_warning_and_no_lock_file(world: World) -> None:
    assert world.run() == 0
    world.lock.unlink()
    dataset = Dataset.find(storage_at(str(world.out)))
    assert dataset is not None

    def refuse(path: Path, content: bytes) -> None:
        raise StorageError(f"{path}") from OSError(errno.EROFS, "Read-only file system")

    report = leave_lock(read("m.yaml", (), None), REPORT, dataset.last(), write=refuse)

    assert report.exit_code == REPORT.exit_code
    assert report.exit_code is not ExitCode.IO
    assert (
        "can't be written: Read-only file system; the dataset is committed" in report.warnings[-1]
    )


@pytest.mark.slow
def test_the_embedded_engine_makes_a_locked_build_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write(*TWO, engine="local")
    assert world.run() == 0
    parts, told = world.parts(), json.loads(world.lock.read_bytes())
    assert told["engine"]["processor"]
    world.forget()
    told["engine"]["versions"]["pyav"] = "17.0.0"
    world.lock.write_text(json.dumps(told), encoding="utf-8")
    capsys.readouterr()

    assert world.run("--locked", "--format", "json") == 0

    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [each for each in report["warnings"] if each.startswith("pyav: locked as 17.0.0")]
    assert world.parts() == parts


def test_a_store_that_is_away_is_told_before_anything_is_compared(
    world: World, s3: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    uris = [s3.put(name, (world.folder / "v" / name).read_bytes()) for name in ("a.mp4", "b.mp4")]
    world.write(*(f"- {{video_file: '{uri}'}}" for uri in uris))
    assert world.run() == 0
    shutil.rmtree(world.folder / ".batchembed")  # what was read is not remembered
    capsys.readouterr()
    s3.server.stop()
    try:
        assert world.run("--locked") == 69
    finally:
        s3.server.start()

    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert uris[0] in said or uris[1] in said


def test_a_video_that_its_store_denies_is_no_difference(
    world: World, s3: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    uris = [s3.put(name, (world.folder / "v" / name).read_bytes()) for name in ("a.mp4", "b.mp4")]
    world.write(*(f"- {{video_file: '{uri}'}}" for uri in uris))
    assert world.run() == 0
    before, lock = world.tree(), world.lock.read_bytes()
    capsys.readouterr()
    s3.server.refuse(f"/{s3.name}/", 403, "AccessDenied")

    assert world.run("--locked") == 77
    said = capsys.readouterr().err
    assert " and 1 more can't be compared with the lock file: " in said
    assert "permission denied for s3://" in said
    assert world.run() == 77  # and its lock file stays as it was

    assert world.lock.read_bytes() == lock
    assert {path: world.tree()[path] for path in before if path.endswith(".parquet")} == {
        path: content for path, content in before.items() if path.endswith(".parquet")
    }
    s3.server.heal()
    assert world.run("--locked") == 0
