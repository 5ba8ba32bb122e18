"""A run's report as text for a person: what happened, what did not and why, how to read the rows."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator

from batchembed.core.outcome import Outcome, VideoOutcome
from batchembed.core.run_report import RunReport
from batchembed.report.accounts import Account, doubted, in_doubt, lost
from batchembed.report.moments import come_back, minute

_SHOWN = 20
#: Of videos that are left for the same reason: more are told in one line.
_ALIKE = 3


def printable(text: str) -> str:
    """The text with control characters escaped: names and servers' words reach a terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def summary(report: RunReport, *, python: str = "python") -> str:
    """The report, some ten lines and one for each video that did not make it.

    `python` is the command that has batchembed, for the lines that can be pasted.
    """
    lines = [
        *_counts(report),
        *_left(report),
        *(f"warning: {warning}" for warning in report.warnings),
        *_troubles(report),
        *_dataset(report, python),
    ]
    if report.counts[Outcome.FAILED]:
        lines.append(
            "`batchembed failures` says what to do about the failed; "
            "`batchembed run --retry failed` sends them again"
        )
    return "\n".join(printable(line) for line in lines) + "\n"


def _counts(report: RunReport) -> Iterator[str]:
    counted = ", ".join(f"{n} {outcome}" for outcome, n in report.counts.items() if n) or "none"
    cost = money(report.cost, report.currency) if report.cost else ""
    yield f"{report.name}: {many(len(report.videos), 'video')}: {counted}"
    yield (
        f"submitted {many(report.submitted, 'task')}{cost}, "
        f"collected {report.collected_sec / 60:.1f} minutes of video in {report.wall_s:.1f} s"
    )
    if report.adopted:
        yield f"found {many(report.adopted, 'task')} again in the service's listing"


def _left(report: RunReport) -> Iterator[str]:
    """Why the run did not do more, and what is lost or in doubt."""
    if report.halted is not None:
        yield f"stopped early: {report.halted}"
    if report.parked is not None:
        now = report.began_at + report.wall_s
        yield f"parked: {report.parked.why}; {come_back(report.parked.until, now)}"
    gone = lost(report)
    if gone.tasks:
        yield (
            f"the service no longer has {many(gone.tasks, 'task')}: `--retry failed:lost` creates "
            f"{_again(gone, report.currency)}"
        )
    unsure = in_doubt(report)
    if unsure.tasks:
        moments = [video.entry.unknown_since for video in doubted(report) if video.entry]
        oldest = min((moment for moment in moments if moment is not None), default=None)
        since = "" if oldest is None else f", the oldest since {minute(oldest)}"
        yield (
            f"{many(unsure.tasks, 'create')} without an answer{since}: whether a task exists is not "
            "known; the next run looks for it before anything is sent again"
        )
    if report.kept:
        yield f"kept {many(len(report.kept), 'video')} of earlier runs"


def _again(account: Account, currency: str) -> str:
    """What it takes to create the tasks once more."""
    what = f"{'it' if account.tasks == 1 else 'them'} again: {account.seconds / 60:.1f} minutes of video"
    if account.unmeasured:
        what += f" and {many(account.unmeasured, 'video')} of unknown length"
    return what + (money(account.cost, currency) if account.cost else "")


def _troubles(report: RunReport) -> list[str]:
    alike = Counter(_left_for(video) for video in report.videos)
    lines = []
    for video in report.videos:
        if alike[_left_for(video)] > _ALIKE and _left_for(video):
            continue
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
        # Why a video is pending is no part of the dataset.
        is_pending = any(video.outcome is Outcome.PENDING for video in report.videos)
        is_published = report.record is not None and not is_pending
        where = (
            "see _batchembed/videos.jsonl in the dataset"
            if is_published
            else "`--format json` has all"
        )
        lines = [*lines[:_SHOWN], f"  and {len(lines) - _SHOWN} more: {where}"]
    return lines + [
        f"  pending {many(n, 'video')}: {why}" for why, n in alike.items() if why and n > _ALIKE
    ]


def _left_for(video: VideoOutcome) -> str:
    """Why a video is left for the next run; empty where it is not, or nobody said."""
    if video.outcome is not Outcome.PENDING or not video.reasons:
        return ""
    return f"{video.reasons[0].message} [{video.reasons[0].code}]"


def _dataset(report: RunReport, python: str) -> list[str]:
    if report.record is None:
        return ["nothing is published"]
    what = f"record {report.record}" + ("" if report.published else ", unchanged")
    lines = [f"dataset: {many(report.rows, 'row')} in {report.dataset} ({what})"]
    if report.rows == 0:
        return lines
    how = how_to_read(report.dataset, python)
    with_what = "pyarrow, or with DuckDB where that is installed" if len(how) > 1 else "pyarrow"
    return [*lines, f"read it with {with_what}:", *how]


def how_to_read(dataset: str, python: str) -> list[str]:
    """Shell lines that read the dataset, as they can be pasted. DuckDB has its own way to stores."""
    pattern = f"{dataset.replace('[', '[[]')}/**/*.parquet"
    duckdb = (
        f"import duckdb; print(duckdb.read_parquet({pattern!r}, hive_partitioning=True)"
        ".aggregate('embedding_option, embedding_scope, count(*) AS segments'))"
    )
    pyarrow = f"import batchembed; print(batchembed.open_dataset({dataset!r}).to_table())"
    codes = (pyarrow,) if "://" in dataset else (pyarrow, duckdb)
    return [f"  {shlex.quote(python)} -c {_quoted(code)}" for code in codes]


def _quoted(code: str) -> str:
    """The code as one word of a shell: in plain double quotes where they can hold it."""
    return shlex.quote(code) if set(code) & set('"$`\\!') else f'"{code}"'


def many(n: int, noun: str) -> str:
    """A count and its noun."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def money(amount: float | None, currency: str) -> str:
    """An amount, as what it is: an estimate at the price that the manifest names."""
    if amount is None:
        return ""
    return f" ({'less than 0.01' if amount < 0.01 else f'about {amount:,.2f}'} {currency})"
