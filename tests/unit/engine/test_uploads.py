"""A multipart body, however it is cut and whatever is wrong with it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchembed.engine.received import Received
from batchembed.engine.refusal import Refusal
from batchembed.engine.spool import Spool
from batchembed.engine.web.uploads import declared_bytes, receive_form

VIDEO = bytes(range(256)) * 40 + b"\r\n--bound" + b"\r\n--" + b"\r\n"
BODY = (
    b'--bound\r\nContent-Disposition: form-data; name="model_name"\r\n\r\nlocal-v1\r\n'
    b'--bound\r\nContent-Disposition: form-data; name="video_file"; filename="f\xc3\xa9.mp4"\r\n'
    b"Content-Type: video/mp4\r\n\r\n" + VIDEO.replace(b"--bound", b"--boun") + b"\r\n"
    b'--bound\r\nContent-Disposition: form-data; name="video_embedding_scope"\r\n\r\nclip\r\n'
    b'--bound\r\nContent-Disposition: form-data; name="video_embedding_scope"\r\n\r\nvideo\r\n'
    b"--bound--\r\n"
)
KIND = "multipart/form-data; boundary=bound"


def receive(
    folder: Path, chunks: Iterable[bytes], *, kind: str = KIND, max_bytes: int = 1 << 20
) -> Received:
    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    spool = Spool(folder, reserve_bytes=0)
    return asyncio.run(receive_form(body(), content_type=kind, spool=spool, max_bytes=max_bytes))


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_a_form_is_the_same_however_it_is_cut(tmp_path: Path, size: int) -> None:
    got = receive(tmp_path, (BODY[at : at + size] for at in range(0, len(BODY), size)))

    video = VIDEO.replace(b"--bound", b"--boun")
    assert got.fields == (
        ("model_name", "local-v1"),
        ("video_embedding_scope", "clip"),
        ("video_embedding_scope", "video"),
    )
    assert got.file is not None
    assert got.file.filename == "fé.mp4"
    assert Path(got.file.path).read_bytes() == video
    assert got.file.sha256 == hashlib.sha256(video).hexdigest()


def test_an_empty_file_part_without_a_name_is_none(tmp_path: Path) -> None:
    body = b'--bound\r\nContent-Disposition: form-data; name="video_file"\r\n\r\n\r\n--bound--\r\n'

    assert receive(tmp_path, [body]).file is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=bound",
        f"multipart/form-data; boundary={'b' * 5000}",
        "multipart/form-data; boundary=other",
    ],
)
def test_another_content_type_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Refusal) as caught:
        receive(tmp_path, [BODY], kind=kind)

    assert caught.value.status_code == 400
    assert list(tmp_path.iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_form_that_is_cut_or_changed_is_read_or_refused_and_never_worse(
    tmp_path: Path, data: st.DataObject
) -> None:
    body = bytearray(BODY[: data.draw(st.integers(0, len(BODY)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if body:
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        got = receive(tmp_path, [bytes(body)])
    except Refusal as refusal:
        assert refusal.status_code == 400  # noqa: PT017  either end is right
        assert list(tmp_path.iterdir()) == []
    else:
        if got.file is not None:
            Path(got.file.path).unlink()


@pytest.mark.parametrize("length", ["101", "99999999999999999999"])
def test_a_declared_length_over_the_limit_is_refused(length: str) -> None:
    with pytest.raises(Refusal) as caught:
        declared_bytes(length, 100)

    assert (caught.value.status_code, caught.value.code) == (413, "video_filesize_too_large")


def test_a_length_within_the_limit_or_none_is_taken() -> None:
    assert (declared_bytes("100", 100), declared_bytes(None, 100)) == (100, 0)
