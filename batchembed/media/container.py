"""The one way to open a video that nobody vouches for; the probe and the engine both use it.

FFmpeg, left alone, follows what it is given: a playlist makes it send requests, a script makes it
decode other files, plain text becomes a picture. So it sees an open file without a name, a list of
the demuxers that read one self-contained file, no protocol to open anything else with, and a cap
on the pixels of a frame.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import BinaryIO

import av
import av.audio.stream
import av.container
import av.error
import av.format
import av.logging
import av.stream
import av.video.frame
import av.video.stream

from batchembed.core.problems import Reason
from batchembed.media.unreadable import UnreadableVideoError, broken, no_access

__all__ = [
    "MAX_PIXELS",
    "UnreadableVideoError",
    "audio_stream",
    "display_aspect",
    "format_whitelist",
    "open_container",
    "quarter_turns",
    "upright_size",
    "video_stream",
]

# FFmpeg's log is dropped, whatever the default: what matters comes as exceptions.
av.logging.set_level(None)

#: Pixels of one frame that are decoded at most: 8K, above every published limit. A file of 200 kB
#: can ask for frames of 8192 x 8192.
MAX_PIXELS = 8192 * 4320

#: Demuxers that are refused besides devices (which say of themselves that they read no file).
_REFUSED = {
    "playlists and scripts, which name other files or addresses": (
        "applehttp avisynth bluray concat concatf dash dvdvideo hls imf sbg sdp tedcaptions "
        "vapoursynth vobsub webm_dash_manifest"
    ),
    "network streams": "mpjpeg msnwctcp rtp rtsp sap",
    "filter graphs and devices, whatever their flags say": (
        "alsa android_camera avfoundation bktr decklink dshow fbdev gdigrab iec61883 jack kmsgrab lavfi "
        "libcdio libdc1394 openal oss pulse sndio v4l2 vfwcap video4linux2 x11grab xcbgrab"
    ),
    "text that is drawn as a picture": "adf bin idf tty xbin",
    "metadata, captions, lyrics and subtitles": (
        "aqtitle ass dvbsub dvbtxt ffmetadata jacosub lrc mcc microdvd mpl2 mpsub pjs rcwt realtext sami "
        "scc srt stl subviewer subviewer1 sup vplayer webvtt"
    ),
    "still images and sequences of them": (
        "alias_pix brender_pix fits ico image2 image2pipe msp txd"
    ),
    "bytes of no format at all": "data",
}
_REFUSED_NAMES = frozenset(name for names in _REFUSED.values() for name in names.split())
#: Image sequences of every kind end so: `png_pipe`, `svg_pipe`.
_REFUSED_SUFFIX = "_pipe"

#: What PyAV raises for a file that it can't read. The last five are not FFmpeg's: they come from
#: PyAV's own reading of broken tags, times and tables.
_UNDECODABLE = (
    av.error.FFmpegError,
    UnicodeDecodeError,
    ValueError,
    OverflowError,
    EOFError,
    IndexError,
)


@functools.cache
def format_whitelist() -> str:
    """Names, joined by commas, of the demuxers that read one self-contained media file."""
    names: set[str] = set()
    for names_of_one in av.format.formats_available:
        if _is_self_contained(names_of_one):
            names.update(names_of_one.split(","))
    return ",".join(sorted(names))


def _is_self_contained(names: str) -> bool:
    try:
        demuxer = av.format.ContainerFormat(names, "r")
    except ValueError:  # it only writes
        return False
    return not (
        demuxer.no_file
        or any(
            name in _REFUSED_NAMES or name.endswith(_REFUSED_SUFFIX) for name in names.split(",")
        )
    )


class _Nameless:
    """An open file without its name: FFmpeg guesses the format by the extension otherwise."""

    name = ""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable


@contextmanager
def open_container(
    file: BinaryIO, *, timeout_s: float = 5.0
) -> Iterator[av.container.InputContainer]:
    """Open a binary file, positioned at its start, as a video.

    The file stays the caller's to close. Errors of reading and decoding inside the `with` are
    translated too, so keep other work out of it.

    Args:
        file: readable and, for most formats, seekable.
        timeout_s: how long opening, and each read, may take. It guards reading, not decoding.

    Raises:
        UnreadableVideoError: it is no self-contained video that FFmpeg can read.
    """
    try:
        with _open(file, timeout_s) as container:
            yield container
    except _UNDECODABLE as error:
        raise broken(_words(error)) from error
    except OSError as error:  # from the file itself; FFmpeg's own are above
        if error.errno == errno.EINVAL:
            raise broken("its index points outside of it") from error
        raise no_access(_words(error), "check the disk, then run again") from error


def _open(file: BinaryIO, timeout_s: float) -> av.container.InputContainer:
    options = {
        "format_whitelist": format_whitelist(),
        "protocol_whitelist": "none",
        "max_pixels": str(MAX_PIXELS),  # of the frames that FFmpeg decodes to learn of the streams
    }
    timeout = (timeout_s, timeout_s)
    try:
        return av.open(
            _Nameless(file), "r", options=options, metadata_errors="ignore", timeout=timeout
        )
    except av.error.ArgumentError as error:  # how FFmpeg says that a demuxer is not listed
        raise broken("its format is not that of a self-contained video file") from error


def _words(error: Exception) -> str:
    """What FFmpeg says, without errno and file name."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said).rstrip(".")


def video_stream(container: av.container.InputContainer) -> av.video.stream.VideoStream:
    """The stream of moving pictures to embed: the first that is no cover art and has a decoder.

    Its decoder is told to refuse frames of more than `MAX_PIXELS`.

    Raises:
        UnreadableVideoError: there is none, or its frames are too large.
    """
    pictures = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not pictures:
        what = "a cover picture, but no video" if container.streams.video else "no video stream"
        raise broken(f"it has {what}")
    stream = next((stream for stream in pictures if _has_decoder(stream)), None)
    if stream is None:
        raise broken("FFmpeg has no decoder for its video")
    if not stream.width * stream.height:
        raise broken(f"its frames have no known size, or more than {MAX_PIXELS:,} pixels")
    if stream.width * stream.height > MAX_PIXELS:
        raise UnreadableVideoError(
            Reason(
                code="video_resolution_too_high",
                message=f"resolution {stream.width}x{stream.height} is above the "
                f"{MAX_PIXELS:,} pixels of a frame that are decoded at most",
                value=stream.width * stream.height,
                limit=MAX_PIXELS,
                hint="scale the video down",
            )
        )
    # The option of the container reaches only the frames that are decoded while it is opened.
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def audio_stream(container: av.container.InputContainer) -> av.audio.stream.AudioStream | None:
    """The sound to embed: the first audio stream that has a decoder and a sampling rate, if any."""
    return next(
        (
            stream
            for stream in container.streams.audio
            if _has_decoder(stream) and stream.codec_context.sample_rate > 0
        ),
        None,
    )


def _has_decoder(stream: av.stream.Stream) -> bool:
    # PyAV gives a stream no codec context if FFmpeg has no decoder for it, which its types omit.
    return getattr(stream, "codec_context", None) is not None


def quarter_turns(frame: av.video.frame.VideoFrame) -> int:
    """Counter-clockwise quarter turns, 0 to 3, that show the frame upright, as `numpy.rot90` takes.

    Rotation is known from a decoded frame alone.
    """
    return round(frame.rotation / 90) % 4


def upright_size(frame: av.video.frame.VideoFrame) -> tuple[int, int]:
    """Width and height of the frame after rotation, in stored pixels (sample aspect not applied)."""
    if quarter_turns(frame) % 2:
        return frame.height, frame.width
    return frame.width, frame.height


def display_aspect(
    frame: av.video.frame.VideoFrame, stream: av.video.stream.VideoStream
) -> Fraction:
    """Width over height as a player shows it: after sample aspect ratio and rotation."""
    aspect = Fraction(frame.width, frame.height) * (stream.sample_aspect_ratio or 1)
    return 1 / aspect if quarter_turns(frame) % 2 else aspect
