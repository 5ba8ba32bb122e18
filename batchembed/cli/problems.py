"""Prints what is wrong with a manifest, or with its videos, at the lines that say so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import click
import msgspec

from batchembed.core.lock_differences import BuildDiffersError
from batchembed.core.model import Video
from batchembed.core.problems import Problem, Reason
from batchembed.manifest.document import Document
from batchembed.manifest.render import escaped, problem_dict, problem_lines

#: Differences that are told one by one to a person.
_TOLD = 50


def print_problems(problems: Sequence[Problem], *, as_json: bool) -> None:
    """Print problems on standard output: data, so that they can be piped."""
    if as_json:
        print_json({"problems": [problem_dict(problem) for problem in problems]})
        return
    for problem in problems:
        for line in problem_lines(problem):
            click.echo(line)


def rejections(video: Video, reasons: Iterable[Reason], document: Document) -> tuple[Problem, ...]:
    """A video's reasons, each at the line that its value came from."""
    return tuple(
        document.problem_at(
            video.place_of(reason.field),
            f"{video.video_id}: {reason.message}",
            code=reason.code,
            hint=reason.hint,
        )
        for reason in reasons
    )


def print_differences(error: BuildDiffersError, *, as_json: bool) -> None:
    """Print what differs from a lock file on standard output, a line each; as JSON, all of it."""
    if as_json:
        told = {"message": str(error), "exit_code": int(error.exit_code)}
        print_json({"error": told, "differences": list(map(asdict, error.differences))})
        return
    for difference in error.differences[:_TOLD]:
        click.echo(escaped(str(difference)))
    more = len(error.differences) - _TOLD
    if more > 0:
        click.echo(f"and {more:,} more: --format json has all")


def print_json(value: object) -> None:
    """Print a value as JSON, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
