"""The probe on real files, made here, and on files that try to make FFmpeg open something else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import av
import av.error
import pytest

from batchembed.core.model import Facts
from batchembed.core.problems import Reason
from batchembed.media import container
from batchembed.media.probe import probe
from tests.support.media import damage, make_sound, make_video, truncate


def facts(path: Path) -> Facts:
    found = probe(str(path))
    assert isinstance(found, Facts), found
    return found


def refusal(path: Path) -> Reason:
    found = probe(str(path))
    assert isinstance(found, Reason), found
    assert found.hint
    return found


def test_the_facts_of_a_video_are_those_it_was_made_with(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=5.0, fps=10, audio=True)
    assert facts(path) == Facts(
        width=640,
        height=360,
        aspect_ratio=16 / 9,
        rotation=0,
        duration_sec=5.0,
        size_bytes=path.stat().st_size,
        frame_rate=10.0,
        format_name="mov,mp4,m4a,3gp,3g2,mj2",
        video_codec="h264",
        audio_codec="aac",
    )


@pytest.mark.parametrize(
    "suffix", [".3gp", ".asf", ".avi", ".flv", ".mkv", ".mov", ".nut", ".ts", ".webm"]
)
def test_every_usual_container_is_read(tmp_path: Path, suffix: str) -> None:
    found = facts(make_video(tmp_path / f"a{suffix}", seconds=4.0, audio=True))
    assert (found.width, found.height) == (640, 360)
    assert found.duration_sec == pytest.approx(4.0, abs=0.2)
    assert found.audio_codec in {"aac", "mp3", "opus"}


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv")
    assert facts(path.rename(tmp_path / "a.mp4")).format_name == "matroska,webm"


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_turned_video_is_measured_upright(tmp_path: Path, rotation: int) -> None:
    found = facts(make_video(tmp_path / "a.mp4", rotation=rotation))
    upright = (640, 360) if rotation == 180 else (360, 640)
    assert (found.width, found.height) == upright
    assert found.aspect_ratio == pytest.approx(upright[0] / upright[1])
    assert found.rotation == rotation % 360


def test_the_sample_aspect_shapes_the_display_but_not_the_pixels(tmp_path: Path) -> None:
    found = facts(make_video(tmp_path / "a.mkv", width=480, height=360, sar=(4, 3)))
    assert (found.width, found.height) == (480, 360)
    assert found.aspect_ratio == pytest.approx(16 / 9)


def test_a_sample_aspect_turns_with_the_video(tmp_path: Path) -> None:
    found = facts(make_video(tmp_path / "a.mov", width=480, height=360, sar=(4, 3), rotation=90))
    assert (found.width, found.height) == (360, 480)
    assert found.aspect_ratio == pytest.approx(9 / 16)


def test_digital_silence_is_sound_and_no_track_is_not(tmp_path: Path) -> None:
    assert facts(make_video(tmp_path / "a.mp4", audio="silence")).has_audio
    assert not facts(make_video(tmp_path / "b.mp4")).has_audio


def test_sound_that_cannot_be_decoded_is_no_sound(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", audio=True)
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    assert facts(path).audio_codec is None


def test_a_video_without_a_decoder_is_broken(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", audio=True)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    assert "no decoder" in refusal(path).message


@pytest.mark.parametrize(
    ("name", "form", "codec", "options"),
    [
        ("live.mkv", "matroska", "mpeg4", {"live": "1"}),
        ("raw.h264", "h264", "libx264", {}),
    ],
)
def test_a_duration_that_no_header_tells_is_found_by_walking(
    tmp_path: Path, name: str, form: str, codec: str, options: dict[str, str]
) -> None:
    path, source = tmp_path / name, make_video(tmp_path / "source.mkv", seconds=4.0, codec=codec)
    with av.open(source) as given, av.open(path, "w", format=form, options=options) as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None or packet.pts is not None:
                packet.stream = stream
                out.mux(packet)
    assert facts(path).duration_sec == pytest.approx(4.0, abs=0.001)


def test_a_video_cut_short_still_has_the_duration_of_its_header(tmp_path: Path) -> None:
    assert facts(truncate(make_video(tmp_path / "a.mp4"), 0.5)).duration_sec == 5.0


def test_a_video_without_its_index_is_broken(tmp_path: Path) -> None:
    reason = refusal(truncate(make_video(tmp_path / "a.mov"), 0.5))
    assert reason.code == "video_file_broken"


def test_a_video_whose_first_frames_are_noise_is_broken(tmp_path: Path) -> None:
    path = damage(make_video(tmp_path / "a.mov"), start=0.002, stop=0.9)
    assert refusal(path).code == "video_file_broken"


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    assert "no video stream" in refusal(make_sound(tmp_path / "a.m4a")).message


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    assert "a cover picture" in refusal(make_sound(tmp_path / "a.mp4", cover=True)).message


def test_an_empty_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert refusal(tmp_path / "a.mp4").code == "video_file_broken"


def test_no_file_is_missing(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.mp4").code == "video_file_missing"


@pytest.mark.parametrize(
    ("codec", "code"), [("libx264", "video_resolution_too_high"), ("mjpeg", "video_file_broken")]
)
def test_frames_beyond_the_cap_are_refused_before_they_are_decoded(
    tmp_path: Path, codec: str, code: str
) -> None:
    path = make_video(tmp_path / "a.mp4", width=8192, height=4352, seconds=0.1, codec=codec)
    reason = refusal(path)
    assert reason.code == code
    assert f"{container.MAX_PIXELS:,} pixels" in reason.message


def test_probing_in_threads_finds_the_same_as_in_one(tmp_path: Path) -> None:
    paths = [str(make_video(tmp_path / f"{seed}.mp4", seed=seed, seconds=1)) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(probe, paths * 4))
    assert together == [probe(path) for path in paths] * 4


def test_a_damaged_file_gives_facts_or_a_reason_and_never_raises(tmp_path: Path) -> None:
    kinds = set()
    for suffix in (".mp4", ".mkv", ".avi", ".ts"):
        whole = make_video(tmp_path / f"whole{suffix}", seconds=1.0, audio=True).read_bytes()
        for seed in range(25):
            path = tmp_path / f"{seed}{suffix}"
            path.write_bytes(whole)
            damage(path, start=seed / 25, stop=(seed + 1) / 25, seed=seed)
            kinds.add(type(probe(str(path))))
    assert kinds == {Facts, Reason}


class Server:
    """An HTTP server that counts what it is asked for, and has nothing."""

    def __init__(self) -> None:
        asked = self.asked = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_error(404)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its base's name
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def test_a_playlist_makes_no_request(tmp_path: Path, server: Server) -> None:
    path = tmp_path / "a.m3u8"
    path.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n"
        f"http://127.0.0.1:{server.http.server_port}/a.ts\n#EXT-X-ENDLIST\n"
    )
    assert refusal(path).code == "video_file_broken"
    assert server.asked == []
    # The trap works: without the guard FFmpeg asks for the segment.
    with path.open("rb") as file, pytest.raises(av.error.FFmpegError), av.open(file):
        pass
    assert server.asked == ["/a.ts"]


def test_a_script_opens_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # FFmpeg looks for a relative name from here
    make_video(tmp_path / "other.mp4", seconds=1.0)
    path = tmp_path / "script.mp4"
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")
    reason = refusal(path)
    assert reason.code == "video_file_broken"
    assert "not that of a self-contained video" in reason.message
    # The trap works: without the guard FFmpeg decodes the other file.
    with path.open("rb") as file, av.open(file) as opened:
        assert opened.format.name == "concat"
        assert opened.streams.video[0].width == 640


def test_plain_text_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("\x1b[31mhello\x1b[0m\n" * 50)
    assert refusal(path).code == "video_file_broken"
    # The trap works: without the guard FFmpeg draws the text.
    with path.open("rb") as file, av.open(file) as opened:
        assert opened.format.name == "tty"
