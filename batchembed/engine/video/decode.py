"""One pass over a video: the frames to embed of each segment, and its sound.

Frames and sound are handed out as soon as a segment's are complete, so memory does not grow with
the video. Nothing is sought but the start of the window. Times are those that a player shows:
seconds from the container's start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO, TypeAlias

import av.audio.stream
import av.container
import av.error
import av.packet
import av.stream
import av.video.frame
import av.video.stream

from batchembed.core.problems import Reason
from batchembed.core.segments import Span
from batchembed.engine.video.frames import Frames, Sampling, SegmentFrames
from batchembed.engine.video.sound import SegmentSound, Sound
from batchembed.media.container import audio_stream, open_container, video_stream

_MICROSECONDS = 1_000_000
#: A video may end this much before its header says, or two frames if those are longer.
_MISSING_TAIL_SEC = Fraction(1)
#: A larger share of corrupt frames, or of undecodable packets of sound, fails the video.
_CORRUPT_SHARE = 0.05


class UndecodableError(Exception):
    """A video can't be decoded as far as it should be; `reason` says how far it could."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """What of a video is embedded: the window, and its segments."""

    whole: Span
    clips: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Comes first."""

    duration_sec: float
    cutting: Cutting


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Comes last: everything was decoded, with these doubts."""

    warnings: tuple[Reason, ...]


Part: TypeAlias = Opened | SegmentFrames | SegmentSound | Finished


def decode(file: BinaryIO, cut: Callable[[float], Cutting], sampling: Sampling) -> Iterator[Part]:
    """Decode an open file once.

    Args:
        file: readable and seekable, at its start.
        cut: says, given the video's duration in seconds, which segments to give.
        sampling: says which frames of a segment to give, and in which size.

    Yields:
        `Opened`; then frames and sound of the segments, each kind in order of time; then
        `Finished`. Without an audio stream there is no sound.

    Raises:
        UnreadableVideoError: the file can't be read as a video.
        UndecodableError: it breaks off, or is damaged.
    """
    start = file.tell()
    duration_sec = _duration_sec(file)
    cutting = cut(duration_sec)
    yield Opened(duration_sec=duration_sec, cutting=cutting)
    file.seek(start)
    with open_container(file) as container:
        yield from _Pass(container, cutting, sampling).run()


class _Pass:
    """The state of one pass: the two streams, and what was counted on the way."""

    def __init__(
        self,
        container: av.container.InputContainer,
        cutting: Cutting,
        sampling: Sampling,
    ) -> None:
        self._container = container
        self._video = video_stream(container)
        self._audio = audio_stream(container)
        self._video.thread_type = "NONE"
        self._video.codec_context.thread_count = 1
        self._cutting = cutting
        self._zero = Fraction(container.start_time or 0, _MICROSECONDS)
        self._frames = Frames(self._cutting.clips, sampling, self._video)
        self._sound = Sound(self._cutting.clips if self._audio else (), self._zero)
        self._last: Fraction | None = None  # when the last decoded frame appeared
        self._start = Fraction(cutting.whole.start_ms, 1000)
        self._longest = 0  # ticks that a frame was on screen
        self._decoded = self._corrupt = 0
        self._sound_packets = self._lost_sound = 0

    def run(self) -> Iterator[SegmentFrames | SegmentSound | Finished]:
        self._seek()
        streams = [stream for stream in (self._video, self._audio) if stream is not None]
        end = Fraction(self._cutting.whole.end_ms, 1000)
        for packet in self._container.demux(streams):
            if packet.stream is self._video:
                if self._last is None or self._last < end:
                    yield from self._take_video(packet)
            elif not self._sound.complete:
                yield from self._take_sound(packet)
            if self._last is not None and self._last >= end and self._sound.complete:
                break
        self._check_end(end)
        yield from self._frames.finish()
        yield from self._sound.finish()
        yield Finished(warnings=tuple(self._warnings()))

    def _seek(self) -> None:
        """Go to the last key frame before the window, or stay at the start where that fails."""
        start = self._start
        if start == 0:
            return
        self._container.seek(int((start + self._zero) * _MICROSECONDS))
        first = next((self._seconds(frame) for frame in self._container.decode(self._video)), None)
        late = first is None or first > start
        self._container.seek(int((self._zero if late else start + self._zero) * _MICROSECONDS))

    def _take_video(self, packet: av.packet.Packet[av.stream.Stream]) -> Iterator[SegmentFrames]:
        try:
            frames = self._video.decode(packet)
        except av.error.InvalidDataError as error:
            raise UndecodableError(
                self._reason("video_damaged", "a packet can't be decoded")
            ) from error
        for frame in frames:
            seconds = self._seconds(frame)
            if seconds is None:
                continue
            if seconds >= self._start:
                self._decoded += 1
                self._corrupt += bool(frame.is_corrupt)
            self._longest = max(self._longest, frame.duration or 0)
            self._last = seconds
            yield from self._frames.take(frame, seconds)

    def _take_sound(self, packet: av.packet.Packet[av.stream.Stream]) -> Iterator[SegmentSound]:
        assert self._audio is not None  # noqa: S101  narrows the type: the packet is of that stream
        self._sound_packets += 1
        try:
            frames = self._audio.decode(packet)
        except av.error.InvalidDataError:
            self._lost_sound += 1
            return
        for frame in frames:
            yield from self._sound.take(frame)

    def _seconds(self, frame: av.video.frame.VideoFrame) -> Fraction | None:
        ticks = frame.dts if frame.pts is None else frame.pts
        if ticks is None or frame.time_base is None:
            return None
        return ticks * frame.time_base - self._zero

    def _check_end(self, end: Fraction) -> None:
        """A file that was cut off decodes without an error; only its frames end too early."""
        if self._last is None:
            raise UndecodableError(self._reason("video_damaged", "no frame can be decoded"))
        promised = min(end, self._promised_end() or end)
        frame = max(_frame_sec(self._video), self._longest * (self._video.time_base or 0))
        if promised - self._last > max(_MISSING_TAIL_SEC, 2 * frame):
            raise UndecodableError(self._reason("video_truncated", "the video breaks off"))

    def _promised_end(self) -> Fraction | None:
        """Where the headers say that the pictures end: sound may be longer."""
        if not self._video.duration or self._video.time_base is None:
            return _matroska_duration(self._video.metadata.get("DURATION", ""))
        start = (self._video.start_time or 0) * self._video.time_base - self._zero
        return start + self._video.duration * self._video.time_base

    def _reason(self, code: str, what: str) -> Reason:
        """Why it ends here, with how much was decoded."""
        decoded = float(max(self._last or Fraction(0), Fraction(0)))
        return Reason(
            code=code,
            message=f"{what}: decoded up to {decoded:.2f} s of "
            f"{self._cutting.whole.end_offset_sec:.2f} s",
            value=round(decoded, 3),
            limit=self._cutting.whole.end_offset_sec,
            hint="copy the file again from its source, or end the window before the damage",
        )

    def _warnings(self) -> Iterator[Reason]:
        """Damage that is small enough to go on.

        Raises:
            UndecodableError: damage that is not.
        """
        for code, what, bad, total in (
            ("frames_corrupt", "frames are corrupt", self._corrupt, self._decoded),
            (
                "audio_corrupt",
                "packets of sound can't be decoded",
                self._lost_sound,
                self._sound_packets,
            ),
        ):
            if bad == 0:
                continue
            reason = Reason(
                code=code,
                message=f"{bad} of {total} {what}",
                value=bad,
                limit=int(total * _CORRUPT_SHARE),
                hint="copy the file again from its source",
            )
            if bad > total * _CORRUPT_SHARE:
                raise UndecodableError(reason)
            yield reason


def _duration_sec(file: BinaryIO) -> float:
    """Seconds, rounded to 1 ms: what the headers say, else where the last packet of video ends."""
    with open_container(file) as container:
        video = video_stream(container)
        if container.duration and container.duration > 0:
            return round(container.duration / _MICROSECONDS, 3)
        time_base = video.time_base or Fraction(0)
        seconds = (video.duration or _packets_end(container, video)) * time_base
    if seconds <= 0:
        raise UndecodableError(
            Reason(
                code="video_file_broken",
                message="the video's duration is unknown: neither headers nor packets tell",
                hint="remux it: ffmpeg -i IN -c copy OUT.mp4",
            )
        )
    return round(float(seconds), 3)


def _packets_end(container: av.container.InputContainer, video: av.video.stream.VideoStream) -> int:
    """Ticks from the first packet to the end of the last one; nothing is decoded."""
    first, last, lengths = None, 0, 0
    for packet in container.demux(video):
        lengths += packet.duration or 0
        if packet.pts is not None:
            first = packet.pts if first is None else min(first, packet.pts)
            last = max(last, packet.pts + (packet.duration or 0))
    return lengths if first is None else last - first


def _frame_sec(video: av.video.stream.VideoStream) -> Fraction:
    """Seconds that a frame is on screen, as far as the headers tell."""
    rate = video.average_rate or video.guessed_rate
    return 1 / Fraction(rate) if rate else Fraction(0)


def _matroska_duration(text: str) -> Fraction | None:
    """Seconds of a tag such as `00:00:07.064000000`: Matroska has no other place for a track's."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", text)
    if match is None:
        return None
    return Fraction(int(match[1]) * 3600 + int(match[2]) * 60) + Fraction(match[3])
