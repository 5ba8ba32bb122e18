"""What `validate` says of videos once the text is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchembed.cli.main import main
from tests.support.media import make_video


def write(folder: Path, *settings: str) -> str:
    """A manifest of a video that breaks a limit and of one that is not there."""
    make_video(folder / "small.mp4", seconds=3.0, fps=5)
    path = folder / "m.yaml"
    path.write_text(
        "version: 1\nengine: local\nname: demo\nvideos:\n"
        "  - {video_file: small.mp4, id: small}\n"
        "  - {video_file: missing.mp4, id: gone}\n"
        + "".join(f"{setting}\n" for setting in settings)
        + "output: {path: out}\n",
        encoding="utf-8",
    )
    return str(path)


def test_a_rejection_shows_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", write(tmp_path)]) == 3
    said = capsys.readouterr().out.splitlines()
    assert said[1:3] == ["    - {video_file: small.mp4, id: small}", "      ^"]
    assert said[-1] == "demo: 2 videos, the manifest is valid; 2 probed, 2 would be rejected"


def test_what_breaks_a_limit_and_is_submitted_is_not_called_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write(tmp_path, "on_limit_violation: submit")
    assert main(["validate", manifest]) == 3
    assert capsys.readouterr().out.splitlines()[-1] == (
        "demo: 2 videos, the manifest is valid; "
        "2 probed, 1 would be rejected, 1 breaks a limit and would be submitted"
    )
    assert (
        main(["validate", write(tmp_path, "on_limit_violation: submit", "on_rejected: accept")])
        == 0
    )
