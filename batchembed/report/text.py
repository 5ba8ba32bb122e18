"""A run's report as text for a person: what happened, what did not and why, how to read the rows."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from batchembed.core.outcome import Outcome, VideoOutcome
from batchembed.core.run_report import RunReport

_SHOWN = 20


def printable(text: str) -> str:
    """The text with control characters escaped: names and servers' words reach a terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def summary(report: RunReport, *, python: str = "python") -> str:
    """The report, some ten lines and one for each video that did not make it.

    `python` is the command that has batchembed, for the lines that can be pasted.
    """
    lines = [*_counts(report), *_troubles(report.videos), *_dataset(report, python)]
    if report.counts[Outcome.FAILED]:
        lines.append("failed videos are sent again by `batchembed run --retry failed`")
    return "\n".join(printable(line) for line in lines) + "\n"


def _counts(report: RunReport) -> list[str]:
    counted = ", ".join(f"{n} {outcome}" for outcome, n in report.counts.items() if n) or "none"
    lines = [
        f"{report.name}: {_many(len(report.videos), 'video')}: {counted}",
        (
            f"submitted {_many(report.submitted, 'task')}, collected {report.collected_sec / 60:.1f} "
            f"minutes of video in {report.wall_s:.1f} s"
        ),
    ]
    if report.halted is not None:
        lines.append(f"stopped early: {report.halted}")
    if report.kept:
        lines.append(f"kept {_many(len(report.kept), 'video')} of earlier runs (on_removed: keep)")
    return lines + [f"warning: {warning}" for warning in report.warnings]


def _troubles(videos: Iterable[VideoOutcome]) -> list[str]:
    lines = []
    for video in videos:
        if video.outcome in {Outcome.REJECTED, Outcome.FAILED, Outcome.PENDING}:
            lines += [
                f"  {video.outcome} {video.video.video_id}: {reason.message} [{reason.code}]"
                for reason in video.reasons
            ] or [f"  {video.outcome} {video.video.video_id}"]
        lines += [
            f"  warning {video.video.video_id}: {reason.message} [{reason.code}]"
            for reason in video.warnings
        ]
    if len(lines) > _SHOWN:
        more = len(lines) - _SHOWN
        lines = [*lines[:_SHOWN], f"  and {more} more: see _batchembed/videos.jsonl in the dataset"]
    return lines


def _dataset(report: RunReport, python: str) -> list[str]:
    if report.record is None:
        return ["nothing is published"]
    what = f"record {report.record}" + ("" if report.published else ", unchanged")
    lines = [f"dataset: {_many(report.rows, 'row')} in {report.dataset} ({what})"]
    if report.rows == 0:
        return lines
    how = how_to_read(report.dataset, python)
    return [*lines, "read it with pyarrow, or with DuckDB where that is installed:", *how]


def how_to_read(dataset: str, python: str) -> list[str]:
    """Two shell lines that read the dataset, as they can be pasted."""
    pattern = f"{dataset.replace('[', '[[]')}/**/*.parquet"
    duckdb = (
        f"import duckdb; print(duckdb.read_parquet({pattern!r}, hive_partitioning=True)"
        ".aggregate('embedding_option, embedding_scope, count(*) AS segments'))"
    )
    pyarrow = f"import batchembed; print(batchembed.open_dataset({dataset!r}).to_table())"
    return [f"  {shlex.quote(python)} -c {_quoted(code)}" for code in (pyarrow, duckdb)]


def _quoted(code: str) -> str:
    """The code as one word of a shell: in plain double quotes where they can hold it."""
    return shlex.quote(code) if set(code) & set('"$`\\!') else f'"{code}"'


def _many(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
