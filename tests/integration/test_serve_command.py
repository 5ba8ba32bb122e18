"""`batchembed serve` as it is installed: it starts, is refused, is killed, and goes on."""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchembed import Client
from tests.support.apis import sdk
from tests.support.media import make_video
from tests.support.serving import COMMAND, films_at, serving, status, until_ended


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("films") / "film.mp4", seconds=8.0, audio=True)


def refused(folder: Path, *options: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [COMMAND, "serve", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **(env or {})},
    )
    return done.returncode, done.stderr


def create(client: httpx.Client, film: Path | None, **fields: str) -> str:
    parts: dict[str, Any] = {name: (None, text) for name, text in fields.items()}
    if film is not None:
        parts["video_file"] = (film.name, film.read_bytes())
    parts["model_name"] = (None, "local-v1")
    answer = client.post("/embed/tasks", files=parts)
    assert answer.status_code == 200, answer.text
    task_id: str = answer.json()["_id"]
    return task_id


@pytest.mark.slow
def test_a_killed_server_goes_on_where_it_was(film: Path, tmp_path: Path) -> None:
    released = threading.Event()
    with films_at(film.parent, released) as films:
        with serving(tmp_path, "--allow-private-urls") as (process, client):
            ready = create(client, film)
            until_ended(client, ready)
            failed = create(client, None, video_url=f"{films}/missing.mp4")
            until_ended(client, failed)
            before = client.get(f"/embed/tasks/{ready}").json()
            fetched = create(client, None, video_url=f"{films}/slow-film.mp4")
            sent = create(client, film, video_clip_length="4")
            then = [status(client, each)["status"] for each in (fetched, sent)]
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        (tmp_path / ".batchembed-serve" / "uploads" / ("f" * 24)).write_bytes(b"v")
        released.set()
        with serving(tmp_path, "--allow-private-urls") as (_, client):
            ended = [until_ended(client, each) for each in (ready, failed, fetched, sent)]
            after = client.get(f"/embed/tasks/{ready}").json()
            urls = client.get(f"/embed/tasks/{fetched}").json()
            listed = [task["_id"] for task in client.get("/embed/tasks").json()["data"]]

    assert then == ["processing", "processing"]
    assert [task["status"] for task in ended] == ["ready", "failed", "ready", "ready"]
    assert ended[1]["error"]["code"] == "video_url_unreachable"
    assert listed == [sent, fetched, failed, ready]
    assert after == before
    assert urls["video_embedding"]["segments"] == before["video_embedding"]["segments"]
    assert urls["video_embedding"]["metadata"]["input_url"] == f"{films}/slow-film.mp4"
    assert list((tmp_path / ".batchembed-serve" / "uploads").iterdir()) == []


@pytest.mark.slow
def test_our_client_and_the_official_sdk_get_the_same_real_embeddings(
    film: Path, tmp_path: Path
) -> None:
    found = []
    with serving(tmp_path, "--api-key-env", "KEY", env={"KEY": "tlk_1"}) as (_, client):
        base_url = str(client.base_url).rstrip("/")
        for opened in (Client(api_key="tlk_1", base_url=base_url), sdk(base_url, "tlk_1")):
            with opened as asking, film.open("rb") as file:
                tasks: Any = asking.embed.tasks
                task = tasks.create(model_name="local-v1", video_file=file)
                assert tasks.wait_for_done(task.id, sleep_interval=0.1).status == "ready"
                segments = tasks.retrieve(task.id).video_embedding.segments
            found.append([(each.embedding_option, each.float_) for each in segments])

    assert [option for option, _ in found[0]] == ["visual-text"] * 2 + ["audio"] * 2
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_the_server(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as (process, client):
        health = client.get(str(client.base_url).replace("/v1.3/", "/healthz")).json()
        process.send_signal(number)
        code = process.wait(timeout=20)
        assert process.stderr is not None
        said = process.stderr.read()

    assert (code, said) == (0, "")
    assert (health["workers"], health["queue_length"]) == (1, 0)
    assert (tmp_path / ".batchembed-serve" / ".gitignore").read_text() == "*\n"


@pytest.mark.slow
def test_a_request_in_flight_is_answered_before_the_end(film: Path, tmp_path: Path) -> None:
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % each
        for each in (
            (b"model_name", b"", b"local-v1"),
            (b"video_file", b'; filename="a.mp4"', film.read_bytes()),
        )
    )
    with serving(tmp_path) as (process, client), _begun(client, len(body) + 7) as raw:
        process.send_signal(signal.SIGTERM)
        while _listens(raw):
            pass  # until the signal has been heard
        raw.sendall(body + b"--b--\r\n")
        answered = raw.recv(1 << 16)
        code = process.wait(timeout=20)

    assert answered.startswith(b"HTTP/1.1 200 ")
    assert code == 0


@pytest.mark.slow
def test_a_second_signal_waits_for_no_request(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, client), _begun(client, 99) as raw:
        process.send_signal(signal.SIGTERM)
        while _listens(raw):
            pass  # until the first has been heard
        still_there = process.poll()
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=5)

    assert (still_there, code) == (None, 143)


@pytest.mark.slow
def test_a_second_signal_waits_for_no_video_that_is_probed(film: Path, tmp_path: Path) -> None:
    with (
        serving(tmp_path) as (process, client),
        concurrent.futures.ThreadPoolExecutor(12) as threads,
    ):
        coming = [threads.submit(create, client, film) for _ in range(12)]
        stopped = set[int]()
        while len(stopped) < 2:  # so that no probe ends before its deadline
            for pid in _probing(process.pid) - stopped:
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
        asked = [threads.submit(create, client, film) for _ in range(4)]
        listed = client.get("/embed/tasks", timeout=5)
        process.send_signal(signal.SIGTERM)
        while process.poll() is None and _answers(client):
            pass  # until the first has been heard
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=10)
        assert process.stderr is not None
        said = process.stderr.read()
        cut_off = [each.exception() for each in (*coming, *asked)]

    assert listed.status_code == 200
    assert (code, said) == (143, "batchembed: stopped at once; run again to go on\n")
    assert any(isinstance(error, httpx.TransportError) for error in cut_off)


def _probing(pid: int) -> set[int]:
    """The processes of a server that probe videos."""
    children = {
        int(child)
        for each in Path(f"/proc/{pid}/task").glob("*/children")
        for child in each.read_text().split()
    }
    return {each for each in children if b"prober" in Path(f"/proc/{each}/cmdline").read_bytes()}


def _answers(client: httpx.Client) -> bool:
    """Whether the server still takes a connection."""
    try:
        httpx.get(str(client.base_url), timeout=1)
    except httpx.TransportError:
        return False
    return True


@contextlib.contextmanager
def _begun(client: httpx.Client, length: int) -> Iterator[socket.socket]:
    """A connection on which a create has begun: the server waits for its body."""
    address = (client.base_url.host, client.base_url.port or 0)
    with socket.create_connection(address, timeout=20) as raw:
        raw.sendall(
            b"POST /v1.3/embed/tasks HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n" % length
        )
        assert raw.recv(1 << 16).startswith(b"HTTP/1.1 100 ")
        yield raw


def _listens(raw: socket.socket) -> bool:
    """Whether the server that this connection leads to takes more."""
    try:
        socket.create_connection(raw.getpeername(), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
def test_a_key_is_needed_where_the_server_has_one(tmp_path: Path) -> None:
    with serving(tmp_path, "--api-key-env", "KEY", env={"KEY": "s3cret"}) as (_, client):
        answers = [
            client.get("/embed/tasks", headers={} if key is None else {"x-api-key": key})
            for key in (None, "wrong", "s3cret")
        ]
        health = client.get(str(client.base_url).replace("/v1.3/", "/healthz"))

    assert [answer.status_code for answer in answers] == [401, 401, 200]
    assert answers[0].json()["code"] == "api_key_invalid"
    assert health.status_code == 200


def test_others_are_not_let_in_without_a_key(tmp_path: Path) -> None:
    code, said = refused(tmp_path, "--host", "0.0.0.0")  # noqa: S104  it is refused

    assert code == 2
    assert "--api-key-env NAME" in said


@pytest.mark.parametrize("env", [{}, {"KEY": ""}])
def test_a_key_that_is_not_set_is_refused(tmp_path: Path, env: dict[str, str]) -> None:
    code, said = refused(tmp_path, "--api-key-env", "KEY", env=env)

    assert code == 2
    assert "KEY is not set" in said


def test_a_key_that_is_no_text_is_refused(tmp_path: Path) -> None:
    code, said = refused(tmp_path, "--api-key-env", "KEY", env={"KEY": "\udcff\udcfe"})

    assert code == 2
    assert "printable ASCII" in said


@pytest.mark.parametrize("days", ["nan", "inf", "0", "-1"])
def test_a_retention_that_is_no_time_is_refused(tmp_path: Path, days: str) -> None:
    code, said = refused(tmp_path, "--retention-days", days)

    assert code == 2
    assert "--retention-days" in said


@pytest.mark.slow
def test_an_address_of_another_machine_is_told(tmp_path: Path) -> None:
    code, said = refused(tmp_path, "--host", "192.0.2.1", "--api-key-env", "KEY", env={"KEY": "k"})

    assert code == 69
    assert "192.0.2.1 is no address of this machine" in said
    assert "--port" not in said


@pytest.mark.slow
def test_notes_that_nobody_reads_do_not_hold_up_the_end(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text("rules: [{fault: unknown_fields}]\n")
    with serving(tmp_path, "--faults", "faults.yaml") as (process, client):
        fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)  # type: ignore[arg-type]
        for _ in range(400):
            client.get("/embed/tasks")
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=20)

    assert code == 0


@pytest.mark.slow
def test_it_serves_though_its_first_line_can_not_be_written(film: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("/dev/full", "w") as full:  # noqa: PTH123  a device
        process = subprocess.Popen(
            [COMMAND, "serve", "--port", str(port)], cwd=tmp_path, stderr=full
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/v1.3", timeout=60) as client:
            while process.poll() is None:
                with contextlib.suppress(httpx.ConnectError):
                    client.get("/embed/tasks")
                    break
            ended = until_ended(client, create(client, film))
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()

    assert (ended["status"], code) == ("ready", 0)


@pytest.mark.parametrize("alias", ["Marengo-retrieval-2.7", "a=b", "=local-v1"])
def test_an_alias_of_another_model_is_refused(tmp_path: Path, alias: str) -> None:
    code, said = refused(tmp_path, "--alias", alias)

    assert code == 2
    assert "MODEL=local-v1" in said


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = refused(tmp_path, "--port", str(taken.getsockname()[1]))

    assert code == 69
    assert "name another with --port" in said


def test_a_data_folder_that_can_not_be_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    code, said = refused(tmp_path, "--data", "file/data")

    assert code == 74
    assert "--data" in said


@pytest.mark.slow
def test_a_folder_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("ten years of work", encoding="utf-8")

    code, said = refused(tmp_path, "--port", "0", "--data", ".")

    assert code == 73
    assert "holds something else" in said
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_a_data_folder_has_one_server(tmp_path: Path) -> None:
    with serving(tmp_path):
        code, said = refused(tmp_path, "--port", "0")

    assert code == 75
    assert "another server holds the data folder" in said


@pytest.mark.slow
def test_faults_are_made_as_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text(
        "rules:\n"
        "- {fault: server_error, status: 503, on: [list], first: 1}\n"
        "- {fault: connection_cut, on: [status]}\n"
    )
    with serving(tmp_path, "--faults", "faults.yaml") as (_, client):
        answers = [client.get("/embed/tasks").status_code for _ in range(2)]
        with pytest.raises(httpx.TransportError):
            client.get(f"/embed/tasks/{'0' * 24}/status")

    assert answers == [503, 200]


def test_a_file_of_faults_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path, "--port", "0", "--faults", "none.yaml")[0] == 66
