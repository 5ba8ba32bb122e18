"""Videos, tables and globs on an object store, against a real S3 server on loopback."""

from __future__ import annotations

import functools
import io
import json
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import av
import pytest

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.models import TasksCreateResponse, Upload
from batchembed.cli.main import main
from batchembed.core.keys import upload_name
from batchembed.core.model import Facts, ObjectIdentity, ObjectSource
from batchembed.core.outcome import Outcome
from batchembed.core.problems import Reason
from batchembed.core.run_report import RunReport
from batchembed.errors import ExitCode, VideoChangedError
from batchembed.media.objects import identify_object, open_object, probe_object
from tests.support.engines import InstantPool, served_from_a_thread
from tests.support.media import make_video
from tests.support.runs import Bench
from tests.support.s3 import Bucket

pytestmark = pytest.mark.slow

MIB = 1 << 20


@functools.cache
def film(seed: int = 0, seconds: float = 7.0) -> bytes:
    """A legal video."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mp4"
        return make_video(path, seconds=seconds, fps=5, seed=seed, audio=True).read_bytes()


def padded(size: int) -> bytes:
    """A legal video with a box that readers skip between its pictures and its index."""
    moved = io.BytesIO()
    with av.open(io.BytesIO(film()), "r") as read, av.open(moved, "w", format="mp4") as written:
        streams = {stream: written.add_stream_from_template(stream) for stream in read.streams}
        for packet in read.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                written.mux(packet)
    content = moved.getvalue()
    index = content.index(b"moov") - 4
    return content[:index] + (8 + size).to_bytes(4) + b"free" + bytes(size) + content[index:]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(folder=tmp_path)


def outcomes(report: RunReport) -> dict[str, Outcome]:
    return {str(video.video.video_id): video.outcome for video in report.videos}


def reasons(report: RunReport) -> list[str]:
    return [reason.message for video in report.videos for reason in video.reasons]


def source(s3: Bucket, key: str) -> ObjectSource:
    return ObjectSource(uri=s3.uri(key), stores=s3.server.options)


def read_to_its_end(file: BinaryIO) -> int:
    return sum(len(piece) for piece in iter(lambda: file.read(MIB), b""))


def bytes_read(s3: Bucket) -> int:
    return sum(asked.answer_bytes for asked in s3.server.asked() if asked.method == "GET")


# -- a run


def test_videos_on_a_store_are_embedded_as_files_are(s3: Bucket, bench: Bench) -> None:
    s3.put("in/a.mp4", film(1))
    s3.put("in/deep er/ü.mp4", film(2))
    s3.put("in/.hidden.mp4", film(3))
    bench.write(
        f"  - {{video_file: '{s3.uri('in/a.mp4')}', id: a}}\n  - glob: {s3.uri('in/**/*.mp4')}\n"
    )

    report = bench.run()

    assert report.exit_code is ExitCode.OK
    rows = bench.rows().select(["video_id", "source", "source_sha256"]).to_pylist()
    assert {tuple(row.values()) for row in rows} == {
        ("a", s3.uri("in/a.mp4"), None),
        (s3.uri("in/deep er/ü.mp4"), s3.uri("in/deep er/ü.mp4"), None),
    }


def test_the_embedded_engine_keeps_a_copy_no_longer_than_its_task(s3: Bucket, bench: Bench) -> None:
    s3.put("a.mp4", film(1))
    pool = InstantPool()
    bench.pool = pool
    bench.write(f"  - video_file: {s3.uri('a.mp4')}\n")

    bench.run()

    (copied,) = pool.embedded
    assert Path(copied).parent.name == "uploads"
    assert list(Path(copied).parent.iterdir()) == []


def test_what_is_known_of_an_object_is_not_read_again(s3: Bucket, bench: Bench) -> None:
    s3.put("a.mp4", film(1))
    s3.put("short.mp4", film(2, 3.0))
    bench.write(f"  - glob: {s3.uri('*.mp4')}\n")
    first = bench.run()
    s3.server.forget_asked()

    again = bench.run()

    assert outcomes(first) == outcomes(again)
    assert sorted(outcomes(again).values()) == [Outcome.COMMITTED, Outcome.REJECTED]
    assert (again.submitted, bytes_read_of_objects(s3)) == (0, 0)


def bytes_read_of_objects(s3: Bucket) -> int:
    return sum(
        asked.answer_bytes
        for asked in s3.server.asked()
        if asked.method == "GET" and asked.path.endswith(".mp4")
    )


def test_an_object_that_was_replaced_is_another_job(s3: Bucket, bench: Bench) -> None:
    pool = InstantPool()
    bench.pool = pool
    s3.put("a.mp4", film(1))
    bench.write(f"  - video_file: {s3.uri('a.mp4')}\n")
    bench.run()
    before = bench.parts()
    s3.put("a.mp4", film(2))

    report = bench.run()

    assert (report.exit_code, report.submitted, len(pool.embedded)) == (ExitCode.OK, 1, 2)
    assert bench.parts() != before


def test_through_http_an_object_is_streamed_in_pieces_and_never_copied(
    s3: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    content = padded(40 * MIB)
    s3.put("in/a.mp4", content)
    monkeypatch.chdir(tmp_path)
    pool = InstantPool()
    with served_from_a_thread(tmp_path_factory.mktemp("engine"), pool) as base_url:
        (tmp_path / "m.yaml").write_text(
            f"version: 1\nengine: {{kind: twelvelabs, base_url: '{base_url}', api_key_env: KEY}}\n"
            f"model_name: local-v1\nvideos: [{{video_file: '{s3.uri('in/a.mp4')}'}}]\n"
            "output: {path: out}\npolling: {first_wait_s: 0.05, longest_wait_s: 0.2}\n",
            encoding="utf-8",
        )
        s3.server.forget_asked()
        assert main(["run", "m.yaml"], env={"KEY": "k"}) == 0

    gets = [asked for asked in s3.server.asked() if asked.method == "GET"]
    assert max(asked.answer_bytes for asked in gets) <= 8 * MIB
    assert sum(asked.answer_bytes for asked in gets) < len(content) + 2 * MIB
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > MIB
    ] == []
    (task,) = (tmp_path / "out" / "_batchembed" / "tasks.jsonl").read_text("utf-8").splitlines()
    assert json.loads(task)["task_id"]


# -- reading


def test_a_probe_reads_a_small_part_of_a_large_object(s3: Bucket) -> None:
    s3.put("a.mp4", padded(50 * MIB))
    s3.server.forget_asked()

    identity, facts = probe_object(source(s3, "a.mp4"))

    assert isinstance(facts, Facts)
    assert (facts.duration_sec, facts.size_bytes) == (7.0, identity.size_bytes)
    assert bytes_read(s3) < 2 * MIB


def test_an_object_is_sent_without_the_whole_in_memory(s3: Bucket) -> None:
    s3.put("a.mp4", bytes(40 * MIB))
    tracemalloc.start()
    try:
        with open_object(source(s3, "a.mp4"), None) as file:
            read = read_to_its_end(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert read == 40 * MIB
    assert peak < 16 * MIB


def test_an_object_that_is_replaced_while_it_is_read_never_ends(s3: Bucket) -> None:
    s3.put("a.mp4", bytes(20 * MIB))
    with open_object(source(s3, "a.mp4"), None) as file:
        file.read(MIB)
        s3.put("a.mp4", bytes(20 * MIB)[:-1] + b"x")

        with pytest.raises(VideoChangedError, match=r"a\.mp4 changed while it was uploaded"):
            read_to_its_end(file)


@pytest.mark.parametrize("change", ["shorter", "deleted"])
def test_an_object_that_ends_early_has_changed(s3: Bucket, change: str) -> None:
    s3.put("a.mp4", bytes(20 * MIB))
    with open_object(source(s3, "a.mp4"), None) as file:
        file.read(MIB)
        if change == "shorter":
            s3.put("a.mp4", bytes(MIB))
        else:
            s3.delete("a.mp4")

        with pytest.raises(VideoChangedError):
            read_to_its_end(file)


def test_only_the_object_that_was_probed_is_opened(s3: Bucket) -> None:
    s3.put("a.mp4", b"one")
    before = identify_object(source(s3, "a.mp4"))
    assert isinstance(before, ObjectIdentity)
    s3.put("a.mp4", b"two")

    with pytest.raises(VideoChangedError):
        open_object(source(s3, "a.mp4"), before)


class Meddling(AsyncTasksClient):
    """A client before whose first create something happens."""

    def __init__(self, inner: AsyncTasksClient, happens: Callable[[], object]) -> None:
        self.__dict__.update(inner.__dict__)
        self._happens = happens
        self.uploads: list[Upload] = []

    async def create(self, **arguments: Any) -> TasksCreateResponse:
        self.uploads.append(arguments["video_file"])
        happens, self._happens = self._happens, lambda: None
        happens()
        return await super().create(**arguments)


def test_an_upload_has_the_marker_of_its_job_in_its_name(s3: Bucket, bench: Bench) -> None:
    s3.put("a.MP4", film(1))
    bench.write(f"  - video_file: {s3.uri('a.MP4')}\n")
    clients: list[Meddling] = []

    def wrap(client: AsyncTasksClient) -> AsyncTasksClient:
        clients.append(Meddling(client, lambda: None))
        return clients[-1]

    bench.wrap = wrap

    bench.run()

    (upload,) = clients[0].uploads
    (row,) = bench.rows().select(["job_key"]).slice(0, 1).to_pylist()
    assert upload.filename == upload_name("d" * 32, row["job_key"], 1, ".mp4")
    assert upload.file.closed


def test_an_object_that_changes_while_it_is_sent_makes_no_task(s3: Bucket, bench: Bench) -> None:
    s3.put("a.mp4", film(1))
    bench.pool = pool = InstantPool()
    bench.write(f"  - video_file: {s3.uri('a.mp4')}\n")
    bench.wrap = lambda client: Meddling(client, lambda: s3.put("a.mp4", film(2)))

    first = bench.run()

    assert (first.exit_code, pool.embedded) == (ExitCode.AGAIN, [])
    assert reasons(first) == [
        "a.mp4 changed while it was uploaded: no task was made; create another once it is written"
    ]
    assert list((bench.folder / ".batchembed").rglob("uploads/*")) == []
    bench.wrap = lambda client: client
    assert bench.run().exit_code is ExitCode.OK


# -- what is not there, or may not be read


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("none.mp4", "there is no s3://"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "the video file can't be read"),
    ],
)
def test_one_object_that_can_not_be_read_is_one_video_rejected(
    s3: Bucket, bench: Bench, key: str, says: str
) -> None:
    s3.put("a.mp4", film())
    s3.put("empty.mp4", b"")
    s3.put("text.mp4", b"not a film " * 100)
    bench.write(f"  - video_file: {s3.uri('a.mp4')}\n  - video_file: {s3.uri(key)}\n")

    report = bench.run()

    assert report.exit_code is ExitCode.INCOMPLETE
    assert list(outcomes(report).values()) == [Outcome.COMMITTED, Outcome.REJECTED]
    (message,) = reasons(report)
    assert says in message


def test_a_bucket_that_is_not_there_is_said_to_be_missing(s3: Bucket) -> None:
    missing = ObjectSource(uri="s3://no-such-bucket/a.mp4", stores=s3.server.options)

    found = identify_object(missing)

    assert isinstance(found, Reason)
    assert "there is no bucket no-such-bucket" in found.message


def codes(report: RunReport) -> list[str]:
    return [reason.code for video in report.videos for reason in video.reasons]


def test_an_object_that_is_denied_is_left_for_the_next_run_and_the_others_go_on(
    s3: Bucket, bench: Bench
) -> None:
    s3.put("a.mp4", film(1))
    s3.put("denied.mp4", film(2))
    s3.server.refuse(f"/{s3.name}/denied.mp4", 403, "AccessDenied")
    bench.write(f"  - glob: {s3.uri('*.mp4')}\n", more="on_rejected: accept\n")

    report = bench.run()

    assert (report.exit_code, report.halted) == (ExitCode.NO_PERMISSION, None)
    assert list(outcomes(report).values()) == [Outcome.COMMITTED, Outcome.PENDING]
    (reason,) = report.videos[1].reasons
    assert (reason.code, reason.hint) == (
        "video_file_denied",
        "see that the object is there, and what its bucket allows; then run again",
    )
    assert f"permission denied for {s3.uri('denied.mp4')}" in reason.message
    s3.server.heal()
    again = bench.run()
    assert (again.exit_code, again.submitted) == (ExitCode.OK, 1)


@pytest.mark.parametrize("on_removed", ["keep", "drop"])
def test_a_bucket_that_denies_every_object_costs_no_rows(
    s3: Bucket, bench: Bench, on_removed: str
) -> None:
    s3.put("a.mp4", film(1))
    s3.put("b.mp4", film(2))
    videos = "".join(f"  - video_file: {s3.uri(name)}\n" for name in ("a.mp4", "b.mp4"))
    bench.write(videos, more=f"on_removed: {on_removed}\n")
    bench.run()
    before = bench.parts()
    s3.server.refuse(f"/{s3.name}/", 403, "AccessDenied")

    report = bench.run()

    assert (report.exit_code, report.rows) == (ExitCode.NO_PERMISSION, bench.rows().num_rows)
    assert set(outcomes(report).values()) == {Outcome.PENDING}
    assert (bench.parts(), report.kept) == (before, ())
    s3.server.heal()
    assert (bench.run().exit_code, bench.parts()) == (ExitCode.OK, before)


def test_the_rows_of_an_object_that_is_denied_are_there_under_a_new_id(
    s3: Bucket, bench: Bench
) -> None:
    s3.put("a.mp4", film(1))
    source, drop = s3.uri("a.mp4"), "on_removed: drop\n"
    bench.write(f"  - {{video_file: '{source}', id: old}}\n", more=drop)
    bench.run()
    s3.server.refuse(f"/{s3.name}/", 403, "AccessDenied")
    bench.write(f"  - {{video_file: '{source}', id: new}}\n", more=drop)

    assert bench.run().exit_code is ExitCode.NO_PERMISSION
    s3.server.heal()
    report = bench.run()

    assert (report.exit_code, report.submitted, report.collected_sec) == (ExitCode.OK, 0, 0.0)
    assert set(bench.rows()["video_id"].to_pylist()) == {"new"}


def test_an_object_that_is_denied_once_it_was_read_makes_no_task(s3: Bucket, bench: Bench) -> None:
    s3.put("a.mp4", film(1))
    s3.put("b.mp4", film(2))
    bench.pool = pool = InstantPool()
    bench.write(
        "".join(f"  - video_file: {s3.uri(name)}\n" for name in ("a.mp4", "b.mp4")),
        more="concurrency: {uploads: 1}\n",
    )

    def deny() -> None:
        s3.server.refuse(f"/{s3.name}/", 403, "AccessDenied")

    bench.wrap = lambda client: Meddling(client, deny)

    report = bench.run()

    assert (report.exit_code, pool.embedded) == (ExitCode.NO_PERMISSION, [])
    assert codes(report) == ["video_file_denied"] * 2
    s3.server.heal()
    bench.wrap = lambda client: client
    assert bench.run().exit_code is ExitCode.OK


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "says"),
    [
        (400, "ExpiredToken", ExitCode.NO_PERMISSION, "get new ones if they have expired"),
        (503, "SlowDown", ExitCode.UNAVAILABLE, "gives no answer"),
    ],
)
def test_a_store_that_fails_for_all_ends_the_run_and_keeps_what_there_is(
    s3: Bucket, bench: Bench, status: int, code: str, exit_code: ExitCode, says: str
) -> None:
    s3.put("a.mp4", film(1))
    s3.put("b.mp4", film(2))
    bench.write(f"  - video_file: {s3.uri('a.mp4')}\n")
    bench.run()
    bench.write(f"  - video_file: {s3.uri('a.mp4')}\n  - video_file: {s3.uri('b.mp4')}\n")
    s3.server.refuse(f"/{s3.name}/b.mp4", status, code)

    report = bench.run()

    assert report.exit_code is exit_code
    assert says in (report.halted or "")
    s3.server.heal()
    again = bench.run()
    assert (again.exit_code, again.submitted) == (ExitCode.OK, 1)


def test_a_server_that_stops_in_the_middle_of_an_upload_leaves_nothing_to_pay(
    s3: Bucket, bench: Bench
) -> None:
    s3.put("a.mp4", padded(20 * MIB))
    bench.pool = pool = InstantPool()
    bench.write(f"  - video_file: {s3.uri('a.mp4')}\n")
    bench.wrap = lambda client: Meddling(client, s3.server.stop)
    try:
        report = bench.run()
    finally:
        s3.server.start()

    assert (report.exit_code, pool.embedded) == (ExitCode.UNAVAILABLE, [])
    bench.wrap = lambda client: client
    assert bench.run().exit_code is ExitCode.OK
    assert len(pool.embedded) == 1


def test_validate_reads_objects_and_says_what_is_wrong_with_them(
    s3: Bucket, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    s3.put("short.mp4", film(2, 3.0))
    bench.write(f"  - video_file: {s3.uri('short.mp4')}\n")

    assert main(["validate", str(bench.manifest)]) == ExitCode.INCOMPLETE
    assert "duration 3.0 s is below" in capsys.readouterr().out
    s3.server.refuse(f"/{s3.name}/", 400, "ExpiredToken")
    assert main(["validate", str(bench.manifest)]) == ExitCode.NO_PERMISSION
    told = capsys.readouterr()
    assert "s3://" in told.err
    assert "Traceback" not in told.err


def test_validate_and_plan_say_what_is_denied(
    s3: Bucket, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    s3.put("a.mp4", film(1))
    s3.server.refuse(f"/{s3.name}/a.mp4", 403, "AccessDenied")
    bench.write(f"  - {{video_file: '{s3.uri('a.mp4')}', id: a}}\n")
    denied = f"permission denied for {s3.uri('a.mp4')}"

    assert main(["validate", str(bench.manifest)]) == ExitCode.NO_PERMISSION
    told = capsys.readouterr().out
    assert denied in told
    assert "0 would be rejected, 1 can't be read with these credentials" in told
    assert main(["validate", "--format", "json", str(bench.manifest)]) == ExitCode.NO_PERMISSION
    told = json.loads(capsys.readouterr().out)
    assert [problem["code"] for problem in told["problems"]] == ["video_file_denied"]
    assert told["rejections"] == []
    assert main(["plan", str(bench.manifest)]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("read      a: the video file can't be opened: permission denied")
    assert lines[-1] == "plan: 1 to be read first"
