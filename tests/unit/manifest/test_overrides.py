"""`--set key=value`."""

from __future__ import annotations

import pytest

from batchembed.manifest.load import load_text
from batchembed.manifest.overrides import override

TEXT = "engine: twelvelabs\nvideos:\n  - video_file: a.mp4\nconcurrency: {tasks: 3}\n"


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("concurrency.tasks=5", ("concurrency", "tasks"), 5),
        ("polling.first_wait_s=0.5", ("polling", "first_wait_s"), 0.5),
        ("videos.0.id=x", ("videos", 0, "id"), "x"),
        ("videos[0].id=x", ("videos", 0, "id"), "x"),
        (
            "defaults.video_embedding_scope=[clip, video]",
            ("defaults", "video_embedding_scope"),
            ["clip", "video"],
        ),
        ("output.path=a=b", ("output", "path"), "a=b"),
        ("name=", ("name",), None),
        ("engine.api_key_env=KEY", ("engine",), {"kind": "twelvelabs", "api_key_env": "KEY"}),
    ],
)
def test_a_value_is_put_in(text: str, path: tuple[str | int, ...], value: object) -> None:
    document = override(load_text(TEXT, "m.yaml"), [text])
    assert document.at(path) == value
    assert not document.problems


def test_what_is_put_in_stands_on_the_command_line() -> None:
    document = override(load_text(TEXT, "m.yaml"), ["concurrency.tasks=x"])
    assert document.place(("concurrency", "tasks")).file == "--set"
    assert document.place(("concurrency", "tasks")).line == 0
    assert document.place(("videos", 0)).file == "m.yaml"


def test_the_document_that_was_given_is_left_as_it_was() -> None:
    document = load_text(TEXT, "m.yaml")
    override(document, ["videos.0.id=x"])
    assert document.at(("videos", 0)) == {"video_file": "a.mp4"}


@pytest.mark.parametrize(
    "text", ["name", "=x", "a..b=1", "videos.7.id=x", "videos.x=1", "name=[", "engine.x=1"]
)
def test_what_cannot_be_put_in_is_a_problem_of_the_command_line(text: str) -> None:
    document = override(load_text(TEXT, "m.yaml"), [text])
    assert [problem.place.file for problem in document.problems] == ["--set"]
