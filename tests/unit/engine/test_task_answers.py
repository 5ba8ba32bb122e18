"""Tasks as the wire shows them."""

from __future__ import annotations

import pytest

from batchembed.core.model import Parameters
from batchembed.engine.tasks.task import Page, Task
from batchembed.engine.web.answers import answer, listing, status_of, without_segments


@pytest.mark.parametrize(
    ("clip_length", "written"), [(6, b"6"), (6.0, b"6"), (2.5, b"2.5"), (10.0, b"10")]
)
def test_a_clip_length_is_the_same_number_in_every_answer(
    clip_length: float, written: bytes
) -> None:
    """A task in memory has the 6 of the default, one from the table has 6.0."""
    task = Task(
        task_id="0" * 24,
        status="processing",
        created_at=1_000.0,
        parameters=Parameters(
            model_name="local-v1",
            video_clip_length=clip_length,
            video_embedding_scope=("clip",),
        ),
        request_digest="d",
    )
    page = listing(Page(tasks=(task,), total=1), 1, 10)

    for body in (status_of(task), without_segments(task), page):
        assert b'"video_clip_length":%s,' % written in bytes(answer(body).body)
