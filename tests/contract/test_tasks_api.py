"""One behaviour of the Embed API, whichever way it is reached: in process, or over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest

from batchembed.api.client import AsyncTasksClient
from batchembed.api.retry import PollPolicy
from batchembed.errors import ApiError, BadRequestError, NotFoundError
from tests.support.engines import InstantPool, in_process, on_loopback
from tests.support.media import make_video

T = TypeVar("T")

Opener: TypeAlias = Callable[..., AbstractAsyncContextManager[AsyncTasksClient]]
Use: TypeAlias = Callable[[AsyncTasksClient], Awaitable[T]]

QUICK = PollPolicy(first_wait_s=0.001, longest_wait_s=0.02, deadline_s=20)


@pytest.fixture(params=[in_process, on_loopback], ids=["in process", "on loopback"])
def opener(request: pytest.FixtureRequest) -> Opener:
    opened: Opener = request.param
    return opened


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    make_video(path, seconds=15.0, audio=True)
    return path


def using(opener: Opener, folder: Path, use: Use[T], pool: InstantPool | None = None) -> T:
    async def run() -> T:
        async with opener(folder, pool) as client:
            return await use(client)

    return asyncio.run(run())


def test_a_video_goes_the_whole_way(opener: Opener, film: Path, tmp_path: Path) -> None:
    async def use(client: AsyncTasksClient) -> Any:
        made = await client.create(
            model_name="local-v1", video_file=film, video_embedding_scope=["clip", "video"]
        )
        assert made.id is not None
        status = await client.wait_for_done(made.id, policy=QUICK)
        return status, await client.retrieve(made.id), await client.list_page()

    status, answer, listing = using(opener, tmp_path, use)

    assert status.status == "ready"
    assert status.model_name == "local-v1"
    metadata = status.video_embedding.metadata
    assert (metadata.input_filename, metadata.video_clip_length) == ("film.mp4", 6.0)
    assert (metadata.video_embedding_scope, metadata.duration) == (["clip", "video"], 15.0)
    assert [
        (seg.start_offset_sec, seg.end_offset_sec, seg.embedding_option, seg.embedding_scope)
        for seg in answer.video_embedding.segments
    ] == [
        (start, end, option, scope)
        for option in ("visual-text", "audio")
        for start, end, scope in (
            (0.0, 6.0, "clip"),
            (6.0, 12.0, "clip"),
            (12.0, 15.0, "clip"),
            (0.0, 15.0, "video"),
        )
    ]
    assert {len(seg.float_) for seg in answer.video_embedding.segments} == {1024}
    assert answer.created_at.tzinfo is not None
    assert [task.id for task in listing.data] == [status.id]
    assert listing.page_info.total_results == 1


def test_options_are_chosen_at_retrieval(opener: Opener, film: Path, tmp_path: Path) -> None:
    async def use(client: AsyncTasksClient) -> Any:
        made = await client.create(model_name="local-v1", video_file=film)
        await client.wait_for_done(made.id or "", policy=QUICK)
        return await client.retrieve(made.id or "", embedding_option="audio")

    answer = using(opener, tmp_path, use)

    assert {seg.embedding_option for seg in answer.video_embedding.segments} == {"audio"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            {"video_clip_length": 1},
            "parameter_invalid",
            (
                "The video_clip_length parameter is invalid. "
                "video_clip_length should be within 2-10 seconds long"
            ),
        ),
        (
            {"video_start_offset_sec": 8, "video_end_offset_sec": 8},
            "parameter_invalid",
            (
                "The video_end_offset_sec parameter is invalid. "
                "video_end_offset_sec should be greater than video_start_offset_sec"
            ),
        ),
        ({"video_start_offset_sec": 0}, "parameter_invalid", "or neither"),
        ({"video_end_offset_sec": 8}, "parameter_invalid", "or neither"),
        (
            {"video_start_offset_sec": 0, "video_end_offset_sec": 15.1},
            "parameter_invalid",
            "past the end",
        ),
        ({"video_clip_length": "six"}, "parameter_invalid", "'six' is no number"),
        ({"video_clip_length": "nan"}, "parameter_invalid", "'nan' is no number"),
        ({"video_embedding_scope": ["video"]}, "parameter_invalid", "[clip] or [clip, video]"),
        ({"model_name": "Marengo-retrieval-2.7"}, "parameter_invalid", "This engine has local-v1"),
        ({"video_url": "https://e.com/a.mp4"}, "parameter_invalid", "fetches no URL"),
    ],
)
def test_a_wrong_create_gets_the_documents_code(
    opener: Opener, film: Path, tmp_path: Path, arguments: dict[str, Any], code: str, words: str
) -> None:
    asked = {"model_name": "local-v1", "video_file": film, **arguments}

    with pytest.raises(BadRequestError) as caught:
        using(opener, tmp_path, lambda client: client.create(**asked))

    assert caught.value.code == code
    assert words in (caught.value.server_message or "")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        ({"seconds": 3.0}, "video_duration_too_short"),
        ({"width": 320, "height": 240}, "video_resolution_too_low"),
        ({"width": 720, "height": 360}, "video_resolution_invalid_aspect_ratio"),
    ],
)
def test_the_uploads_own_limits_are_measured(
    opener: Opener, tmp_path: Path, make: dict[str, Any], code: str
) -> None:
    path = tmp_path / "a.mp4"
    make_video(path, **make)

    with pytest.raises(BadRequestError) as caught:
        using(
            opener,
            tmp_path / "engine",
            lambda client: client.create(model_name="local-v1", video_file=path),
        )

    assert caught.value.code == code
    assert list((tmp_path / "engine" / "uploads").glob("*")) == []


def test_bytes_that_are_no_video_are_refused(opener: Opener, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("#EXTM3U\n")

    with pytest.raises(BadRequestError) as caught:
        using(
            opener,
            tmp_path / "engine",
            lambda client: client.create(model_name="local-v1", video_file=path),
        )

    assert caught.value.code == "video_file_broken"


def test_a_failed_task_says_why(opener: Opener, film: Path, tmp_path: Path) -> None:
    async def use(client: AsyncTasksClient) -> Any:
        made = await client.create(model_name="local-v1", video_file=film)
        return await client.wait_for_done(made.id or "", policy=QUICK)

    status = using(opener, tmp_path, use, InstantPool(fails=True))

    assert status.status == "failed"
    assert (status.error.code, status.error.message) == ("video_file_broken", "the film is torn")


@pytest.mark.parametrize("task_id", ["0" * 24, "a/b", "..", "é"])
def test_an_unknown_task_is_not_found(opener: Opener, tmp_path: Path, task_id: str) -> None:
    async def use(client: AsyncTasksClient) -> None:
        with pytest.raises((NotFoundError, BadRequestError)):
            await client.status(task_id)
        with pytest.raises((NotFoundError, BadRequestError)):
            await client.retrieve(task_id)

    using(opener, tmp_path, use)


def test_a_repeated_create_of_one_key_is_one_task(
    opener: Opener, film: Path, tmp_path: Path
) -> None:
    async def use(client: AsyncTasksClient) -> Any:
        first, again = [
            await client.create(
                model_name="local-v1", video_file=(name, film), idempotency_key="key"
            )
            for name in ("a.mp4", "b.mp4")
        ]
        with pytest.raises(ApiError) as caught:
            await client.create(
                model_name="local-v1",
                video_file=film,
                video_clip_length=5,
                idempotency_key="key",
            )
        return first, again, caught.value, await client.list_page()

    first, again, refused, listing = using(opener, tmp_path, use)

    assert first.id == again.id
    assert refused.status_code == 422
    assert listing.page_info.total_results == 1


def test_tasks_survive_their_engine(opener: Opener, film: Path, tmp_path: Path) -> None:
    async def create(client: AsyncTasksClient) -> Any:
        made = await client.create(model_name="local-v1", video_file=film)
        return made.id, (await client.status(made.id or "")).status

    task_id, status = using(opener, tmp_path, create, InstantPool(hangs=True))
    done = using(opener, tmp_path, lambda client: client.wait_for_done(task_id, policy=QUICK))

    assert (status, done.status) == ("processing", "ready")


def test_a_listing_is_paged_newest_first(opener: Opener, film: Path, tmp_path: Path) -> None:
    async def use(client: AsyncTasksClient) -> Any:
        made = [(await client.create(model_name="local-v1", video_file=film)).id for _ in range(5)]
        for task_id in made:
            await client.wait_for_done(task_id or "", policy=QUICK)
        pages = [await client.list_page(page=page, page_limit=2) for page in (1, 2, 3)]
        none = await client.list_page(status="failed")
        with pytest.raises(BadRequestError):
            await client.list_page(page_limit=51)
        return made, pages, none

    made, pages, none = using(opener, tmp_path, use)

    assert [task.id for page in pages for task in page.data] == made[::-1]
    assert [page.page_info.total_page for page in pages] == [3, 3, 3]
    assert none.data == []
