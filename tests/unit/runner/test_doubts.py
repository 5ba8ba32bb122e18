"""What the service says of a task that a person names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.core.model import TaskId
from batchembed.core.reconcile import Listed, Listing
from batchembed.errors import UsageError
from batchembed.runner.doubts import name_of
from batchembed.runner.tasks_listed import NoListingError
from tests.unit.runner.fake_tasks import FakeTasks, run

LISTED = Listed(
    task_id=TaskId("t1"),
    status="ready",
    model_name=None,
    created_at=None,
    input_filename="bb1-d-e-1.mp4",
    url_digest=None,
    video_clip_length=None,
    video_embedding_scope=None,
)


async def listing() -> Listing:
    return Listing(tasks=(LISTED,), complete=True)


async def no_listing() -> Listing:
    raise NoListingError


@pytest.mark.parametrize(
    ("read", "name"), [(listing, "bb1-d-e-1.mp4"), (no_listing, None)], ids=["listed", "no listing"]
)
def test_a_status_without_a_name_is_made_up_for_by_a_listing(
    read: Callable[[], Awaitable[Listing]], name: str | None
) -> None:
    async def ask() -> str | None:
        tasks = FakeTasks()
        tasks.create("t1", takes_s=0.0)
        return await name_of(cast("AsyncTasksClient", tasks), read, TaskId("t1"))

    assert run(ask()) == name


def test_a_task_that_the_service_does_not_have_has_no_name() -> None:
    async def ask() -> str | None:
        return await name_of(cast("AsyncTasksClient", FakeTasks()), listing, TaskId("t2"))

    with pytest.raises(UsageError, match="the service has no task t2"):
        run(ask())
