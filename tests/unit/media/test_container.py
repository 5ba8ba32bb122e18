"""What may be opened at all."""

from __future__ import annotations

from io import BytesIO

import pytest

from batchembed.media.container import UnreadableVideoError, format_whitelist, open_container

SELF_CONTAINED = [
    "3g2",
    "3gp",
    "asf",
    "av1",
    "avi",
    "dv",
    "flv",
    "gif",
    "gxf",
    "h264",
    "hevc",
    "ivf",
    "matroska",
    "mjpeg",
    "mov",
    "mp4",
    "mpeg",
    "mpegts",
    "mpegvideo",
    "mxf",
    "nut",
    "obu",
    "ogg",
    "rm",
    "webm",
    "wtv",
    "yuv4mpegpipe",
]

DANGEROUS = [
    "alsa",
    "ass",
    "avisynth",
    "brender_pix",
    "concat",
    "concatf",
    "dash",
    "data",
    "fbdev",
    "ffmetadata",
    "hls",
    "image2",
    "image2pipe",
    "imf",
    "jpeg_pipe",
    "kmsgrab",
    "lavfi",
    "mpjpeg",
    "msnwctcp",
    "oss",
    "png_pipe",
    "rtp",
    "rtsp",
    "sap",
    "sbg",
    "sdp",
    "srt",
    "svg_pipe",
    "tty",
    "v4l2",
    "vapoursynth",
    "video4linux2",
    "vobsub",
    "webm_dash_manifest",
    "webvtt",
    "x11grab",
    "xbin",
]


@pytest.fixture(scope="module")
def allowed() -> frozenset[str]:
    return frozenset(format_whitelist().split(","))


@pytest.mark.parametrize("name", SELF_CONTAINED)
def test_a_format_of_one_self_contained_file_is_read(name: str, allowed: frozenset[str]) -> None:
    assert name in allowed


@pytest.mark.parametrize("name", DANGEROUS)
def test_a_format_that_opens_other_things_or_draws_text_is_refused(
    name: str, allowed: frozenset[str]
) -> None:
    assert name not in allowed


def test_no_image_sequence_is_read(allowed: frozenset[str]) -> None:
    assert not [name for name in allowed if name.endswith("_pipe") or name.startswith("image")]


class Disk(BytesIO):
    """A file on a disk that fails."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")


def test_a_read_error_of_the_disk_is_not_blamed_on_the_video() -> None:
    with pytest.raises(UnreadableVideoError) as caught, open_container(Disk(b"x" * 100)):
        pass
    assert caught.value.reason.code == "video_file_unreadable"
    assert "Input/output error" in str(caught.value)


def test_a_seek_to_where_no_file_can_be_is_blamed_on_the_video() -> None:
    with pytest.raises(UnreadableVideoError) as caught, open_container(BytesIO(GIF)):
        raise OSError(22, "Invalid argument")
    assert caught.value.reason.code == "video_file_broken"


class Named(BytesIO):
    """A file whose name would make FFmpeg choose a format by the extension."""

    name = "frames.yuv"


def test_a_file_s_name_does_not_choose_its_format() -> None:
    with pytest.raises(UnreadableVideoError, match="Invalid data"), open_container(Named(b"x" * 9)):
        pass


@pytest.mark.parametrize(
    "error", [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), IndexError("i")]
)
def test_what_pyav_raises_inside_the_with_is_a_broken_video(error: Exception) -> None:
    with pytest.raises(UnreadableVideoError) as caught, open_container(BytesIO(GIF)):
        raise error
    assert caught.value.reason.code == "video_file_broken"
    assert caught.value.__cause__ is error


def test_an_error_that_is_not_of_reading_passes_through() -> None:
    with pytest.raises(KeyError, match="mine"), open_container(BytesIO(GIF)):
        raise KeyError("mine")


#: The smallest GIF there is: one pixel.
GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,"
    b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;"
)
