"""Prints what is wrong with a manifest, or with its videos, at the lines that say so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click
import msgspec

from batchembed.core.model import Video
from batchembed.core.problems import Problem, Reason
from batchembed.manifest.document import Document
from batchembed.manifest.render import problem_dict, problem_lines


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


def print_json(value: object) -> None:
    """Print a value as JSON, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
