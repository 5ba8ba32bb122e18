"""The server on loopback: what it takes, what it refuses, and that it outlives its clients."""

from __future__ import annotations

import concurrent.futures
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from twelvelabs import TwelveLabs

from batchembed.engine.web.protocol import Deadlines
from tests.support.engines import InstantPool, served_from_a_thread
from tests.support.media import make_video

QUICK = Deadlines(headers_s=0.3, stall_s=0.3, grace_s=0.3, min_bytes_per_s=100, linger_s=0.2)
NOWHERE = "0" * 24


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("films") / "film.mp4", seconds=15.0, audio=True)


@pytest.fixture
def base_url(tmp_path: Path) -> Iterator[str]:
    with served_from_a_thread(tmp_path / "data", deadlines=QUICK) as url:
        yield url


@pytest.fixture
def client(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, timeout=20) as opened:
        yield opened


def form(**fields: str | list[str]) -> dict[str, Any]:
    return {"model_name": "local-v1", **fields}


def create(client: httpx.Client, film: Path, **fields: str | list[str]) -> httpx.Response:
    with film.open("rb") as file:
        return client.post("/embed/tasks", data=form(**fields), files={"video_file": file})


def until_ended(client: httpx.Client, task_id: str) -> dict[str, Any]:
    while True:
        body: dict[str, Any] = client.get(f"/embed/tasks/{task_id}/status").json()
        if body["status"] != "processing":
            return body


def told(answer: httpx.Response) -> tuple[int, str]:
    """The status and code of an error object."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"code", "message"}
    return answer.status_code, body["code"]


def connect(base_url: str) -> socket.socket:
    parts = urlsplit(base_url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10)


def ask_raw(base_url: str, request: bytes) -> bytes:
    """All that the server says to these bytes until it closes."""
    with connect(base_url) as raw:
        raw.sendall(request)
        return read_all(raw)


def read_all(raw: socket.socket) -> bytes:
    said = b""
    while True:
        try:
            part = raw.recv(1 << 16)
        except ConnectionResetError:
            return said
        if not part:
            return said
        said += part


def head(length: int | str, *, boundary: str = "b", key: str | None = None) -> bytes:
    extra = "" if key is None else f"Idempotency-Key: {key}\r\n"
    return (
        "POST /v1.3/embed/tasks HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\n"
        f"{extra}Content-Length: {length}\r\n\r\n"
    ).encode()


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    shown = "" if filename is None else f'; filename="{filename}"'
    return (
        f'--b\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode()
        + value
        + b"\r\n"
    )


def test_the_official_sdk_goes_the_whole_way(base_url: str, film: Path) -> None:
    sdk: Any = TwelveLabs(api_key="any", base_url=base_url)
    with film.open("rb") as file:
        made = sdk.embed.tasks.create(
            model_name="local-v1",
            video_file=file,
            video_url=None,
            video_start_offset_sec=None,
            video_embedding_scope=["clip", "video"],
        )
    status = sdk.embed.tasks.wait_for_done(made.id, sleep_interval=0.01)
    task = sdk.embed.tasks.retrieve(made.id, embedding_option=["visual-text", "audio"])
    listed = [each.id for each in sdk.embed.tasks.list()]

    assert status.status == "ready"
    assert len(task.video_embedding.segments) == 8
    assert {len(each.float_) for each in task.video_embedding.segments} == {1024}
    assert listed == [made.id]
    sdk._client_wrapper.httpx_client.httpx_client.close()


def test_vectors_come_back_as_the_same_float32(
    client: httpx.Client, film: Path, tmp_path: Path
) -> None:
    task_id = create(client, film).json()["_id"]
    until_ended(client, task_id)

    body = client.get(f"/embed/tasks/{task_id}").json()
    stored = (tmp_path / "data" / "results" / f"{task_id}.msgpack").read_bytes()

    vectors = np.array([seg["float"] for seg in body["video_embedding"]["segments"]], np.float32)
    assert vectors.shape == (6, 1024)
    assert vectors.astype("<f4").tobytes() in stored


def test_times_are_written_with_milliseconds(client: httpx.Client, film: Path) -> None:
    task_id = create(client, film).json()["_id"]

    for body in (
        client.get(f"/embed/tasks/{task_id}").json(),
        client.get("/embed/tasks").json()["data"][0],
    ):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["created_at"])


def test_a_task_that_is_processing_has_no_segments_yet(tmp_path: Path, film: Path) -> None:
    with (
        served_from_a_thread(tmp_path, InstantPool(hangs=True)) as base_url,
        httpx.Client(base_url=base_url) as client,
    ):
        answer = client.get(f"/embed/tasks/{create(client, film).json()['_id']}")

    assert answer.status_code == 200
    assert answer.json()["status"] == "processing"
    assert "segments" not in answer.json()["video_embedding"]


def test_a_silent_video_has_no_embeddings_of_sound(client: httpx.Client, tmp_path: Path) -> None:
    task_id = create(client, make_video(tmp_path / "mute.mp4")).json()["_id"]
    until_ended(client, task_id)

    answer = client.get(f"/embed/tasks/{task_id}", params={"embedding_option": "audio"})

    assert told(answer) == (404, "embed_no_embeddings_found")
    assert "embedding_option 'audio'" in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", f"/embed/tasks/{NOWHERE}/status", (404, "resource_not_exist")),
        ("GET", f"/embed/tasks/{NOWHERE}", (404, "resource_not_exist")),
        ("GET", "/embed/tasks/xyz/status", (400, "parameter_invalid")),
        ("GET", f"/embed/tasks/{NOWHERE.upper()[:-1]}G/status", (400, "parameter_invalid")),
        ("GET", "/embed/tasks/%00/status", (400, "parameter_invalid")),
        ("GET", "/embed/tasks/%ff%fe", (400, "parameter_invalid")),
        ("GET", "/embed/tasks/a%2Fb", (404, "resource_not_exist")),
        ("GET", "/embed/tasks/", (404, "resource_not_exist")),
        ("GET", "/embed", (404, "resource_not_exist")),
        ("PUT", "/embed/tasks", (405, "method_not_allowed")),
        ("DELETE", f"/embed/tasks/{NOWHERE}", (405, "method_not_allowed")),
        ("POST", f"/embed/tasks/{NOWHERE}/status", (405, "method_not_allowed")),
        ("GET", f"/embed/tasks/{NOWHERE}?embedding_option=text", (400, "parameter_invalid")),
        ("GET", f"/embed/tasks/{NOWHERE}?embedding_option=", (400, "parameter_invalid")),
        ("GET", "/embed/tasks?page=0", (400, "parameter_invalid")),
        ("GET", "/embed/tasks?page=1&page=2", (400, "parameter_invalid")),
        ("GET", "/embed/tasks?page=%D9%A3", (400, "parameter_invalid")),
        ("GET", "/embed/tasks?page_limit=51", (400, "parameter_invalid")),
        ("GET", "/embed/tasks?status=done", (400, "parameter_invalid")),
        ("GET", "/embed/tasks?started_at=yesterday", (400, "parameter_invalid")),
        ("GET", "/embed/tasks?ended_at=2024-99-99T00:00:00Z", (400, "parameter_invalid")),
        ("POST", "/embed/tasks", (400, "parameter_invalid")),
    ],
)
def test_what_can_not_be_answered_gets_an_error_object(
    client: httpx.Client, method: str, path: str, expected: tuple[int, str]
) -> None:
    assert told(client.request(method, path)) == expected


def test_the_words_for_a_wrong_id_are_the_documents(client: httpx.Client) -> None:
    body = client.get("/embed/tasks/xyz/status").json()

    assert body["message"] == "The task_id parameter is invalid. task_id value is invalid"


def test_a_listing_is_filtered_by_time_and_empty_past_its_end(
    client: httpx.Client, film: Path
) -> None:
    task_id = create(client, film).json()["_id"]

    def listed(**query: str) -> dict[str, Any]:
        body: dict[str, Any] = client.get("/embed/tasks", params=query).json()
        return body

    since = listed(started_at="2020-01-01T00:00:00Z", ended_at="2999-01-01T00:00:00+01:00")
    assert [task["_id"] for task in since["data"]] == [task_id]
    assert listed(ended_at="2020-01-01T00:00:00Z")["data"] == []
    assert listed(page="7")["data"] == []
    assert listed(page="7")["page_info"]["total_results"] == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "parameter_invalid")),
        (b"nonsense", (400, "parameter_invalid")),
        (part("model_name", b"local-v1"), (400, "parameter_invalid")),
        (part("model_name", b"\xff\xfe") + b"--b--\r\n", (400, "parameter_invalid")),
        (part("model_name", b"local-v1\0") + b"--b--\r\n", (400, "parameter_invalid")),
        (part("model_name", b"local-v1") + b"--b--\r\n", (400, "parameter_not_provided")),
        (part("colour", b"red") + b"--b--\r\n", (400, "parameter_unknown")),
        (part("colour", b"red", "red.mp4") + b"--b--\r\n", (400, "parameter_unknown")),
        (part("model_name", b"m" * 70_000) + b"--b--\r\n", (400, "parameter_invalid")),
        (17 * part("model_name", b"m") + b"--b--\r\n", (400, "parameter_invalid")),
        (2 * part("video_file", b"v", "v.mp4") + b"--b--\r\n", (400, "parameter_invalid")),
        (b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n", (400, "parameter_invalid")),
        (b"--b\r\n" + b"X: y\r\n" * 9 + b"\r\nx\r\n--b--\r\n", (400, "parameter_invalid")),
        (b"--b\r\nX: " + b"y" * 5_000 + b"\r\n\r\nx\r\n--b--\r\n", (400, "parameter_invalid")),
    ],
)
def test_a_form_that_is_none_is_refused_and_leaves_nothing(
    base_url: str, tmp_path: Path, body: bytes, expected: tuple[int, str]
) -> None:
    answer = httpx.post(
        f"{base_url}/embed/tasks",
        content=body,
        headers={"content-type": "multipart/form-data; boundary=b"},
    )

    assert told(answer) == expected
    assert list((tmp_path / "data").glob("uploads/*")) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"video_clip_length": "1_0"}, "'1_0' is no number"),
        ({"video_clip_length": " 6 "}, "' 6 ' is no number"),
        ({"video_clip_length": "1e999"}, "'1e999' is no number"),
        ({"video_start_offset_sec": "0", "video_end_offset_sec": "1e300"}, "is no number"),
        ({"video_start_offset_sec": "-1", "video_end_offset_sec": "9"}, "0 or more"),
        ({"model_name": "Marengo-retrieval-2.7"}, "This engine has local-v1"),
        ({"video_url": "https://e.com/a.mp4"}, "fetches no URL"),
        ({"video_embedding_scope": ["video", "clip"]}, "[clip] or [clip, video]"),
    ],
)
def test_a_wrong_parameter_is_refused_and_its_upload_removed(
    client: httpx.Client, film: Path, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    answer = create(client, film, **fields)

    assert told(answer) == (400, "parameter_invalid")
    assert words in answer.json()["message"]
    assert list((tmp_path / "data" / "uploads").iterdir()) == []


def test_parts_may_come_in_any_order_and_empty_ones_do_not_count(base_url: str, film: Path) -> None:
    body = (
        part("video_file", film.read_bytes(), "late.mp4")
        + part("video_url", b"")
        + part("video_clip_length", b"")
        + part("model_name", b"local-v1")
        + b"--b--\r\n"
    )
    answer = httpx.post(
        f"{base_url}/embed/tasks",
        content=body,
        headers={"content-type": 'Multipart/Form-Data; boundary="b"'},
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/passwd", "..\\..\\a.mp4", "a'b.mp4", "é" * 300]
)
def test_a_file_name_is_data_and_never_a_path(
    client: httpx.Client, film: Path, tmp_path: Path, name: str
) -> None:
    answer = client.post(
        "/embed/tasks", data=form(), files={"video_file": (name, film.read_bytes())}
    )

    status = client.get(f"/embed/tasks/{answer.json()['_id']}/status").json()
    assert status["video_embedding"]["metadata"]["input_filename"] == name
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {
        "results",
        "tasks.sqlite",
        "tasks.sqlite-journal",
        "uploads",
    }
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:1/a.ts\n",
        b"ffconcat version 1.0\nfile 'tasks.sqlite'\n",
        b"just some text that a terminal could show\n" * 50,
        b"",
        b"\0" * 4096,
    ],
)
def test_what_only_poses_as_a_video_is_refused(
    client: httpx.Client, tmp_path: Path, content: bytes
) -> None:
    answer = client.post(
        "/embed/tasks", data=form(), files={"video_file": ("a.mp4", content, "video/mp4")}
    )

    assert told(answer) == (400, "video_file_broken")
    assert list((tmp_path / "data" / "uploads").iterdir()) == []


def test_an_enormous_content_length_is_refused_before_the_body(base_url: str) -> None:
    said = ask_raw(base_url, head(10_000_000_000))

    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in said.lower()
    assert json.loads(said.partition(b"\r\n\r\n")[2])["code"] == "video_filesize_too_large"


def test_bytes_are_counted_where_no_length_is_declared(tmp_path: Path) -> None:
    with served_from_a_thread(tmp_path, max_upload_bytes=100_000) as base_url:
        answer = httpx.post(
            f"{base_url}/embed/tasks",
            content=iter([part("video_file", b"v" * 60_000, "v")[:-2], b"v" * 60_000]),
            headers={"content-type": "multipart/form-data; boundary=b"},
        )

    assert told(answer) == (413, "video_filesize_too_large")
    assert list((tmp_path / "uploads").iterdir()) == []


def test_an_upload_that_would_fill_the_disk_is_told_so(tmp_path: Path, film: Path) -> None:
    with (
        served_from_a_thread(tmp_path, engine_options={"reserve_bytes": 1 << 60}) as base_url,
        httpx.Client(base_url=base_url) as client,
    ):
        answer = create(client, film)

    assert told(answer) == (503, "service_unavailable")
    assert "too few" in answer.json()["message"]


def test_one_key_makes_one_task_until_it_comes_with_something_else(
    client: httpx.Client, film: Path
) -> None:
    def send(name: str, **fields: str) -> httpx.Response:
        return client.post(
            "/embed/tasks",
            data=form(**fields),
            files={"video_file": (name, film.read_bytes())},
            headers={"Idempotency-Key": "k"},
        )

    first, again, other = (
        send("a"),
        send("b", video_clip_length="6.0"),
        send("a", video_clip_length="5"),
    )

    assert first.json() == again.json()
    assert told(other) == (422, "idempotency_key_reused")
    assert client.get("/embed/tasks").json()["page_info"]["total_results"] == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "é", "a\tb"])
def test_a_key_that_can_be_none_is_refused(base_url: str, film: Path, key: str) -> None:
    answer = httpx.post(
        f"{base_url}/embed/tasks",
        data=form(),
        files={"video_file": film.read_bytes()},
        headers=[(b"Idempotency-Key", key.encode())],
    )

    assert told(answer) == (400, "parameter_invalid")


def test_a_key_whose_create_is_still_coming_is_in_conflict(tmp_path: Path, film: Path) -> None:
    body = (
        part("model_name", b"local-v1")
        + part("video_file", film.read_bytes(), "a.mp4")
        + b"--b--\r\n"
    )
    with served_from_a_thread(tmp_path) as base_url, connect(base_url) as first:
        first.sendall(head(len(body), key="k") + body[:1000])
        while not list(tmp_path.glob("uploads/*")):
            pass  # the server has begun to read it
        second = ask_raw(base_url, head(len(body), key="k") + body)
        first.sendall(body[1000:])
        answered = first.recv(1 << 16)

    assert second.startswith(b"HTTP/1.1 409 ")
    assert answered.startswith(b"HTTP/1.1 200 ")


def test_a_client_that_goes_away_leaves_nothing_and_frees_its_key(
    tmp_path: Path, film: Path
) -> None:
    with served_from_a_thread(tmp_path) as base_url, httpx.Client(base_url=base_url) as client:
        with connect(base_url) as first:
            first.sendall(head(1 << 20, key="k") + part("video_file", b"v" * 1000, "a.mp4"))
            while not list(tmp_path.glob("uploads/*")):
                pass
        while list(tmp_path.glob("uploads/*")):
            pass
        answer = client.post(
            "/embed/tasks",
            data=form(),
            files={"video_file": film.read_bytes()},
            headers={"Idempotency-Key": "k"},
        )

    assert answer.status_code == 200


def test_too_many_tasks_are_told_when_to_come_again(tmp_path: Path, film: Path) -> None:
    with (
        served_from_a_thread(
            tmp_path, InstantPool(hangs=True), engine_options={"max_processing": 1}
        ) as base_url,
        httpx.Client(base_url=base_url) as client,
    ):
        first, second = create(client, film), create(client, film)

    assert first.status_code == 200
    assert told(second) == (429, "too_many_requests")
    assert int(second.headers["retry-after"]) > 0


def test_an_alias_is_taken_and_answered_by_the_models_own_name(tmp_path: Path, film: Path) -> None:
    with (
        served_from_a_thread(
            tmp_path, engine_options={"aliases": {"Marengo-retrieval-2.7"}}
        ) as url,
        httpx.Client(base_url=url) as client,
    ):
        made = create(client, film, model_name="Marengo-retrieval-2.7").json()
        status = client.get(f"/embed/tasks/{made['_id']}/status").json()
        refused = create(client, film, model_name="other").json()

    assert status["model_name"] == "local-v1"
    assert "local-v1, Marengo-retrieval-2.7" in refused["message"]


def test_half_a_head_is_ended(base_url: str) -> None:
    said = ask_raw(base_url, b"GET /v1.3/embed/tasks HTTP/1.1\r\nHost: loc")

    assert said.startswith(b"HTTP/1.1 408 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["code"] == "request_canceled_or_timed_out"


def test_a_connection_without_a_word_is_ended(base_url: str) -> None:
    assert ask_raw(base_url, b"").startswith(b"HTTP/1.1 408 ")


def test_half_a_head_after_an_answer_is_ended(base_url: str) -> None:
    with connect(base_url) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        first = raw.recv(1 << 16)
        raw.sendall(b"GET /heal")
        rest = read_all(raw)

    assert first.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in rest


def test_a_body_that_stalls_is_ended_and_removed(base_url: str, tmp_path: Path) -> None:
    said = ask_raw(base_url, head(1 << 20) + part("video_file", b"v" * 1000, "a.mp4"))

    assert said.startswith(b"HTTP/1.1 408 ")
    assert list((tmp_path / "data" / "uploads").iterdir()) == []


def test_a_body_that_drips_is_ended(base_url: str) -> None:
    ended = threading.Event()
    with connect(base_url) as raw, concurrent.futures.ThreadPoolExecutor(1) as threads:
        raw.sendall(head(1 << 20) + part("video_file", b"", "a.mp4")[:-2])

        def drip() -> None:
            while not ended.wait(0.02):
                try:
                    raw.sendall(b"v")
                except OSError:
                    return

        dripping = threads.submit(drip)
        said = read_all(raw)
        ended.set()
        dripping.result()

    assert said.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_does_not_read_its_answer_is_cut_off(tmp_path: Path) -> None:
    film = make_video(tmp_path / "a.mp4", width=360, height=360, seconds=600.0, fps=1)
    with served_from_a_thread(tmp_path / "data", deadlines=QUICK, max_connections=1) as base_url:
        with httpx.Client(base_url=base_url, timeout=30) as client:
            task_id = create(client, film, video_clip_length="2").json()["_id"]
            until_ended(client, task_id)
            whole = len(client.get(f"/embed/tasks/{task_id}").content)
        parts = urlsplit(base_url)
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.settimeout(10)
            raw.connect((parts.hostname, parts.port))
            raw.sendall(
                f"GET /v1.3/embed/tasks/{task_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            raw.recv(1)
            while httpx.get(f"{base_url}/embed/tasks").status_code == 503:
                pass  # it holds the one connection until it is cut off
            read = len(read_all(raw))

    assert read < whole


def test_many_slow_clients_hold_up_no_honest_one(base_url: str) -> None:
    slow = [connect(base_url) for _ in range(100)]
    for raw in slow[:50]:
        raw.sendall(b"GET / HTTP/1.1\r\nX: ")
    for raw in slow[50:]:
        raw.sendall(head(1000))
    with httpx.Client(base_url=base_url) as client:
        statuses = {client.get("/embed/tasks").status_code for _ in range(20)}
    ends = [read_all(raw) for raw in slow]
    for raw in slow:
        raw.close()

    assert statuses == {200}
    assert all(said.startswith(b"HTTP/1.1 408 ") for said in ends)


def test_more_connections_than_it_takes_are_told_that_it_is_overloaded(tmp_path: Path) -> None:
    with served_from_a_thread(tmp_path, max_connections=1) as base_url:
        with connect(base_url) as first:
            first.sendall(b"GET /")
            answer = httpx.get(f"{base_url}/embed/tasks")
        while httpx.get(f"{base_url}/embed/tasks").status_code == 503:
            pass  # until the server has seen that the first is gone

    assert told(answer) == (503, "service_unavailable")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000,
        b"POST /v1.3/embed/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_by_an_error_object(
    base_url: str, request_bytes: bytes
) -> None:
    said = ask_raw(base_url, request_bytes)

    assert said.startswith(b"HTTP/1.1 400 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["code"] == "parameter_invalid"


def test_a_broken_chunk_ends_its_connection_alone(client: httpx.Client, base_url: str) -> None:
    ask_raw(
        base_url,
        b"POST /v1.3/embed/tasks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\nzz\r\n",
    )

    assert client.get("/embed/tasks").status_code == 200


def test_health_and_description_are_told(client: httpx.Client, base_url: str) -> None:
    root = base_url.removesuffix("/v1.3")
    health = client.get(f"{root}/healthz")
    description = client.get(f"{root}/openapi.json").json()

    assert health.json()["status"] == "ok"
    assert health.json()["queue_length"] == 0
    assert description["openapi"] == "3.1.0"
    assert set(description["paths"]) == {
        "/v1.3/embed/tasks",
        "/v1.3/embed/tasks/{task_id}",
        "/v1.3/embed/tasks/{task_id}/status",
        "/healthz",
    }
