"""What is told of a video without its rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchembed.core.model import JobKey, VideoId
from batchembed.dataset.matching import Change, video_changes
from batchembed.dataset.record import RowSpec

SPEC = RowSpec(
    video_id=VideoId("x"),
    source="x.mp4",
    source_sha256="aa",
    job_key=JobKey("j1"),
    rows_sha256="r",
    rows=(("audio", 0), ("visual-text", 3)),
    options=None,
    duration_sec=6.0,
    width=640,
    height=360,
    metadata={"n": 1},
)
URL = replace(SPEC, source_sha256=None)


def changes(a: RowSpec, b: RowSpec, *, same_model: bool = True) -> tuple[Change, ...]:
    return video_changes(a, b, same_model=same_model)


def test_nothing_is_told_of_the_same() -> None:
    assert changes(SPEC, replace(SPEC, rows_sha256="other")) == ()


@pytest.mark.parametrize(
    ("a", "what"),
    [
        pytest.param(SPEC, "parameters, by job_key", id="the content is known to be the same"),
        pytest.param(URL, "job_key", id="it is not known"),
    ],
)
def test_another_job_is_told_by_what_is_known_of_it(a: RowSpec, what: str) -> None:
    b = replace(a, job_key=JobKey("j2"))

    assert changes(a, b) == (Change(what=what, a="j1", b="j2"),)
    assert changes(a, b, same_model=False) == ()


def test_other_content_is_told_and_not_the_job_that_follows_from_it() -> None:
    b = replace(SPEC, source_sha256="bb", job_key=JobKey("j2"))

    assert changes(SPEC, b) == (Change(what="source_sha256", a="aa", b="bb"),)


def test_an_option_counts_where_it_has_rows() -> None:
    asked = replace(SPEC, options=("visual-text",))
    more = replace(SPEC, rows=(("audio", 2), ("visual-text", 4)))

    assert changes(SPEC, asked) == ()
    assert changes(asked, more) == (
        Change(what="embedding_option", a="visual-text", b="audio, visual-text"),
        Change(what="rows of visual-text", a=3, b=4),
    )


def test_metadata_is_compared_by_value_and_true_is_no_number() -> None:
    assert changes(SPEC, replace(SPEC, metadata={"n": 1.0})) == ()
    assert changes(SPEC, replace(SPEC, metadata={"n": True, "m": ""})) == (
        Change(what="metadata.m", a=None, b=""),
        Change(what="metadata.n", a=1, b=True),
    )
