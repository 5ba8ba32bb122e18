"""What a locked run refuses while it is at work, and what it says then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchembed.core.build_lock import BuildLock, LockedPart, ended_video
from batchembed.core.lock_differences import BuildDiffersError
from batchembed.core.model import Content, Job, JobKey
from batchembed.core.outcome import Outcome
from batchembed.core.problems import Reason
from batchembed.dataset.folder import Folder
from batchembed.dataset.record import Part
from batchembed.errors import DatasetError
from batchembed.runner.locked import LockedBuild, found_video
from batchembed.runner.survey import Surveyed
from tests.support.locks import ENGINE, a_lock, a_locked_video, a_part
from tests.unit.report.reports import a_video

PARTS = (a_part("1"), a_part("2"))


def locked(lock: BuildLock) -> LockedBuild:
    return LockedBuild(file="m.lock.json", lock=lock, engine=ENGINE)


def found(name: str, digest: str) -> Surveyed:
    ended = a_video(name, Outcome.PENDING)
    job = Job(
        job_key=JobKey("k" + digest),
        content=Content(kind="sha256", digest=digest),
        source=ended.video.source,
        parameters=ended.video.parameters,
        facts=ended.facts,
    )
    return Surveyed(video=ended.video, job=job, facts=ended.facts, identity=None)


def published(part: LockedPart) -> Part:
    return Part(path=part.path, partition=(), rows=part.rows, bytes=part.bytes, sha256=part.sha256)


def test_a_video_that_changes_after_it_was_compared_is_not_sent() -> None:
    build = locked(a_lock(found_video(found("a", "1")), found_video(found("b", "2"))))
    build.require_input(found("a", "1"))

    with pytest.raises(BuildDiffersError, match="while the run was at work") as raised:
        build.require_input(found("b", "3"))

    assert [str(each) for each in raised.value.differences] == [
        "video b: source_sha256: locked as 2, and now 3"
    ]


def test_a_video_that_its_store_denies_is_neither_as_locked_nor_another() -> None:
    reason = Reason(code="video_file_denied", message="permission denied")
    denied = replace(found("a", "1"), job=None, facts=None, reasons=(reason,))
    locked(a_lock(found_video(found("a", "1")))).require_input(denied)


def test_a_video_that_has_no_job_is_rejected_with_its_code() -> None:
    reason = Reason(code="video_file_missing", message="there is no a")
    gone = replace(found("a", "1"), job=None, facts=None, reasons=(reason,))
    video = found_video(gone)
    assert (video.outcome, video.code) == (Outcome.REJECTED, "video_file_missing")
    assert (video.source_sha256, video.weak_identity, video.job_key) == (None, None, None)


def test_parts_that_are_as_locked_are_accepted_with_kept_rows_after_them() -> None:
    build = locked(a_lock(a_locked_video("a", rows=4), parts=PARTS))
    kept = a_part("3", folder="model_name=kept")
    build.require_parts([published(part) for part in (*PARTS, kept)])


@pytest.mark.parametrize(
    ("lock", "words"),
    [
        (a_lock(a_locked_video("a", rows=4), parts=PARTS), "something else changed it"),
        (
            a_lock(
                a_locked_video("a", rows=4),
                parts=PARTS,
                engine=replace(ENGINE, processor="aarch64", versions={**ENGINE.versions, "x": "1"}),
            ),
            "it was locked under another processor, x",
        ),
        (
            a_lock(
                a_locked_video("a", rows=4), parts=PARTS, engine=replace(ENGINE, kind="twelvelabs")
            ),
            "a hosted service may give other vectors",
        ),
    ],
    ids=["the same versions", "other versions", "a hosted service"],
)
def test_other_parts_are_refused_with_what_may_have_changed_them(
    lock: BuildLock, words: str
) -> None:
    with pytest.raises(BuildDiffersError, match=words) as raised:
        locked(lock).require_parts([published(part) for part in (PARTS[0], a_part("9"))])

    (difference,) = raised.value.differences
    assert (difference.locked, difference.now) == (str(PARTS[1]), str(a_part("9")))
    assert "the last record is as it was" in str(raised.value)


def test_a_part_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    build = locked(a_lock(a_locked_video("a", rows=4), parts=PARTS))
    with pytest.raises(DatasetError, match=r"part-1\.parquet can't be read: .*No such file"):
        build.require_bytes(Folder(tmp_path), [published(part) for part in PARTS])


def test_only_a_video_that_failed_now_is_to_be_tried_again() -> None:
    ended = a_video("a", Outcome.FAILED)
    was_failed = ended_video(ended)
    build = locked(a_lock(replace(was_failed, outcome=Outcome.COMMITTED, rows=2)))
    with pytest.raises(BuildDiffersError, match="--retry"):
        build.require_outcomes([ended])

    build = locked(a_lock(replace(was_failed, source="elsewhere.mp4")))
    with pytest.raises(BuildDiffersError, match="restore the lock file") as raised:
        build.require_outcomes([ended])
    assert "--retry" not in str(raised.value)
