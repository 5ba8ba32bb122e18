"""Short films: one is encoded, the others differ from it in an unused box.

python -m benchmarks.films FOLDER COUNT SECONDS
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import av.audio.frame
import av.audio.stream
import av.video.frame
import av.video.stream
import numpy as np

_SIDE = 360
_SAMPLE_RATE = 16_000
_BLOCK = 1_024


def make_films(folder: Path, *, count: int, seconds: int) -> None:
    """Fill the folder, which there must not be yet."""
    folder.mkdir(parents=True)
    first = folder / "first.mp4"
    _film(first, seconds)
    data = first.read_bytes()
    first.unlink()
    for number in range(count):
        note = f"{number:08d}".encode()
        # A `free` box at the end of an MP4 is skipped by whoever reads it.
        box = (8 + len(note)).to_bytes(4, "big") + b"free" + note
        (folder / f"film-{number:05d}.mp4").write_bytes(data + box)


def _film(path: Path, seconds: int) -> None:
    """A grey picture a second, and silence."""
    with av.open(path, "w", options={"fflags": "+bitexact"}) as out:
        video = out.add_stream("libx264", rate=1, options={"preset": "ultrafast", "threads": "1"})
        sound = out.add_stream("aac", rate=_SAMPLE_RATE, layout="mono")
        video.width, video.height, video.pix_fmt = _SIDE, _SIDE, "yuv420p"
        grey = np.full((_SIDE, _SIDE), 128, np.uint8)
        for index in range(seconds):
            frame = av.video.frame.VideoFrame.from_ndarray(grey, format="gray8")
            frame.pts, frame.time_base = index, Fraction(1, 1)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        for start in range(0, seconds * _SAMPLE_RATE, _BLOCK):
            silence = np.zeros((1, min(_BLOCK, seconds * _SAMPLE_RATE - start)), np.float32)
            block = av.audio.frame.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            block.sample_rate, block.pts = _SAMPLE_RATE, start
            block.time_base = Fraction(1, _SAMPLE_RATE)
            out.mux(sound.encode(block))
        out.mux(sound.encode())


if __name__ == "__main__":
    make_films(Path(sys.argv[1]), count=int(sys.argv[2]), seconds=int(sys.argv[3]))
