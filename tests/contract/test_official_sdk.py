"""What the official SDK has beside the document: bulk creates, raw answers, and how it sees an error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import twelvelabs
import twelvelabs.core.api_error
from twelvelabs.wrapper.embed_client_wrapper import CreateEmbeddingsTaskVideoParams

from tests.support.apis import KEY, sdk
from tests.support.engines import served_from_a_thread
from tests.support.media import make_video


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_video(tmp_path_factory.mktemp("films") / "film.mp4", seconds=7.0).read_bytes()


def videos(film: bytes) -> list[CreateEmbeddingsTaskVideoParams]:
    return [
        CreateEmbeddingsTaskVideoParams(video_file=("a.mp4", film)),
        CreateEmbeddingsTaskVideoParams(video_file=("broken.mp4", b"no video")),
        CreateEmbeddingsTaskVideoParams(video_file=("c.mp4", film), video_clip_length=5),
    ]


def test_a_bulk_create_makes_what_can_be_made(
    film: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served_from_a_thread(tmp_path, api_key=KEY) as base_url, sdk(base_url) as client:
        made = client.embed.tasks.create_bulk(model_name="local-v1", videos=videos(film))
        names = [
            client.embed.tasks.status(task.id).video_embedding.metadata.input_filename
            for task in made
        ]

    assert names == ["a.mp4", "c.mp4"]
    assert "video_file_broken" in capsys.readouterr().out


def test_a_bulk_create_in_an_event_loop_makes_them_too(film: bytes, tmp_path: Path) -> None:
    async def use(base_url: str) -> int:
        client: Any = twelvelabs.AsyncTwelveLabs(api_key=KEY, base_url=base_url)
        try:
            made = await client.embed.tasks.create_bulk(model_name="local-v1", videos=videos(film))
        finally:
            await client._client_wrapper.httpx_client.httpx_client.aclose()
        return len(made)

    with served_from_a_thread(tmp_path, api_key=KEY) as base_url:
        assert asyncio.run(use(base_url)) == 2


def test_raw_answers_have_the_data_and_the_headers(film: bytes, tmp_path: Path) -> None:
    with served_from_a_thread(tmp_path, api_key=KEY) as base_url, sdk(base_url) as client:
        raw = client.embed.tasks.with_raw_response
        made = raw.create(model_name="local-v1", video_file=("a.mp4", film))
        task_id = made.data.id
        client.embed.tasks.wait_for_done(task_id, sleep_interval=0.02)
        status, answer = raw.status(task_id), raw.retrieve(task_id)
        pager = raw.list()

    assert status.data.status == "ready"
    assert status.headers["content-type"] == "application/json"
    assert len(answer.data.video_embedding.segments) == 1
    assert [task.id for task in pager.items] == [task_id]


def test_an_explicit_none_is_an_empty_part_that_counts_as_not_given(
    film: bytes, tmp_path: Path
) -> None:
    with served_from_a_thread(tmp_path, api_key=KEY) as base_url, sdk(base_url) as client:
        made = client.embed.tasks.create(
            model_name="local-v1",
            video_file=("a.mp4", film),
            video_url=None,
            video_start_offset_sec=None,
            video_end_offset_sec=None,
            video_clip_length=None,
            video_embedding_scope=None,
        )
        status = client.embed.tasks.status(made.id)

    assert status.video_embedding.metadata.video_clip_length == 6.0


def test_a_wrong_key_is_told_as_the_service_tells_it(tmp_path: Path) -> None:
    with (
        served_from_a_thread(tmp_path, api_key=KEY) as base_url,
        sdk(base_url, api_key="tlk_other") as client,
        pytest.raises(twelvelabs.core.api_error.ApiError) as caught,
    ):
        client.embed.tasks.status("0" * 24)

    assert caught.value.status_code == 401
    assert caught.value.body["code"] == "api_key_invalid"
