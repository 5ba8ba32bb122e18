"""A process of ours that talks too much."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from batchembed.engine.video.embed import EmbedPlan
from batchembed.engine.workers.child import Child, StartError
from batchembed.engine.workers.messages import Embed, Result
from tests.support.media import make_video

ASKED = Embed(plan=EmbedPlan(clip_length_sec=6, scopes=("clip",)))
TALKS = "import os, sys\n[os.write(2, b'x' * 999 + b'\\n') for _ in range(500)]\n"


def nothing(result: Result) -> Result:
    return result


def last_words(code: str) -> tuple[str, int]:
    """What is told of a process that runs `code`, and how much of its words was kept."""
    child = Child((sys.executable, "-c", code), 1 << 32)
    try:
        with pytest.raises(StartError) as caught:
            child.ask(ASKED, 0, 60.0, nothing)
        return str(caught.value), child.said_bytes
    finally:
        child.close()


def test_the_last_of_many_words_is_told() -> None:
    said, kept_bytes = last_words(TALKS + "sys.exit('no model here')")

    assert said.endswith(": no model here")
    assert kept_bytes > 500_000


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="the limit on its words is set by prlimit, which Linux alone has",
)
def test_more_words_than_there_is_room_for_are_not_kept() -> None:
    endless = "import os, sys\nsys.stdin.read()\ntry:\n while True: os.write(2, b'x' * 65536)\n"
    said, kept_bytes = last_words(endless + "except OSError: sys.exit(3)")

    assert "exit code 3" in said
    assert kept_bytes == 1 << 20


@pytest.mark.slow
def test_what_it_said_of_one_video_is_gone_at_the_next(tmp_path: Path) -> None:
    film = make_video(tmp_path / "film.mp4", seconds=4.0, fps=5)
    talks = (
        "import os, sys\n"
        "from tests.support.encoders import FakeEncoder\n"
        "from batchembed.engine.video.embed import embed\n"
        "from batchembed.engine.workers import worker\n"
        "def loud(*asked):\n"
        "    assert os.lseek(2, 0, os.SEEK_CUR) <= 1000\n"  # what it said when it was loaded
        "    os.write(2, b'x' * 1000)\n"
        "    return embed(*asked)\n"
        "sys.exit(worker.main(sys.argv[1:], lambda: worker.embedder(FakeEncoder, loud)))\n"
    )
    child = Child((sys.executable, "-c", talks), 4 << 30)
    try:
        for _ in range(3):
            with film.open("rb") as file:
                child.ask(ASKED, file.fileno(), 60.0, nothing)
            assert child.said_bytes == 0
    finally:
        child.close()
