"""One behaviour of the Embed API, whoever asks, and whichever way it is reached.

The suite runs with our clients and with the official `twelvelabs` SDK, which nobody here wrote.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.apis import WAYS, Api, OpenApi
from tests.support.engines import InstantPool
from tests.support.media import make_video

PACE_S = 0.02


@pytest.fixture(params=WAYS)
def open_api(request: pytest.FixtureRequest) -> OpenApi:
    return WAYS[request.param]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    make_video(path, seconds=15.0, audio=True)
    return path


def create(api: Api, film: Path, **arguments: Any) -> str:
    with film.open("rb") as file:
        made = api.call("create", model_name="local-v1", video_file=file, **arguments)
    task_id: str = made.id
    return task_id


def create_ready(api: Api, film: Path, **arguments: Any) -> str:
    task_id = create(api, film, **arguments)
    assert api.call("wait_for_done", task_id, sleep_interval=PACE_S).status == "ready"
    return task_id


def test_a_video_goes_the_whole_way(open_api: OpenApi, film: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    with open_api(tmp_path) as api:
        task_id = create(api, film, video_embedding_scope=["clip", "video"])
        done = api.call(
            "wait_for_done",
            task_id,
            sleep_interval=PACE_S,
            callback=lambda task: seen.append(task.status),
        )
        status = api.call("status", task_id)
        answer = api.call("retrieve", task_id)
        listed = api.call("list")

    assert seen[-1] == "ready"
    assert set(seen) <= {"processing", "ready"}
    assert (done.id, done.status, done.model_name) == (task_id, "ready", "local-v1")
    assert status.status == "ready"
    metadata = status.video_embedding.metadata
    assert (metadata.input_filename, metadata.input_url) == ("film.mp4", None)
    assert (metadata.video_clip_length, metadata.duration) == (6.0, 15.0)
    assert metadata.video_embedding_scope == ["clip", "video"]
    assert answer.video_embedding.metadata.input_filename == "film.mp4"
    segments = answer.video_embedding.segments
    assert [
        (seg.start_offset_sec, seg.end_offset_sec, seg.embedding_option, seg.embedding_scope)
        for seg in segments
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
    assert {len(seg.float_) for seg in segments} == {1024}
    assert all(abs(sum(x * x for x in seg.float_) - 1) < 1e-6 for seg in segments)
    assert answer.created_at.tzinfo is not None
    assert abs(answer.created_at - datetime.now(tz=UTC)) < timedelta(minutes=5)
    assert [task.id for task in listed] == [task_id]
    assert listed[0].created_at == answer.created_at


def test_offsets_choose_a_window(open_api: OpenApi, film: Path, tmp_path: Path) -> None:
    with open_api(tmp_path) as api:
        task_id = create_ready(
            api,
            film,
            video_start_offset_sec=2,
            video_end_offset_sec=12.5,
            video_clip_length=4,
            video_embedding_scope=["clip"],
        )
        answer = api.call("retrieve", task_id, embedding_option="audio")

    assert [
        (seg.start_offset_sec, seg.end_offset_sec) for seg in answer.video_embedding.segments
    ] == [(2.0, 6.0), (6.0, 10.0), (10.0, 12.5)]


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (None, {"visual-text", "audio"}),
        ("audio", {"audio"}),
        (["visual-text"], {"visual-text"}),
        (["audio", "visual-text"], {"visual-text", "audio"}),
    ],
    ids=["all", "a text", "a list of one", "a list of two"],
)
def test_options_are_chosen_at_retrieval(
    open_api: OpenApi, film: Path, tmp_path: Path, wanted: Any, given: set[str]
) -> None:
    with open_api(tmp_path) as api:
        answer = api.call("retrieve", create_ready(api, film), embedding_option=wanted)

    assert {seg.embedding_option for seg in answer.video_embedding.segments} == given


def test_an_option_that_the_video_lacks_is_not_found(open_api: OpenApi, tmp_path: Path) -> None:
    silent = make_video(tmp_path / "silent.mp4", seconds=5.0)

    with open_api(tmp_path / "engine") as api:
        task_id = create_ready(api, silent)
        every = api.call("retrieve", task_id)
        with pytest.raises(api.api_error) as caught:
            api.call("retrieve", task_id, embedding_option="audio")

    assert {seg.embedding_option for seg in every.video_embedding.segments} == {"visual-text"}
    error: Any = caught.value
    assert (error.status_code, error.body["code"]) == (404, "embed_no_embeddings_found")


def test_every_form_of_a_file_is_taken(open_api: OpenApi, film: Path, tmp_path: Path) -> None:
    content = film.read_bytes()
    with open_api(tmp_path) as api, film.open("rb") as opened:
        forms = (content, opened, ("a.mp4", content), ("b.mp4", content, "video/mp4"))
        made = [api.call("create", model_name="local-v1", video_file=form).id for form in forms]
        names = [
            api.call("status", task_id).video_embedding.metadata.input_filename for task_id in made
        ]

    assert names == ["upload", "film.mp4", "a.mp4", "b.mp4"]


@pytest.mark.parametrize(
    ("parts", "code", "words"),
    [
        (
            {"video_clip_length": 11},
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
        ({"brand_new": "1"}, "parameter_unknown", "The brand_new parameter is unknown."),
    ],
)
def test_a_wrong_create_gets_the_documents_code_and_words(
    open_api: OpenApi, film: Path, tmp_path: Path, parts: dict[str, Any], code: str, words: str
) -> None:
    """The parts go past the checks of our own client, which would not send them."""
    options = {"additional_body_parameters": parts}

    with open_api(tmp_path) as api:
        with pytest.raises(api.bad_request) as caught:
            create(api, film, request_options=options)
        listed = api.call("list")

    error: Any = caught.value
    assert (error.status_code, error.body["code"]) == (400, code)
    assert words in error.body["message"]
    assert listed == []


def test_a_model_that_the_engine_lacks_is_refused_with_those_it_has(
    open_api: OpenApi, film: Path, tmp_path: Path
) -> None:
    with open_api(tmp_path) as api, pytest.raises(api.bad_request) as caught:
        api.call(
            "create", model_name="Marengo-retrieval-2.7", video_file=("a.mp4", film.read_bytes())
        )

    error: Any = caught.value
    assert error.body["code"] == "parameter_invalid"
    assert "local-v1" in error.body["message"]


@pytest.mark.parametrize(
    ("make", "code"),
    [
        ({"seconds": 3.0}, "video_duration_too_short"),
        ({"width": 320, "height": 240}, "video_resolution_too_low"),
        ({"width": 720, "height": 360}, "video_resolution_invalid_aspect_ratio"),
    ],
)
def test_the_uploads_own_limits_are_measured(
    open_api: OpenApi, tmp_path: Path, make: dict[str, Any], code: str
) -> None:
    path = make_video(tmp_path / "a.mp4", **make)

    with open_api(tmp_path / "engine") as api, pytest.raises(api.bad_request) as caught:
        create(api, path)

    error: Any = caught.value
    assert error.body["code"] == code
    assert list((tmp_path / "engine" / "uploads").glob("*")) == []


def test_bytes_that_are_no_video_are_refused(open_api: OpenApi, tmp_path: Path) -> None:
    with open_api(tmp_path) as api, pytest.raises(api.bad_request) as caught:
        api.call("create", model_name="local-v1", video_file=("a.mp4", b"#EXTM3U\n"))

    error: Any = caught.value
    assert error.body["code"] == "video_file_broken"


def test_a_failed_task_is_returned_as_failed(open_api: OpenApi, film: Path, tmp_path: Path) -> None:
    with open_api(tmp_path, InstantPool(fails=True)) as api:
        task_id = create(api, film)
        done = api.call("wait_for_done", task_id, sleep_interval=PACE_S)
        answer = api.call("retrieve", task_id)
        failed = api.call("list", status="failed")

    assert (done.status, answer.status) == ("failed", "failed")
    assert not answer.video_embedding.segments
    assert [task.id for task in failed] == [task_id]


def test_a_task_that_is_not_ready_has_no_segments(
    open_api: OpenApi, film: Path, tmp_path: Path
) -> None:
    with open_api(tmp_path, InstantPool(hangs=True)) as api:
        task_id = create(api, film)
        status = api.call("status", task_id)
        answer = api.call("retrieve", task_id)

    assert (status.status, answer.status) == ("processing", "processing")
    assert not answer.video_embedding.segments


def test_a_task_that_nobody_made_is_not_found(open_api: OpenApi, tmp_path: Path) -> None:
    with open_api(tmp_path) as api:
        for method in ("status", "retrieve"):
            with pytest.raises(api.api_error) as caught:
                api.call(method, "0" * 24)
            error: Any = caught.value
            assert (error.status_code, error.body["code"]) == (404, "resource_not_exist")


def test_an_id_that_is_none_is_invalid(open_api: OpenApi, tmp_path: Path) -> None:
    with open_api(tmp_path) as api, pytest.raises(api.bad_request) as caught:
        api.call("status", "no-id")

    error: Any = caught.value
    assert error.body["code"] == "parameter_invalid"
    assert error.body["message"] == "The task_id parameter is invalid. task_id value is invalid"


def test_a_repeated_create_of_one_key_is_one_task(
    open_api: OpenApi, film: Path, tmp_path: Path
) -> None:
    options = {"additional_headers": {"Idempotency-Key": "key"}}
    content = film.read_bytes()

    with open_api(tmp_path) as api:
        made = {
            api.call(
                "create",
                model_name="local-v1",
                video_file=(name, content),
                request_options=options,
            ).id
            for name in ("a.mp4", "b.mp4")
        }
        with pytest.raises(api.api_error) as caught:
            api.call(
                "create",
                model_name="local-v1",
                video_file=("a.mp4", content),
                video_clip_length=5,
                request_options=options,
            )
        listed = api.call("list")

    error: Any = caught.value
    assert error.status_code == 422
    assert [task.id for task in listed] == list(made)


def test_tasks_survive_their_engine(open_api: OpenApi, film: Path, tmp_path: Path) -> None:
    with open_api(tmp_path, InstantPool(hangs=True)) as api:
        task_id = create(api, film)
        before = api.call("status", task_id).status
    with open_api(tmp_path) as api:
        after = api.call("wait_for_done", task_id, sleep_interval=PACE_S).status

    assert (before, after) == ("processing", "ready")


def test_a_listing_is_paged_newest_first(open_api: OpenApi, film: Path, tmp_path: Path) -> None:
    with open_api(tmp_path) as api:
        made = [create_ready(api, film) for _ in range(5)]
        every = api.call("list", page_limit=2)
        rest = api.call("list", page=2, page_limit=2)
        none = api.call("list", page=9)
        failed = api.call("list", status="failed")
        with pytest.raises(api.bad_request):
            api.call("list", page_limit=51)

    assert [task.id for task in every] == made[::-1]
    assert [task.id for task in rest] == made[2::-1]
    assert none == failed == []


def test_a_listing_is_bounded_by_times(open_api: OpenApi, film: Path, tmp_path: Path) -> None:
    with open_api(tmp_path) as api:
        task_id = create_ready(api, film)
        made = api.call("retrieve", task_id).created_at
        before = (made - timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
        after = (made + timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
        inside = api.call("list", started_at=before, ended_at=after)
        outside = api.call("list", started_at=after)

    assert [task.id for task in inside] == [task_id]
    assert outside == []
