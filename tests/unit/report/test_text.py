"""What a person reads at the end of a run."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from batchembed.core.model import FileSource, Parameters, Video, VideoId
from batchembed.core.outcome import Outcome, VideoOutcome
from batchembed.core.problems import Place, Reason
from batchembed.core.run_report import RunReport
from batchembed.errors import ExitCode
from batchembed.report.text import how_to_read, printable, summary


def a_video(name: str, outcome: Outcome, *reasons: Reason) -> VideoOutcome:
    return VideoOutcome(
        video=Video(
            video_id=VideoId(name),
            source=FileSource(path=f"/v/{name}", shown=name),
            parameters=Parameters(
                model_name="local-v1", video_clip_length=6, video_embedding_scope=("clip",)
            ),
            embedding_option=None,
            metadata={},
            skip=None,
            place=Place(file="m.yaml", line=1, column=1, path="$"),
            places={},
        ),
        outcome=outcome,
        reasons=reasons,
    )


REPORT = RunReport(
    manifest="/m.yaml",
    name="scenes",
    engine="local",
    model_name="local-v1",
    dataset="/out",
    dataset_id="d",
    record=3,
    published=True,
    rows=1234,
    kept=(),
    submitted=1,
    collected_sec=90.0,
    wall_s=2.0,
    videos=(a_video("a", Outcome.COMMITTED),),
    warnings=(),
    halted=None,
    exit_code=ExitCode.OK,
)


def test_a_summary_counts_and_says_how_to_read() -> None:
    lines = summary(REPORT).splitlines()

    assert lines[0] == "scenes: 1 video: 1 committed"
    assert lines[1] == "submitted 1 task, collected 1.5 minutes of video in 2.0 s"
    assert lines[2] == "dataset: 1,234 rows in /out (record 3)"
    assert len([line for line in lines if "python -c" in line]) == 2


def test_what_did_not_make_it_is_named_with_its_reason() -> None:
    reason = Reason(code="video_duration_too_short", message="duration 3 s is below 4 s")
    report = replace(
        REPORT,
        videos=(a_video("a\x1b[2J", Outcome.REJECTED, reason),),
        halted="the service answered 401",
        kept=("old",),
        warnings=("another onnxruntime",),
    )

    text = summary(report)

    assert "  rejected a\\x1b[2J: duration 3 s is below 4 s [video_duration_too_short]" in text
    assert "stopped early: the service answered 401" in text
    assert "kept 1 video of earlier runs" in text
    assert "warning: another onnxruntime" in text
    assert "\x1b" not in text


def test_a_long_list_is_cut_and_says_where_the_rest_is() -> None:
    reason = Reason(code="c", message="m")
    videos = tuple(a_video(f"{n}", Outcome.FAILED, reason) for n in range(50))

    text = summary(replace(REPORT, videos=videos))

    assert text.count("  failed ") == 20
    assert "and 30 more: see _batchembed/videos.jsonl" in text
    assert "run --retry failed" in text


def test_a_dataset_that_is_not_there_is_not_explained() -> None:
    assert "nothing is published" in summary(replace(REPORT, record=None, rows=0))


@pytest.mark.parametrize("path", ["/plain", "/it's", '/a "b"', "/$HOME", "/é ü"])
def test_the_lines_to_paste_are_one_word_of_a_shell(path: str) -> None:
    for line in how_to_read(path, "python"):
        python, flag, code = shlex.split(line)
        assert (python, flag) == ("python", "-c")
        compile(code, "pasted", "exec")
        assert repr(path)[1:-1] in code


def test_control_characters_are_shown_and_not_sent() -> None:
    assert printable("a\nb\x07ü") == "a\\nb\\x07ü"
