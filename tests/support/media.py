"""Makes tiny videos, so that no video is kept in the repository. The same arguments, the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import av.audio.frame
import av.audio.stream
import av.container
import av.stream
import av.video.frame
import av.video.stream
import numpy as np
import numpy.typing as npt

Audio = Literal["silence"] | bool

SAMPLE_RATE = 16_000
_AUDIO_BLOCK = 1024

_VIDEO_CODECS = {".webm": "libvpx"}
_AUDIO_CODECS = {".webm": "libopus", ".avi": "libmp3lame"}


def make_video(
    path: Path,
    *,
    width: int = 640,
    height: int = 360,
    seconds: float = 5.0,
    fps: int = 10,
    audio: Audio = False,
    rotation: int = 0,
    sar: tuple[int, int] = (1, 1),
    codec: str | None = None,
    seed: int = 0,
) -> Path:
    """Write a video of a moving scene; the suffix of `path` chooses the container.

    Args:
        path: such as `a.mp4`, `a.mkv`, `a.avi`, `a.ts` or `a.webm`.
        width: of the stored picture, even.
        height: of the stored picture, even.
        seconds: of video, and of sound.
        fps: frames a second.
        audio: a tone, or digital silence.
        rotation: counter-clockwise degrees that a player is told to turn the picture by.
        sar: sample aspect ratio.
        codec: the encoder of the video, else one that fits the container.
        seed: videos of different seeds look and sound different.

    Returns:
        `path`.
    """
    with _create(path) as out:
        video = _add_video(out, codec or _VIDEO_CODECS.get(path.suffix, "libx264"), fps)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        if video.codec.name == "mjpeg":
            video.pix_fmt = "yuvj420p"
        video.codec_context.sample_aspect_ratio = Fraction(*sar)
        if rotation:
            video.set_display_rotation(rotation)
        sound = _add_audio(out, path) if audio else None
        for index, image in enumerate(_scene(width, height, round(seconds * fps), seed)):
            frame = av.video.frame.VideoFrame.from_ndarray(image, format="gray8")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        if sound is not None:
            for block in _sound(seconds, seed, silent=audio == "silence"):
                out.mux(sound.encode(block))
            out.mux(sound.encode())
    return path


def _create(path: Path) -> av.container.OutputContainer:
    options = {"fflags": "+bitexact"}
    if path.suffix == ".mp4":
        options["movflags"] = "+faststart"
    return av.open(path, "w", options=options)


def _add_video(
    out: av.container.OutputContainer, codec: str, fps: int
) -> av.video.stream.VideoStream:
    fast = {"libx264": {"preset": "ultrafast"}, "libvpx": {"deadline": "realtime", "cpu-used": "8"}}
    options = {**fast.get(codec, {}), "threads": "1", "flags": "+bitexact", "g": str(fps)}
    stream = out.add_stream(codec, rate=fps, options=options)
    assert isinstance(stream, av.video.stream.VideoStream)
    return stream


def _add_audio(out: av.container.OutputContainer, path: Path) -> av.audio.stream.AudioStream:
    codec = _AUDIO_CODECS.get(path.suffix, "aac")
    stream = out.add_stream(
        codec, rate=SAMPLE_RATE, layout="mono", options={"flags": "+bitexact", "b": "32000"}
    )
    assert isinstance(stream, av.audio.stream.AudioStream)
    return stream


def _scene(width: int, height: int, frames: int, seed: int) -> Iterator[npt.NDArray[np.uint8]]:
    """A gradient with a bright square that crosses it; both are drawn from the seed."""
    random = np.random.default_rng(seed)
    slope = random.uniform(-0.4, 0.4, size=2)
    start, speed = random.uniform(0, 1, size=2), random.uniform(0.01, 0.06, size=2)
    rows, columns = np.ogrid[0:height, 0:width]
    ground = (128 + 100 * (slope[0] * rows / height + slope[1] * columns / width)).astype(np.uint8)
    side = min(width, height) // 4
    for index in range(frames):
        image = ground.copy()
        top, left = ((start + speed * index) % 1 * (height - side, width - side)).astype(int)
        image[top : top + side, left : left + side] = random.integers(180, 255)
        yield image


def _sound(seconds: float, seed: int, *, silent: bool) -> Iterator[av.audio.frame.AudioFrame]:
    pitch = 220 * (1 + seed % 8)
    for start in range(0, round(seconds * SAMPLE_RATE), _AUDIO_BLOCK):
        stop = min(start + _AUDIO_BLOCK, round(seconds * SAMPLE_RATE))
        wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(start, stop) / SAMPLE_RATE)
        samples = np.zeros_like(wave) if silent else wave
        block = av.audio.frame.AudioFrame.from_ndarray(
            samples.astype(np.float32)[None, :], format="fltp", layout="mono"
        )
        block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        yield block


def make_sound(path: Path, *, seconds: float = 5.0, cover: bool = False, seed: int = 0) -> Path:
    """Write a file of sound alone, or with a cover picture; returns `path`."""
    with _create(path) as out:
        sound = _add_audio(out, path)
        if cover:
            _add_cover(out)
        for block in _sound(seconds, seed, silent=False):
            out.mux(sound.encode(block))
        out.mux(sound.encode())
    return path


def _add_cover(out: av.container.OutputContainer) -> None:
    picture = _add_video(out, "mjpeg", 1)
    picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
    picture.disposition = av.stream.Disposition.attached_pic
    frame = av.video.frame.VideoFrame.from_ndarray(next(_scene(64, 64, 1, 0)), format="gray8")
    frame.pts = 0
    out.mux(picture.encode(frame))
    out.mux(picture.encode())


def truncate(path: Path, fraction: float) -> Path:
    """Keep the first `fraction` of the file's bytes; returns `path`.

    An `.mp4` of `make_video` has its index in front and still opens; a `.mov` has it at the end.
    """
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


def damage(path: Path, *, start: float, stop: float, seed: int = 0) -> Path:
    """Overwrite the bytes between two fractions of the file with noise; returns `path`."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * start), int(len(data) * stop)
    data[first:last] = np.random.default_rng(seed).bytes(last - first)
    path.write_bytes(data)
    return path
