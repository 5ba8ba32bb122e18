"""What stands for a video, and how it is read."""

from __future__ import annotations

import io
import os
from pathlib import Path

import httpx
import pytest

from batchembed import TasksClient
from batchembed.api.models import Upload
from batchembed.api.uploads import Reader, as_upload, size_bytes
from batchembed.errors import ArgumentError


def test_every_form_of_a_file_becomes_an_upload(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"film")

    with path.open("rb") as file:
        forms = [
            b"film",
            bytearray(b"film"),
            io.BytesIO(b"film"),
            file,
            path,
            str(path),
            ("b.mov", b"film"),
            ("b.mov", path, None),
            (None, path),
            ("b.mov", b"film", "video/x"),
            ("b.mov", b"film", "video/x", {"X-Part": "1"}),
        ]
        uploads = [as_upload(form) for form in forms]
        found = [
            (upload.filename, upload.content_type, size_bytes(upload), upload.headers)
            for upload in uploads
        ]
        for upload in uploads:
            if upload.owned:
                upload.file.close()

    octets = "application/octet-stream"
    assert found == [
        ("upload", octets, 4, {}),
        ("upload", octets, 4, {}),
        ("upload", octets, 4, {}),
        ("a.mp4", "video/mp4", 4, {}),
        ("a.mp4", "video/mp4", 4, {}),
        ("a.mp4", "video/mp4", 4, {}),
        ("b.mov", "video/quicktime", 4, {}),
        ("b.mov", "video/quicktime", 4, {}),
        ("a.mp4", "video/mp4", 4, {}),
        ("b.mov", "video/x", 4, {}),
        ("b.mov", "video/x", 4, {"X-Part": "1"}),
    ]


def test_a_closed_file_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO(b"film")
    file.close()

    with pytest.raises(ArgumentError, match="closed"):
        as_upload(file)


def test_a_file_is_read_to_where_it_ended_when_it_was_announced(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"film")
    with path.open("rb") as file:
        reader = Reader(Upload(file=file, filename="a.mp4"), None, lambda: None)
        with path.open("ab") as more:
            more.write(b"and more")

        assert reader.seek(0, io.SEEK_END) == 4
        assert reader.seek(0) == 0
        assert (reader.read(65_536), reader.read(65_536)) == (b"film", b"")


def test_a_reader_asks_whether_to_go_on() -> None:
    def going() -> None:
        raise InterruptedError

    reader = Reader(Upload(file=io.BytesIO(b"film"), filename="a"), None, going)

    with pytest.raises(InterruptedError):
        reader.read()


class Pieces(httpx.BaseTransport):
    """Keeps the pieces in which a body comes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.announced = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        self.pieces = list(request.stream)
        self.announced = int(request.headers.get("content-length", -1))
        return httpx.Response(200, json={"_id": "t"})


@pytest.mark.parametrize(
    ("size_bytes", "most"),
    [(4, 1), ((1 << 16) - 100, 2), (1 << 16, 3), ((3 << 20) + 5, 5)],
    ids=["small", "as long as a piece", "a piece", "many reads"],
)
def test_the_small_pieces_of_a_form_are_sent_as_one(size_bytes: int, most: int) -> None:
    sent = Pieces()
    content = bytes(range(256)) * (size_bytes // 256 + 1)
    with TasksClient(api_key="k", transport=sent) as client:
        client.create(
            model_name="Marengo-retrieval-2.7",
            video_file=content[:size_bytes],
            video_embedding_scope=["clip", "video"],
        )

    body = b"".join(sent.pieces)
    assert len(body) == sent.announced
    assert content[:size_bytes] in body
    assert body.count(b"Content-Disposition") == 4
    assert len(sent.pieces) <= most


def test_what_comes_through_a_pipe_is_sent_as_it_comes() -> None:
    sent = Pieces()
    reading, writing = os.pipe()
    os.write(writing, b"film")
    os.close(writing)
    with (
        os.fdopen(reading, "rb", buffering=0) as pipe,
        TasksClient(api_key="k", transport=sent) as client,
    ):
        client.create(model_name="Marengo-retrieval-2.7", video_file=pipe)

    assert sent.announced == -1
    assert b"film" in sent.pieces  # and nothing with it
