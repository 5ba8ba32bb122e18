"""What is said of a build that is not as it was locked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from batchembed.core.build_lock import LockedManifest, LockedVideo, leading_parts
from batchembed.core.lock_differences import (
    BuildDiffersError,
    Difference,
    differences,
    part_differences,
    version_differences,
)
from batchembed.core.outcome import Outcome
from batchembed.errors import ExitCode
from tests.support.locks import ENGINE, FACTS, PARAMETERS, a_lock, a_locked_video, a_part


def told(locked: LockedVideo, now: LockedVideo) -> list[str]:
    return [str(each) for each in differences(a_lock(locked), a_lock(now))]


def test_the_same_build_does_not_differ() -> None:
    lock = a_lock(a_locked_video("a"), a_locked_video("b"), parts=(a_part("1"),))
    assert differences(lock, lock) == ()
    assert part_differences(lock.parts, lock.parts) == ()
    assert version_differences(ENGINE, ENGINE) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": "w/a.mp4"}, "source: locked as v/a.mp4, and now w/a.mp4"),
        ({"weak_identity": "url:9"}, "weak_identity: locked as none, and now url:9"),
        ({"metadata": {"n": 1}}, "metadata.n: locked as none, and now 1"),
        ({"job_key": "9"}, f"job_key: locked as {'2' * 64}, and now 9"),
        (
            {"facts": replace(FACTS, duration_sec=7.5)},
            "facts.duration_sec: locked as 7, and now 7.5",
        ),
        (
            {"parameters": replace(PARAMETERS, video_start_offset_sec=2.0)},
            "parameters.video_start_offset_sec: locked as null, and now 2",
        ),
        ({"rows": 3}, "outcome: locked as committed with 2 rows, and now committed with 3 rows"),
        (
            {"outcome": Outcome.FAILED, "rows": 0, "code": "worker_crashed"},
            "outcome: locked as committed with 2 rows, and now failed",
        ),
        ({"outcome": Outcome.SKIPPED}, "outcome: locked as committed with 2 rows, and now skipped"),
    ],
    ids=[
        "source",
        "weak identity",
        "metadata",
        "job key",
        "facts",
        "parameters",
        "rows",
        "failed",
        "skipped",
    ],
)
def test_a_field_of_a_video_that_differs_is_named(change: dict[str, Any], words: str) -> None:
    video = a_locked_video("a")
    assert told(video, replace(video, **change)) == [f"video a: {words}"]


def test_an_integer_is_not_a_double_in_a_column() -> None:
    before, after = (a_locked_video("a", metadata={"n": n}) for n in (1, 1.0))
    assert told(before, after) == ["video a: metadata.n: locked as 1, and now 1.0"]


def test_parameters_are_numbers_however_they_are_written() -> None:
    before, after = (
        a_locked_video("a", parameters=replace(PARAMETERS, video_start_offset_sec=n))
        for n in (2, 2.0)
    )
    assert told(before, after) == []


def test_an_outcome_that_is_still_to_come_is_that_of_any_video_that_was_sent() -> None:
    unknown = a_locked_video("a", outcome=None, rows=0)
    assert told(a_locked_video("a"), unknown) == []
    assert told(a_locked_video("a", outcome=Outcome.FAILED, code="torn", rows=0), unknown) == []
    rejected = a_locked_video("a", outcome=Outcome.REJECTED, code="video_file_missing", rows=0)
    assert told(rejected, unknown) == [
        "video a: outcome: locked as rejected (video_file_missing), and now sent"
    ]


def test_why_a_service_failed_a_video_does_not_count_and_why_it_was_rejected_does() -> None:
    torn, crashed = (a_locked_video("a", outcome=Outcome.FAILED, code=code) for code in "tc")
    assert told(torn, crashed) == []
    low, short = (a_locked_video("a", outcome=Outcome.REJECTED, code=code) for code in "ls")
    assert told(low, short) == ["video a: outcome: locked as rejected (l), and now rejected (s)"]


def test_facts_that_are_not_known_on_one_side_are_not_listed_one_by_one() -> None:
    gone = a_locked_video("a", facts=None, source_sha256=None, outcome=Outcome.REJECTED, code="x")
    assert [each.partition(": locked")[0] for each in told(a_locked_video("a"), gone)] == [
        "video a: source_sha256",
        "video a: outcome",
    ]


def test_everything_that_differs_is_told_together() -> None:
    a, b, c, d = (a_locked_video(name) for name in "abcd")
    locked = a_lock(a, b, c)
    now = a_lock(
        replace(d, rows=9),
        c,
        replace(a, source_sha256="4" * 64),
        manifest=LockedManifest(name="renamed", sha256="5" * 64),
        model_name="local-v2",
        engine=replace(ENGINE, kind="twelvelabs", base_url="https://example.com", versions={}),
        partition_by=("model_name", "embedding_option"),
        dimension=512,
    )

    assert [each.what for each in differences(locked, now)] == [
        "manifest, its digest",
        "model_name",
        "engine",
        "engine.base_url",
        "output.partition_by",
        "dimension",
        "video d",
        "video a: source_sha256",
        "video b",
        "order of the videos",
    ]


def test_a_dimension_that_is_not_known_yet_does_not_differ() -> None:
    assert differences(a_lock(), a_lock(dimension=None)) == ()


def test_parts_are_compared_partition_by_partition() -> None:
    locked = (a_part("1", folder="o=a"), a_part("2", folder="o=a"), a_part("3", folder="o=b"))
    now = (a_part("1", folder="o=a"), a_part("4", folder="o=a", rows=1), a_part("5", folder="o=c"))

    assert part_differences(locked, now) == (
        Difference(what="part of o=a", locked=str(locked[1]), now=str(now[1])),
        Difference(what="part of o=b", locked=str(locked[2]), now=None),
        Difference(what="part of o=c", locked=None, now=str(now[2])),
    )
    assert str(now[1]) == f"part-4.parquet (1 rows, 6,000 bytes, sha256 4{'0' * 63})"


def test_versions_and_kind_of_processor_are_compared_apart() -> None:
    now = replace(ENGINE, processor="aarch64", versions={"pyav": "19.0.0", "numpy": "2"})
    assert list(map(str, version_differences(ENGINE, now))) == [
        "processor: locked as x86_64 avx2, and now aarch64",
        "numpy: not in the lock file, and now 2",
        "pyarrow: locked as 25.0.1, and now gone",
        "pyav: locked as 18.1.0, and now 19.0.0",
    ]
    assert differences(a_lock(), a_lock(engine=now)) == ()


@pytest.mark.parametrize(("rows", "count"), [(0, 0), (2, 1), (4, 2), (6, 3), (9, 3)])
def test_the_parts_of_kept_rows_come_after_those_of_the_manifest(rows: int, count: int) -> None:
    parts = tuple(a_part(name) for name in "123")
    assert leading_parts(parts, rows) == parts[:count]


def test_the_error_counts_what_differs_and_says_what_to_do() -> None:
    one = Difference(what="model_name", locked="a", now="b")
    error = BuildDiffersError("m.lock.json", [one, one], "nothing was sent: take it back")
    assert str(error) == "2 differences from m.lock.json: nothing was sent: take it back"
    assert error.exit_code is ExitCode.DIFFERENCE
    assert "1 difference from" in str(BuildDiffersError("m.lock.json", [one], "x"))
