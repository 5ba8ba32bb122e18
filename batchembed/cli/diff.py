"""`batchembed diff`: how two datasets differ."""

from __future__ import annotations

import math
from collections.abc import Mapping

import click

from batchembed.cli.options import dataset_argument, format_option
from batchembed.cli.problems import print_json
from batchembed.core.model import StoreOptions
from batchembed.dataset.diff import diff
from batchembed.dataset.places import storage_at
from batchembed.errors import ExitCode
from batchembed.report.dataset_diff import diff_dict, diff_lines
from batchembed.report.text import printable
from batchembed.stores.options import completed


def _a_number(
    _context: click.Context, _parameter: click.Parameter, value: float | None
) -> float | None:
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is no distance")
    return value


@click.command("diff")
@dataset_argument("a")
@dataset_argument("b")
@click.option(
    "--tolerance",
    type=click.FloatRange(0.0, 2.0),
    callback=_a_number,
    metavar="DISTANCE",
    help="Vectors up to this cosine distance apart count as the same; else every bit counts.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="List at most N videos of each sort; 0 lists all. JSON has always all.",
)
@format_option
@click.pass_obj
def command(
    env: Mapping[str, str],
    *,
    a: str,
    b: str,
    tolerance: float | None,
    limit: int,
    output_format: str,
) -> ExitCode:
    """Say how dataset B differs from dataset A; exit with 4 if it does.

    Videos removed, added, renamed and changed, and for segments that both have the cosine distance
    of their vectors. Records are believed: `verify` holds parts against them.
    """
    options = completed(StoreOptions(), env)
    found = diff(storage_at(a, options), storage_at(b, options), tolerance=tolerance)
    if output_format == "json":
        print_json(diff_dict(found))
    else:
        for line in diff_lines(found, limit=limit or None):
            click.echo(printable(line))
    return ExitCode.OK if found.is_empty else ExitCode.DIFFERENCE
