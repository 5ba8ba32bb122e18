from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from batchembed.core.model import Facts
from batchembed.core.problems import Reason
from batchembed.engine.video.embed import Embedded, EmbeddedSegment, EmbedPlan
from batchembed.engine.workers.messages import (
    Done,
    Embed,
    Failed,
    Found,
    ProtocolError,
    Ready,
    Unreadable,
    done,
    embedded,
    found,
    read_answer,
    read_greeting,
    read_request,
    send_answer,
    send_request,
)
from batchembed.engine.workers.sandbox import Confinement

PLAN = EmbedPlan(clip_length_sec=6, scopes=("clip", "video"), start_offset_sec=1.5)
SEGMENT = EmbeddedSegment(
    start_ms=0, end_ms=6_000, embedding_option="visual-text", embedding_scope="clip"
)
RESULT = Embedded(
    duration_sec=6.04,
    segments=(SEGMENT, SEGMENT),
    vectors=np.array([[0.6, 0.8], [1.0, 0.0]], np.float32),
    warnings=(Reason(code="frames_corrupt", message="1 of 60 frames are corrupt", value=1),),
)
FACTS = Facts(
    width=640,
    height=360,
    aspect_ratio=16 / 9,
    rotation=0,
    duration_sec=6.04,
    size_bytes=48_000,
    frame_rate=None,
    format_name="avi",
    video_codec="h264",
    audio_codec=None,
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    with ours, theirs:
        yield ours, theirs


def test_a_result_comes_back_as_it_was(ends: tuple[socket.socket, socket.socket]) -> None:
    send_answer(ends[0], done(RESULT))
    answer = read_answer(ends[1], lambda: 5.0)
    assert isinstance(answer, Done)
    back = embedded(answer)
    np.testing.assert_array_equal(back.vectors, RESULT.vectors)
    assert back.vectors.dtype == np.float32
    assert (back.segments, back.warnings) == (RESULT.segments, RESULT.warnings)


def test_a_request_carries_its_open_file(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"bytes of a video")
    with path.open("rb") as file:
        send_request(ends[0], Embed(plan=PLAN), file.fileno())
    request = read_request(ends[1])
    assert request is not None
    asked, descriptor = request
    assert asked == Embed(plan=PLAN)
    with os.fdopen(descriptor, "rb") as received:
        assert received.read() == b"bytes of a video"


def test_no_more_requests_is_not_an_error(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].close()
    assert read_request(ends[1]) is None


def test_a_worker_that_ends_in_the_middle_of_an_answer_is_noticed(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ends[0].sendall(b"\0\0\0\x10half")
    ends[0].close()
    with pytest.raises(ProtocolError, match="after 4 of 16 bytes"):
        read_answer(ends[1], lambda: 5.0)


def test_an_answer_that_comes_byte_by_byte_gets_no_more_time(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    remaining_s = iter([5.0, 5.0, 0.0])
    ends[0].sendall(b"\0\0\0\x10half")
    with pytest.raises(TimeoutError):
        read_answer(ends[1], lambda: next(remaining_s))


def test_what_probing_found_comes_back_as_it_was(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    reason = Reason(code="video_file_broken", message="no video")
    for sent, expected in ((Found(FACTS), FACTS), (Unreadable(reason), reason)):
        send_answer(ends[0], sent)
        answer = read_answer(ends[1], lambda: 5.0)
        assert not isinstance(answer, Failed)
        assert found(answer) == expected


def test_an_answer_to_another_question_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no answer to Probe"):
        found(done(RESULT))
    with pytest.raises(ProtocolError, match="no answer to Embed"):
        embedded(Found(FACTS))


def test_facts_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ProtocolError, match="not finite"):
        found(Found(dataclasses.replace(FACTS, duration_sec=float("nan"))))


def test_an_answer_longer_than_any_result_is_refused(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ends[0].sendall(b"\xff\xff\xff\xff")
    with pytest.raises(ProtocolError, match="longer than"):
        read_answer(ends[1], lambda: 5.0)


def test_a_greeting_is_no_answer(ends: tuple[socket.socket, socket.socket]) -> None:
    send_answer(ends[0], Ready(confinement=Confinement(landlock=True, seccomp=True)))
    with pytest.raises(ProtocolError):
        read_answer(ends[1], lambda: 5.0)


def test_a_worker_may_greet_with_its_failure(ends: tuple[socket.socket, socket.socket]) -> None:
    send_answer(ends[0], Failed(Reason(code="worker_start", message="no model")))
    assert read_greeting(ends[1], lambda: 5.0) == Failed(
        Reason(code="worker_start", message="no model")
    )


def test_vectors_that_are_not_of_the_segments_are_refused() -> None:
    with pytest.raises(ProtocolError, match="are no 2 vectors"):
        embedded(msgspec.structs.replace(done(RESULT), vectors=b"1234"))


def test_numbers_that_are_not_finite_are_refused() -> None:
    broken = np.array([[np.nan, 1], [1, 0]], "<f4").tobytes()
    with pytest.raises(ProtocolError, match="not finite"):
        embedded(msgspec.structs.replace(done(RESULT), vectors=broken))
