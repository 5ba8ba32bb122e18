"""The engine behind the server: URLs, limits, time, and trouble with its folder."""

from __future__ import annotations

import concurrent.futures
import contextlib
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchembed.core.model import Facts
from batchembed.core.problems import Reason
from batchembed.engine.fetching.fetch import FetchRules
from batchembed.media.probe import probe
from tests.support.engines import InstantPool, served_from_a_thread
from tests.support.media import make_video


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    make_video(folder / "film.mp4", seconds=15.0, audio=True)
    make_video(folder / "short.mp4", seconds=3.0)
    make_video(folder / "narrow.mp4", width=720, height=360)
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n")
    return folder


@contextlib.contextmanager
def over_http(folder: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def create(client: httpx.Client, **parts: Any) -> httpx.Response:
    sent = {name: part if isinstance(part, tuple) else (None, part) for name, part in parts.items()}
    return client.post("/embed/tasks", files={"model_name": (None, "local-v1"), **sent})


def upload(client: httpx.Client, film: Path) -> httpx.Response:
    return create(client, video_file=(film.name, film.read_bytes()))


def until_ended(client: httpx.Client, task_id: str) -> dict[str, Any]:
    while True:
        body: dict[str, Any] = client.get(f"/embed/tasks/{task_id}/status").json()
        if body["status"] != "processing":
            return body


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("film.mp4", None),
        ("short.mp4", "video_duration_too_short"),
        ("narrow.mp4", "video_resolution_invalid_aspect_ratio"),
        ("list.mp4", "video_file_broken"),
        ("missing.mp4", "video_url_unreachable"),
    ],
)
def test_a_url_is_fetched_held_to_the_limits_and_embedded(
    films: Path, tmp_path: Path, name: str, error: str | None
) -> None:
    with (
        over_http(films) as site,
        served_from_a_thread(
            tmp_path, engine_options={"fetch_rules": FetchRules(allow_private=True)}
        ) as base_url,
        httpx.Client(base_url=base_url) as client,
    ):
        url = f"{site}/{name}?signature=s"
        task_id = create(client, video_url=url).json()["_id"]
        ended = until_ended(client, task_id)

    assert ended["status"] == ("ready" if error is None else "failed")
    assert ended.get("error", {}).get("code") == error
    metadata = ended["video_embedding"]["metadata"]
    assert metadata["input_url"] == url
    assert "input_filename" not in metadata
    assert metadata.get("duration") == (15.0 if error is None else None)
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_url_goes_before_a_file_and_the_file_is_removed(films: Path, tmp_path: Path) -> None:
    with (
        over_http(films) as site,
        served_from_a_thread(
            tmp_path, engine_options={"fetch_rules": FetchRules(allow_private=True)}
        ) as base_url,
        httpx.Client(base_url=base_url) as client,
    ):
        made = create(
            client,
            video_url=f"{site}/film.mp4",
            video_file=("short.mp4", (films / "short.mp4").read_bytes()),
        )
        ended = until_ended(client, made.json()["_id"])

    assert ended["status"] == "ready"
    assert ended["video_embedding"]["metadata"]["duration"] == 15.0
    assert list((tmp_path / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/a.mp4",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "nonsense",
        "http://",
    ],
)
def test_a_url_that_may_not_be_reached_is_refused_at_once(tmp_path: Path, url: str) -> None:
    with (
        served_from_a_thread(tmp_path, engine_options={"fetch_rules": FetchRules()}) as base_url,
        httpx.Client(base_url=base_url) as client,
    ):
        answer = create(client, video_url=url)
        listed = client.get("/embed/tasks").json()

    assert told(answer) == (400, "parameter_invalid")
    assert listed["data"] == []


def test_one_key_with_one_url_is_one_task(films: Path, tmp_path: Path) -> None:
    with (
        over_http(films) as site,
        served_from_a_thread(
            tmp_path, engine_options={"fetch_rules": FetchRules(allow_private=True)}
        ) as base_url,
        httpx.Client(base_url=base_url, headers={"Idempotency-Key": "k"}) as client,
    ):
        first, again, other = (
            create(client, video_url=f"{site}/{name}")
            for name in ("film.mp4", "film.mp4", "short.mp4")
        )

    assert first.json() == again.json()
    assert told(other) == (422, "idempotency_key_reused")


def test_a_task_expires_and_is_swept_while_the_server_runs(films: Path, tmp_path: Path) -> None:
    now = [1_000.0]
    with (
        served_from_a_thread(
            tmp_path,
            engine_options={
                "clock": lambda: now[0],
                "retention_s": 7 * 86_400.0,
                "sweep_every_s": 0.01,
            },
        ) as base_url,
        httpx.Client(base_url=base_url) as client,
    ):
        task_id = upload(client, films / "film.mp4").json()["_id"]
        until_ended(client, task_id)
        now[0] += 7 * 86_400 - 1
        kept = client.get(f"/embed/tasks/{task_id}")
        now[0] += 1
        gone = client.get(f"/embed/tasks/{task_id}")
        listed = client.get("/embed/tasks").json()
        while list((tmp_path / "results").iterdir()):
            pass

    assert kept.status_code == 200
    assert told(gone) == (404, "resource_not_exist")
    assert listed["data"] == []


def test_a_frame_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    bomb = make_video(tmp_path / "a.mkv", codec="mjpeg", width=8192, height=4352, seconds=1, fps=1)
    with (
        served_from_a_thread(tmp_path / "data") as base_url,
        httpx.Client(base_url=base_url) as client,
    ):
        answer = create(client, video_file=("a.mp4", bomb.read_bytes()))

    assert told(answer) == (400, "video_file_broken")


def test_an_engine_that_can_not_write_says_so(films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with (
        served_from_a_thread(folder, InstantPool()) as base_url,
        httpx.Client(base_url=base_url) as client,
    ):
        shutil.rmtree(folder / "results")
        task_id = upload(client, films / "film.mp4").json()["_id"]
        health = client.get(base_url.replace("/v1.3", "/healthz"))
        while health.status_code == 200:
            health = client.get(base_url.replace("/v1.3", "/healthz"))
        refused = upload(client, films / "film.mp4")
        status = client.get(f"/embed/tasks/{task_id}/status").json()

    assert (health.status_code, health.json()["status"]) == (503, "failed")
    assert told(refused) == (503, "service_unavailable")
    assert status["status"] == "processing"


def test_a_folder_that_takes_no_upload_says_so(films: Path, tmp_path: Path) -> None:
    with (
        served_from_a_thread(tmp_path) as base_url,
        httpx.Client(base_url=base_url) as client,
    ):
        (tmp_path / "uploads").write_text("in the way")
        refused = upload(client, films / "film.mp4")

    assert told(refused) == (503, "service_unavailable")


def test_an_engine_ends_while_a_video_is_probed_and_others_wait(
    films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    probed, released = list[str](), threading.Event()

    def never(path: str) -> Facts | Reason:
        probed.append(path)
        released.wait(60)
        return probe(path)

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        with (
            served_from_a_thread(tmp_path, engine_options={"probe": never}) as base_url,
            httpx.Client(base_url=base_url, timeout=30) as client,
        ):
            coming = [threads.submit(upload, client, films / "film.mp4") for _ in range(4)]
            while len(list(tmp_path.glob("uploads/*"))) < 4 or len(probed) < 2:
                pass
        ended = not released.is_set()
        released.set()
        errors = [each.exception() for each in coming]

    assert ended
    assert all(isinstance(error, httpx.TransportError) for error in errors)
    assert len(probed) == 2
    assert not [each for each in caplog.records if each.levelname == "ERROR"]
