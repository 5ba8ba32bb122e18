"""Runs of a manifest, one after the other, on a real ledger, real video and a real dataset."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.models import TasksCreateResponse, TasksStatusResponse
from batchembed.api.pager import AsyncPager
from batchembed.core.groups import GroupCutter
from batchembed.core.outcome import Outcome
from batchembed.core.run_report import RunReport
from batchembed.core.states import State
from batchembed.dataset.publish import Dataset, RowSpec
from batchembed.errors import (
    ExitCode,
    LockedError,
    NotFoundError,
    RateLimitError,
    SubmissionUnknown,
)
from batchembed.media.identity import sha256_file
from batchembed.runner.listen import Event, Moved, Published, Started
from batchembed.runner.publication import Publication
from batchembed.store.lock import run_lock
from tests.support.engines import InstantPool, in_process
from tests.support.media import make_video
from tests.support.runs import Bench, Heard, entries

FILMS = ("a", "b", "c")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three legal videos, of which one has sound, and one that is too short."""
    folder = tmp_path_factory.mktemp("films")
    for seed, name in enumerate(FILMS):
        make_video(folder / f"{name}.mp4", seconds=8.5, audio=name == "a", seed=seed, fps=5)
    make_video(folder / "short.mp4", seconds=3.0, fps=5)
    return folder


@pytest.fixture
def bench(films: Path, tmp_path: Path) -> Bench:
    shutil.copytree(films, tmp_path / "v")
    return Bench(folder=tmp_path)


def side_file(bench: Bench, name: str) -> list[dict[str, Any]]:
    text = (bench.output / "_batchembed" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def embedded(bench: Bench) -> list[str]:
    assert isinstance(bench.pool, InstantPool)
    names = sorted(Path(path).stem for path in bench.pool.embedded)
    bench.pool.embedded.clear()
    return names


def outcomes(report: RunReport) -> dict[str, Outcome]:
    return {video.video.video_id: video.outcome for video in report.videos}


def test_one_manifest_gives_one_dataset(bench: Bench) -> None:
    bench.write(entries("a", "b", "short") + "  - {video_file: v/none.mp4}\n")

    report = bench.run()

    assert report.exit_code is ExitCode.INCOMPLETE
    assert outcomes(report) == {
        "a": Outcome.COMMITTED,
        "b": Outcome.COMMITTED,
        "short": Outcome.REJECTED,
        "v/none.mp4": Outcome.REJECTED,
    }
    # 8.5 s: 0..6 and 6..8.5, for each option that the video has.
    assert report.rows == 6
    rows = bench.rows().to_pylist()
    assert [row["video_id"] for row in rows].count("a") == 4
    assert {row["source"] for row in rows} == {"v/a.mp4", "v/b.mp4"}
    failures = {line["video_id"]: line for line in side_file(bench, "failures.jsonl")}
    assert set(failures) == {"short", "v/none.mp4"}
    assert failures["short"]["code"] == "video_duration_too_short"
    assert (failures["short"]["value"], failures["short"]["limit"]) == (3.0, 4)
    assert failures["v/none.mp4"]["code"] == "video_file_missing"
    assert [line["outcome"] for line in side_file(bench, "videos.jsonl")] == [
        "committed",
        "committed",
        "rejected",
        "rejected",
    ]
    assert len(side_file(bench, "tasks.jsonl")) == 2


def test_a_second_run_submits_nothing_and_changes_nothing(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    first = bench.run()
    before = bench.parts()
    embedded(bench)

    heard = Heard()
    second = bench.run(heard=heard)

    assert (first.exit_code, second.exit_code) == (ExitCode.OK, ExitCode.OK)
    assert embedded(bench) == []
    assert (second.submitted, second.published, second.record) == (0, False, first.record)
    assert bench.parts() == before
    assert heard.events[0] == Started(videos=3, committed=3, owed=0, unread=0)
    assert not any(isinstance(event, Moved) for event in heard.events)


def test_a_touched_file_submits_nothing_and_a_changed_byte_its_video_alone(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    bench.run()
    embedded(bench)

    os.utime(bench.folder / "v" / "b.mp4", (1, 1))
    touched = bench.run()
    assert (embedded(bench), touched.exit_code) == ([], ExitCode.OK)

    make_video(bench.folder / "v" / "b.mp4", seconds=8.5, seed=77, fps=5)
    changed = bench.run()
    assert (embedded(bench), changed.exit_code) == (["b"], ExitCode.OK)
    assert changed.rows == touched.rows


def test_a_changed_parameter_makes_a_new_job(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    bench.run()
    embedded(bench)

    report = bench.run(overrides=["videos.1.video_clip_length=4"])

    assert embedded(bench) == ["b"]
    starts = [row["start_offset_sec"] for row in bench.rows().to_pylist() if row["video_id"] == "b"]
    assert sorted(starts) == [0.0, 4.0]
    assert report.exit_code is ExitCode.OK


def test_an_added_video_runs_alone(bench: Bench) -> None:
    bench.write(entries("a", "c"))
    bench.run()
    embedded(bench)

    bench.write(entries(*FILMS))
    bench.run()

    assert embedded(bench) == ["b"]
    assert {row["video_id"] for row in bench.rows().to_pylist()} == set(FILMS)


@pytest.mark.parametrize(("policy", "left"), [("keep", {"a", "b", "c"}), ("drop", {"a", "c"})])
def test_a_removed_video_is_kept_or_dropped_as_asked(
    bench: Bench, policy: str, left: set[str]
) -> None:
    bench.write(entries(*FILMS))
    bench.run()

    bench.write(entries("a", "c"), more=f"on_removed: {policy}\n")
    report = bench.run()

    assert {row["video_id"] for row in bench.rows().to_pylist()} == left
    assert set(report.kept) == left - {"a", "c"}


@pytest.mark.parametrize("policy", ["keep", "drop"])
def test_an_unmounted_disk_drops_no_paid_rows(bench: Bench, policy: str) -> None:
    bench.write(entries(*FILMS), more=f"on_removed: {policy}\n")
    bench.run()
    embedded(bench)
    paths = bench.parts()

    (bench.folder / "v").rename(bench.folder / "away")
    report = bench.run()

    assert set(outcomes(report).values()) == {Outcome.REJECTED}
    assert bench.parts().keys() == paths.keys()

    (bench.folder / "away").rename(bench.folder / "v")
    assert bench.run().exit_code is ExitCode.OK
    assert embedded(bench) == []


def test_names_order_and_metadata_submit_nothing(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    bench.run()
    embedded(bench)

    (bench.folder / "v" / "c.mp4").rename(bench.folder / "v" / "z.mp4")
    bench.write(
        "  - {video_file: v/z.mp4, id: third, metadata: {place: pier}}\n"
        "  - {video_file: v/a.mp4, id: first, metadata: {place: pier}}\n"
        "  - {video_file: v/b.mp4, id: second, metadata: {place: bridge}}\n",
        more="on_removed: drop\n",
    )
    report = bench.run(overrides=["output.partition_by=[place, embedding_option]"])

    assert embedded(bench) == []
    assert report.rows == 8
    assert {path.split("/")[0] for path in bench.parts()} == {"place=pier", "place=bridge"}


def test_narrowed_options_come_back_without_a_task(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    bench.run()
    before = bench.parts()
    embedded(bench)

    narrowed = bench.run(overrides=["defaults.embedding_option=[visual-text]"])
    assert narrowed.rows == 6
    widened = bench.run()

    assert widened.rows == 8
    assert bench.parts() == before
    assert embedded(bench) == []


def test_the_same_content_under_two_ids_is_one_task(bench: Bench) -> None:
    shutil.copyfile(bench.folder / "v" / "b.mp4", bench.folder / "v" / "copy.mp4")
    bench.write(entries("b", "copy"))

    report = bench.run()

    assert report.submitted == 1
    assert [row["video_id"] for row in bench.rows().to_pylist()] == ["b", "b", "copy", "copy"]


def test_a_video_without_the_wanted_options_is_rejected_before_it_is_sent(bench: Bench) -> None:
    bench.write(entries("a", "b"))

    report = bench.run(overrides=["defaults.embedding_option=[audio]"])

    assert outcomes(report) == {"a": Outcome.COMMITTED, "b": Outcome.REJECTED}
    assert embedded(bench) == ["a"]
    (failure,) = side_file(bench, "failures.jsonl")
    assert failure["code"] == "embed_no_embeddings_found"


def test_an_absent_option_beside_a_present_one_is_told_and_fails_nothing(bench: Bench) -> None:
    bench.write(entries("b"))

    report = bench.run(overrides=["defaults.embedding_option=[visual-text, audio]"])

    assert report.exit_code is ExitCode.OK
    assert report.videos[0].options_absent == ("audio",)


def test_a_failed_video_stops_no_other_and_waits_to_be_asked_for(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    bench.pool = InstantPool(fails=True)
    failed = bench.run()
    assert set(outcomes(failed).values()) == {Outcome.FAILED}
    assert failed.exit_code is ExitCode.INCOMPLETE
    assert failed.videos[0].reasons[0].message == "the film is torn"

    bench.pool = InstantPool()
    again = bench.run()
    assert (embedded(bench), again.exit_code) == ([], ExitCode.INCOMPLETE)

    mended = bench.run(retry="failed")
    assert (embedded(bench), mended.exit_code) == (list(FILMS), ExitCode.OK)


def test_standing_rejections_can_be_accepted(bench: Bench) -> None:
    bench.write(entries("a", "short"), more="on_rejected: accept\n")

    report = bench.run()

    assert report.exit_code is ExitCode.OK
    assert outcomes(report)["short"] is Outcome.REJECTED


def test_a_skipped_video_is_listed_with_its_reason(bench: Bench) -> None:
    bench.write('  - {video_file: v/a.mp4, id: a, skip: "faces"}\n' + entries("b"))

    report = bench.run()

    assert (outcomes(report)["a"], report.exit_code) == (Outcome.SKIPPED, ExitCode.OK)
    assert side_file(bench, "videos.jsonl")[0]["skip"] == "faces"
    assert embedded(bench) == ["b"]


def test_a_limit_may_be_left_to_the_service(bench: Bench) -> None:
    bench.write(entries("a", "short"), more="on_limit_violation: submit\n")

    report = bench.run()

    assert outcomes(report) == {"a": Outcome.COMMITTED, "short": Outcome.FAILED}
    assert report.videos[1].reasons[0].code == "video_duration_too_short"
    assert report.videos[1].warnings == ()  # the failure says it


class ClumsyClient(AsyncTasksClient):
    """A client whose creates can be made to fail, before or after they reach the service."""

    def __init__(self, inner: AsyncTasksClient, *, error: Exception, after: bool) -> None:
        self.__dict__.update(inner.__dict__)
        self._inner = inner
        self._error: Exception | None = error
        self._after = after

    async def create(self, **arguments: Any) -> TasksCreateResponse:
        error, self._error = self._error, None
        if error is not None and not self._after:
            raise error
        made = await self._inner.create(**arguments)
        if error is not None:
            raise error
        return made


def tasks_of(bench: Bench) -> int:
    """How many tasks the engine in the state folder has."""
    (folder,) = bench.folder.glob(".batchembed/*/engine")

    async def count() -> int:
        async with in_process(folder) as client:
            return len([task async for task in await client.list()])

    return asyncio.run(count())


def test_a_lost_answer_is_not_paid_twice(bench: Bench) -> None:
    bench.write(entries("a"))
    lost = SubmissionUnknown("the answer was lost")
    bench.wrap = lambda client: ClumsyClient(client, error=lost, after=True)
    parked = bench.run()
    assert outcomes(parked) == {"a": Outcome.PENDING}
    assert parked.exit_code is ExitCode.UNAVAILABLE

    bench.wrap = lambda client: client
    report = bench.run()

    assert report.exit_code is ExitCode.OK
    # The engine may have been closed before it had the result: then it embeds the same task again.
    assert tasks_of(bench) == 1


def test_a_create_whose_answer_was_lost_is_looked_up_and_paid_for_once(bench: Bench) -> None:
    bench.write(entries("a", "b"))
    lost = SubmissionUnknown("the answer was lost")
    bench.wrap = lambda client: ClumsyClient(client, error=lost, after=True)

    report = bench.run(idempotent=False)

    assert (report.exit_code, report.adopted) == (ExitCode.OK, 1)
    assert sorted(embedded(bench)) == ["a", "b"]


class UnlistedClient(AsyncTasksClient):
    """A client of a service that has no listing; the answer to its first create is lost."""

    def __init__(self, inner: AsyncTasksClient, *, loses: bool) -> None:
        self.__dict__.update(inner.__dict__)
        self._loses = loses

    async def create(self, **arguments: Any) -> TasksCreateResponse:
        made = await super().create(**arguments)
        loses, self._loses = self._loses, False
        if loses:
            raise SubmissionUnknown("the answer was lost")
        return made

    async def list(self, **arguments: Any) -> AsyncPager:
        raise NotFoundError(status_code=404)


def test_where_a_repeat_could_be_paid_twice_the_video_is_held(bench: Bench) -> None:
    bench.write(entries("a", "b"))
    bench.wrap = lambda client: UnlistedClient(client, loses=True)
    first = bench.run(idempotent=False)
    bench.wrap = lambda client: UnlistedClient(client, loses=False)
    second = bench.run(idempotent=False)

    assert sorted(outcomes(first).values()) == [Outcome.COMMITTED, Outcome.PENDING]
    assert first.exit_code is second.exit_code is ExitCode.AGAIN
    assert second.submitted == 0
    assert "submission_unknown" in {
        reason.code for video in second.videos for reason in video.reasons
    }


def test_a_rate_limit_parks_the_run_and_the_next_goes_on(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    limit = RateLimitError(status_code=429, code="too_many_requests", retry_after_s=11382)
    bench.wrap = lambda client: ClumsyClient(client, error=limit, after=False)
    parked = bench.run()
    bench.wrap = lambda client: client
    too_early = bench.run()
    bench.now += 11_500
    after = bench.run()

    assert parked.exit_code is too_early.exit_code is ExitCode.AGAIN
    assert parked.parked is not None
    assert parked.parked.until == pytest.approx(1_000_000 + 11_382, abs=60)
    assert dict(too_early.requests) == {}
    assert after.exit_code is ExitCode.OK
    assert sorted({Path(name).stem for name in embedded(bench)}) == list(FILMS)


def test_a_drained_run_commits_what_it_retrieved(bench: Bench) -> None:
    bench.write(entries(*FILMS), more="concurrency: {tasks: 1}\n")

    drained = bench.run(
        stop_when=lambda event: isinstance(event, Moved) and event.state is State.STAGED
    )

    assert sorted(outcomes(drained).values()) == ["committed", "pending", "pending"]
    assert drained.exit_code is ExitCode.AGAIN
    assert len({row["video_id"] for row in bench.rows().to_pylist()}) == 1
    assert bench.run().exit_code is ExitCode.OK
    assert sorted(embedded(bench)) == list(FILMS)


class LosingClient(AsyncTasksClient):
    """A client of a service that has forgotten, or that answers with something else."""

    def __init__(self, inner: AsyncTasksClient, *, status: Any = None, body: Any = None) -> None:
        self.__dict__.update(inner.__dict__)
        self._status = status
        self._body = body

    async def status(self, task_id: str, **options: Any) -> TasksStatusResponse:
        if self._status is not None:
            raise self._status
        return await super().status(task_id, **options)

    async def retrieve_body(self, task_id: str, **options: Any) -> bytearray:
        if isinstance(self._body, Exception):
            raise self._body
        if self._body is not None:
            return bytearray(self._body)
        return await super().retrieve_body(task_id, **options)


class StuckClient(AsyncTasksClient):
    """A client of a service that never ends a task."""

    def __init__(self, inner: AsyncTasksClient) -> None:
        self.__dict__.update(inner.__dict__)

    async def status(self, task_id: str, **options: Any) -> TasksStatusResponse:
        return TasksStatusResponse(id=task_id, status="processing")


async def at_once(_seconds: float) -> None:
    """Sleep no time."""
    await asyncio.sleep(0)


GONE = NotFoundError(status_code=404, code="resource_not_exist", message="no such task")


def test_a_task_that_the_service_lost_fails_its_video_and_can_be_sent_again(bench: Bench) -> None:
    bench.write(entries("a"), more="on_lost: fail\n")
    bench.wrap = lambda client: LosingClient(client, status=GONE)
    report = bench.run()

    assert outcomes(report) == {"a": Outcome.FAILED}
    assert [reason.code for reason in report.videos[0].reasons] == ["task_lost"]

    again = bench.run(retry="failed")
    assert again.submitted == 1


def test_a_task_that_was_called_lost_and_is_there_is_not_paid_for_again(bench: Bench) -> None:
    bench.write(entries("a"), more="on_lost: fail\n")
    bench.wrap = lambda client: LosingClient(client, status=GONE)
    bench.run()
    bench.wrap = lambda client: client

    found = bench.run(retry="failed")

    assert (found.exit_code, found.submitted) == (ExitCode.OK, 0)
    assert embedded(bench) == ["a"]


def test_results_that_are_denied_of_a_task_that_is_there_stay_for_the_next_run(
    bench: Bench,
) -> None:
    bench.write(entries("a"))
    bench.wrap = lambda client: LosingClient(client, body=GONE)
    denied = bench.run()
    bench.wrap = lambda client: client

    assert (outcomes(denied), denied.exit_code) == ({"a": Outcome.PENDING}, ExitCode.AGAIN)
    assert bench.run().submitted == 0
    assert embedded(bench) == ["a"]


def test_a_limit_of_creates_holds_whoever_waits_for_the_pool(bench: Bench) -> None:
    bench.write(entries(*FILMS), more="concurrency: {uploads: 1}\n")

    assert bench.run(limit=1).submitted == 1
    assert bench.run(limit=1).submitted == 1
    assert bench.run().exit_code is ExitCode.OK


def test_videos_that_a_run_is_not_asked_for_stay_as_they_are_told(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    bench.run()
    told = (bench.output / "_batchembed" / "videos.jsonl").read_bytes()

    report = bench.run(only=FILMS[:1])

    assert not report.published
    assert (bench.output / "_batchembed" / "videos.jsonl").read_bytes() == told
    assert report.exit_code is ExitCode.OK


def test_a_lost_task_is_created_once_more_where_the_manifest_says_so(bench: Bench) -> None:
    bench.write(entries("a"), more="on_lost: resubmit\n")
    bench.wrap = lambda client: LosingClient(client, status=GONE)

    report = bench.run()

    assert (outcomes(report), report.submitted) == ({"a": Outcome.FAILED}, 2)
    assert bench.run().submitted == 0


@pytest.mark.parametrize(
    "body",
    [
        b"[",
        b'{"status": "ready", "video_embedding": {"segments": []}}',
        (
            b'{"video_embedding": {"segments": [{"start_offset_sec": 0, "end_offset_sec": 6,'
            b' "embedding_option": "audio", "embedding_scope": "clip", "float": [1, 2]}]}}'
        ),
    ],
    ids=["no json", "no segments", "another dimension"],
)
def test_an_answer_that_breaks_a_check_fails_its_video_and_is_kept(
    bench: Bench, body: bytes
) -> None:
    bench.write(entries("a"))
    bench.wrap = lambda client: LosingClient(client, body=body)

    report = bench.run()

    assert outcomes(report) == {"a": Outcome.FAILED}
    (kept,) = bench.folder.glob(".batchembed/*/staging/*.answer.json")
    assert kept.read_bytes() == body
    assert str(kept) in (report.videos[0].reasons[0].hint or "")
    bench.wrap = lambda client: client
    assert bench.run(retry="failed").exit_code is ExitCode.OK
    assert not kept.exists()


def test_a_kept_answer_is_cut_of_what_signs_a_url(bench: Bench) -> None:
    bench.write(entries("a"))
    body = (
        b'{"status": "ready", "video_embedding":'
        b' {"metadata": {"input_url": "https://e.com/a?X-Amz-Signature=S"}}}'
    )
    bench.wrap = lambda client: LosingClient(client, body=body)
    bench.run()
    (kept,) = bench.folder.glob(".batchembed/*/staging/*.answer.json")
    assert kept.read_bytes() == body.replace(b"?X-Amz-Signature=S", b"")


def test_a_task_that_does_not_end_is_left_to_the_next_run(bench: Bench) -> None:
    bench.write(entries("a"), more="polling: {deadline_s: 1}\n")
    bench.wrap = StuckClient
    bench.sleep = at_once
    report = bench.run()
    assert (outcomes(report), report.exit_code) == ({"a": Outcome.PENDING}, ExitCode.AGAIN)
    assert [reason.code for reason in report.videos[0].reasons] == ["task_deadline"]

    bench.wrap = lambda client: client
    assert bench.run().exit_code is ExitCode.OK
    assert embedded(bench) == ["a"]


def test_a_run_that_ends_nothing_for_another_reason_than_the_last_publishes_nothing(
    bench: Bench,
) -> None:
    bench.write(entries("a", "b"))
    bench.run(only=["b"])
    bench.wrap = StuckClient
    bench.sleep = at_once
    limits = ("polling.longest_wait_s=1", "polling.deadline_s=1")
    first = bench.run(overrides=limits)
    longer = bench.run(overrides=(limits[0], "polling.deadline_s=2"))

    said = [report.videos[0].reasons[0].message.partition(": ")[2] for report in (first, longer)]
    assert said == ["still processing after 1 s", "still processing after 2 s"]
    assert (longer.published, longer.record) == (False, first.record)
    (pending, _) = side_file(bench, "videos.jsonl")
    assert (pending["outcome"], pending["reasons"]) == ("pending", [])


def test_a_file_that_is_being_written_is_not_sent(bench: Bench) -> None:
    bench.write(entries("a"))

    def changing(path: str) -> str:
        digest = sha256_file(path)
        with Path(path).open("ab") as file:
            file.write(b"more")
        return digest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batchembed.runner.survey.sha256_file", changing)
        report = bench.run()

    assert (outcomes(report), report.submitted) == ({"a": Outcome.PENDING}, 0)
    assert report.videos[0].reasons[0].code == "video_file_changed"
    assert bench.run().exit_code is ExitCode.OK


def test_a_run_stopped_in_an_edit_drops_no_committed_row(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    bench.run()
    before = bench.parts()

    edit = ["defaults.video_clip_length=3"]
    drained = bench.run(
        overrides=edit,
        stop_when=lambda event: isinstance(event, Moved) and event.state is State.SUBMITTING,
    )

    assert Outcome.PENDING in outcomes(drained).values()
    assert {row["video_id"] for row in bench.rows().to_pylist()} == set(FILMS)
    ended = bench.run(overrides=edit)
    assert ended.exit_code is ExitCode.OK
    assert bench.parts().keys().isdisjoint(before)


def test_a_broken_answer_to_an_edit_drops_no_committed_row(bench: Bench) -> None:
    bench.write(entries("a"))
    bench.run()
    before = bench.parts()

    edit = ["defaults.video_clip_length=3"]
    bench.wrap = lambda client: LosingClient(client, body=b'{"status": "ready"}')
    broken = [bench.run(overrides=edit), bench.run(overrides=edit)]

    assert [outcomes(report)["a"] for report in broken] == [Outcome.FAILED] * 2
    assert bench.parts() == before
    bench.wrap = lambda client: client
    assert bench.run(overrides=edit, retry="failed").exit_code is ExitCode.OK
    assert bench.parts().keys().isdisjoint(before)


def test_a_task_that_fails_for_its_video_takes_the_rows_of_before_an_edit(bench: Bench) -> None:
    bench.write(entries("a"))
    bench.run()
    bench.pool = InstantPool(fails=True)

    assert outcomes(bench.run(overrides=["defaults.video_clip_length=3"])) == {"a": Outcome.FAILED}
    assert bench.parts() == {}


@pytest.mark.parametrize(("policy", "rows"), [("keep", 8), ("drop", 6)])
def test_rows_of_a_video_that_is_skipped_now_are_kept_or_dropped_as_asked(
    bench: Bench, policy: str, rows: int
) -> None:
    bench.write(entries(*FILMS))
    bench.run()

    skipped = entries("a", "c") + '  - {video_file: v/b.mp4, id: b, skip: "faces"}\n'
    bench.write(skipped, more=f"on_removed: {policy}\n")

    assert bench.run().rows == rows


def test_kept_rows_take_the_metadata_that_the_manifest_gives_them_now(bench: Bench) -> None:
    bench.write(entries("a", "b"))
    bench.run()

    (bench.folder / "v" / "b.mp4").unlink()
    bench.write(
        "  - {video_file: v/a.mp4, id: a, metadata: {city: Oslo, n: 1}}\n"
        "  - {video_file: v/b.mp4, id: b, metadata: {city: Bonn, n: 2}}\n"
    )
    report = bench.run(overrides=["output.partition_by=[city]"])

    assert (outcomes(report)["b"], report.rows) == (Outcome.REJECTED, 6)
    assert {path.split("/")[0] for path in bench.parts()} == {"city=Oslo", "city=Bonn"}


def test_a_run_from_another_state_folder_finds_the_output_locked(bench: Bench) -> None:
    bench.write(entries("a"))
    bench.run()

    with (
        run_lock(bench.output / "_batchembed" / "lock"),
        pytest.raises(LockedError, match="another run holds"),
    ):
        bench.run()


def test_an_engine_that_cannot_write_ends_the_run_instead_of_being_waited_for(
    bench: Bench,
) -> None:
    bench.write(entries(*FILMS))

    def remove_results(event: Event) -> None:
        if isinstance(event, Moved) and event.state is State.SUBMITTING:
            for folder in bench.folder.glob(".batchembed/*/engine/results"):
                shutil.rmtree(folder)

    report = bench.run(heard=Heard(then=remove_results))

    # As the failed write, or as the engine's refusal of what came after it: whichever was first.
    assert report.exit_code in {ExitCode.IO, ExitCode.UNAVAILABLE}
    assert "engine" in (report.halted or "")


def test_what_the_engine_warns_of_stays_with_the_rows(bench: Bench) -> None:
    bench.pool = InstantPool(warns=True)
    bench.write(entries("b"))

    first, second = bench.run(), bench.run()

    assert [w.code for w in first.videos[0].warnings] == ["frames_corrupt"]
    assert second.videos[0].warnings == first.videos[0].warnings
    assert not second.published


def test_an_address_without_the_api_fails_no_video(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    nowhere = NotFoundError(status_code=404, message="page not found")
    bench.wrap = lambda client: ClumsyClient(client, error=nowhere, after=False)
    halted = bench.run()
    assert halted.exit_code is ExitCode.UNAVAILABLE
    assert Outcome.FAILED not in outcomes(halted).values()
    assert halted.record is None


def test_a_video_of_the_same_content_as_a_refused_one_is_told_as_refused(bench: Bench) -> None:
    shutil.copy(bench.folder / "v" / "a.mp4", bench.folder / "v" / "twin.mp4")
    bench.write(entries("a", "twin"))
    nowhere = NotFoundError(status_code=404, message="page not found")
    bench.wrap = lambda client: ClumsyClient(client, error=nowhere, after=False)

    one, twin = bench.run().videos

    assert one.job_key is not None
    assert (one.job_key, one.entry, one.reasons) == (twin.job_key, twin.entry, twin.reasons)
    assert [reason.code for reason in twin.reasons] == ["http_404"]


def test_a_run_that_ends_early_still_leaves_a_list_of_what_was_rejected(bench: Bench) -> None:
    bench.write(entries("a", "gone"))
    nowhere = NotFoundError(status_code=404, message="page not found")
    bench.wrap = lambda client: ClumsyClient(client, error=nowhere, after=False)

    report = bench.run()

    assert (report.exit_code, report.record, report.rows) == (ExitCode.UNAVAILABLE, 1, 0)
    assert [line["video_id"] for line in side_file(bench, "failures.jsonl")] == ["gone"]


def test_a_video_that_is_staged_and_not_asked_for_is_not_told_as_committed(bench: Bench) -> None:
    bench.write(entries("a", "b"))
    bench.run(only=["a"])

    def killed(event: Event) -> None:
        if isinstance(event, Moved) and event.state is State.STAGED:
            raise KilledError

    with pytest.raises(BaseExceptionGroup):
        bench.run(heard=Heard(then=killed))

    report = bench.run(only=["a"])

    (b,) = (video for video in report.videos if video.video.video_id == "b")
    assert b.entry is not None
    assert (b.entry.state, b.outcome, b.rows) == (State.STAGED, Outcome.PENDING, 0)
    assert report.exit_code is ExitCode.AGAIN
    assert set(bench.rows()["video_id"].to_pylist()) == {"a"}

    bench.wrap = lambda client: client
    assert bench.run().exit_code is ExitCode.OK


def test_a_file_moved_while_its_task_waited_is_sent_again(bench: Bench) -> None:
    bench.write("  - {glob: 'v/b*.mp4'}\n", more="on_removed: drop\n")
    bench.pool = InstantPool(hangs=True)
    bench.run(stop_when=lambda event: isinstance(event, Moved) and event.state == "processing")
    (bench.folder / "v" / "b.mp4").rename(bench.folder / "v" / "b2.mp4")

    bench.pool = InstantPool()
    bench.run()
    assert bench.run().exit_code is ExitCode.OK


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("state", ["submitting", "processing", "ready", "staged"])
def test_a_run_that_ends_after_any_move_is_gone_on_with(bench: Bench, state: str) -> None:
    bench.write(entries(*FILMS))

    def end(event: Event) -> None:
        if isinstance(event, Moved) and event.state == state:
            raise KilledError

    try:
        bench.run(heard=Heard(then=end))
    except* KilledError:
        pass
    report = bench.run()

    assert report.exit_code is ExitCode.OK
    assert sorted(set(embedded(bench))) == list(FILMS)
    assert report.rows == 8
    fresh = replace(bench, folder=bench.folder / "fresh", pool=InstantPool())
    fresh.folder.mkdir()
    shutil.copytree(bench.folder / "v", fresh.folder / "v")
    fresh.write(entries(*FILMS))
    fresh.run()
    assert bench.parts() == fresh.parts()


def test_a_kept_videos_columns_keep_their_types(bench: Bench) -> None:
    bench.write("  - {video_file: v/a.mp4, id: a, metadata: {gain: 1.0, big: 1.0e+300}}\n")
    bench.run()
    before = bench.rows().schema

    bench.write(entries("b"))
    bench.run()
    report = bench.run()

    assert not report.published
    assert bench.rows().schema.field("gain").type == before.field("gain").type
    assert {row["big"] for row in bench.rows().to_pylist()} == {1e300, None}


def test_parts_that_are_gone_are_made_again_as_they_were(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    bench.run()
    before = bench.parts()
    embedded(bench)

    for path in before:
        (bench.output / path).unlink()
    report = bench.run()

    assert (report.exit_code, report.submitted) == (ExitCode.OK, 0)
    assert bench.parts() == before
    assert bench.run().published is False


class UntilLookedAt(AsyncTasksClient):
    """A client that creates nothing before somebody has looked whether a record is due."""

    def __init__(self, inner: AsyncTasksClient, looked: asyncio.Event) -> None:
        self.__dict__.update(inner.__dict__)
        self._looked = looked

    async def create(self, **arguments: Any) -> TasksCreateResponse:
        await self._looked.wait()
        return await super().create(**arguments)


def test_no_record_is_made_before_there_are_rows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(entries("a", "short"))
    looked, listed = asyncio.Event(), Publication.listed

    def look(publication: Publication) -> tuple[RowSpec, ...]:
        looked.set()
        return listed(publication)

    monkeypatch.setattr(Publication, "listed", look)
    bench.wrap = lambda client: UntilLookedAt(client, looked)
    heard = Heard()

    report = bench.run(heard=heard, overrides=["output.publish_every_s=1"])

    published = [event for event in heard.events if isinstance(event, Published)]
    assert [(event.number, event.rows) for event in published] == [(1, 4)]
    assert report.record == 1


def test_a_run_ends_whose_last_video_fills_a_group(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(entries(*FILMS))
    monkeypatch.setattr(GroupCutter, "takes", lambda *_: True)

    for _ in range(3):
        assert bench.run().exit_code is ExitCode.OK


def test_the_locks_are_held_until_a_publish_has_ended_whoever_is_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(entries("a"))
    publish, taken = Dataset.publish, []
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    def find_the_run(_event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # told from a thread
            loop = asyncio.get_running_loop()
            running[:] = [(loop, task) for task in asyncio.all_tasks(loop) if is_the_run(task)]

    def is_the_run(task: asyncio.Task[Any]) -> bool:
        return getattr(task.get_coro(), "__name__", "") == "once"

    def publish_slowly(dataset: Dataset, *args: Any, **kwargs: Any) -> Any:
        loop, task = running[0]
        loop.call_soon_threadsafe(task.cancel)
        for thread in threading.enumerate():
            if thread.name == "ledger":
                thread.join(10)
        for _ in range(30):  # the loop may still be on its way to the locks
            threading.Event().wait(0.01)
            with (
                contextlib.suppress(LockedError),
                run_lock(bench.output / "_batchembed" / "lock"),
            ):
                taken.append("while it writes")
        return publish(dataset, *args, **kwargs)

    monkeypatch.setattr(Dataset, "publish", publish_slowly)
    with pytest.raises(asyncio.CancelledError):
        bench.run(heard=Heard(then=find_the_run))
    monkeypatch.undo()

    assert running
    assert not taken
    assert bench.run().exit_code is ExitCode.OK
