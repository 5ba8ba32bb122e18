"""What is known of a video file before it is paid for: its headers, and its first frame."""

from __future__ import annotations

import itertools
import math
import os
from fractions import Fraction
from typing import BinaryIO

import av.container
import av.video.frame
import av.video.stream

from batchembed.core.model import Facts
from batchembed.core.problems import Reason
from batchembed.media.container import (
    audio_stream,
    display_aspect,
    open_container,
    upright_size,
    video_stream,
)
from batchembed.media.identity import open_regular
from batchembed.media.unreadable import UnreadableVideoError, broken

#: Packets that are tried for a first frame: a recording may begin between two key frames.
_PACKETS_TO_FIRST_FRAME = 1_000


def probe(path: str) -> Facts | Reason:
    """Read the headers of a local video and decode its first frame.

    It may be called in several threads at once. `Facts.rotation` is in counter-clockwise degrees,
    0 to 359, that show the picture upright.

    Returns:
        The facts, or why the file can't be used as a video.
    """
    try:
        with open_regular(path) as file:
            return probe_file(file, os.fstat(file.fileno()).st_size)
    except UnreadableVideoError as error:
        return error.reason


def probe_file(file: BinaryIO, size_bytes: int, *, timeout_s: float = 5.0) -> Facts:
    """The same of an open file, positioned at its start, which stays the caller's to close.

    Args:
        file: readable and seekable.
        size_bytes: of it.
        timeout_s: as `open_container` takes it.

    Raises:
        UnreadableVideoError: it can't be used as a video.
    """
    with open_container(file, timeout_s=timeout_s) as container:
        said = _said_duration_sec(container)
        if said is not None:
            return _facts(container, size_bytes, said)
        walked = _walked_duration_sec(container)
    file.seek(0)
    with open_container(file, timeout_s=timeout_s) as container:
        return _facts(container, size_bytes, walked)


def _facts(container: av.container.InputContainer, size_bytes: int, duration_sec: float) -> Facts:
    video, audio = video_stream(container), audio_stream(container)
    video.codec_context.thread_count = 1  # more would delay the first frame
    frame = _first_frame(container, video)
    width, height = upright_size(frame)
    rate = video.average_rate or video.guessed_rate
    return Facts(
        width=width,
        height=height,
        aspect_ratio=float(display_aspect(frame, video)),
        rotation=round(frame.rotation) % 360,
        duration_sec=duration_sec,
        size_bytes=size_bytes,
        frame_rate=float(rate) if rate else None,
        format_name=container.format.name,
        video_codec=video.codec_context.codec.canonical_name,
        audio_codec=audio.codec_context.codec.canonical_name if audio else None,
    )


def _first_frame(
    container: av.container.InputContainer, video: av.video.stream.VideoStream
) -> av.video.frame.VideoFrame:
    for packet in itertools.islice(container.demux(video), _PACKETS_TO_FIRST_FRAME):
        for frame in video.decode(packet):
            return frame
    raise broken("none of its first frames can be decoded")


def _said_duration_sec(container: av.container.InputContainer) -> float | None:
    """Seconds that the headers give the file, else its longest video; None if they say nothing."""
    if container.duration and container.duration > 0:
        return _to_ms(Fraction(container.duration, 1_000_000))
    said = [
        stream.duration * stream.time_base
        for stream in container.streams.video
        if stream.duration and stream.duration > 0 and stream.time_base
    ]
    return _to_ms(max(said)) if said else None


def _walked_duration_sec(container: av.container.InputContainer) -> float:
    """Seconds from the first to the end of the last packet of video, without decoding any.

    Raises:
        UnreadableVideoError: no packet carries a time or a duration.
    """
    video = video_stream(container)
    first, last, lengths = math.inf, -math.inf, 0
    for packet in container.demux(video):
        length = packet.duration or 0
        lengths += length
        if packet.pts is not None:
            first, last = min(first, packet.pts), max(last, packet.pts + length)
    ticks = int(last - first) if last > first else lengths
    if ticks <= 0 or video.time_base is None:
        raise broken("its duration is unknown: neither its headers nor its packets tell")
    return _to_ms(ticks * video.time_base)


def _to_ms(seconds: Fraction) -> float:
    return round(float(seconds), 3)
