"""`batchembed validate`: everything that can be known before anything is sent."""

from __future__ import annotations

import concurrent.futures

import click

from batchembed.cli.options import Read, format_option, manifest_options, read
from batchembed.cli.problems import print_json, print_problems, rejections
from batchembed.core.model import FileSource, Video
from batchembed.core.problems import Problem
from batchembed.errors import ExitCode
from batchembed.manifest.render import problem_dict
from batchembed.runner.survey import read_file, surveyed


@click.command("validate")
@manifest_options
@click.option("--no-probe", is_flag=True, help="Check the text alone; open no video.")
@format_option
def command(
    manifest: str,
    overrides: tuple[str, ...],
    engine: str | None,
    *,
    no_probe: bool,
    output_format: str,
) -> int:
    """Check a manifest and, by probing, its videos; nothing is sent or written."""
    asked = read(manifest, overrides, engine)
    rejected = [] if no_probe else _probe(asked)
    found = [problem for problems in rejected for problem in problems]
    probed = sum(isinstance(video.source, FileSource) for video in asked.manifest.videos)
    if output_format == "json":
        print_json(
            {
                "videos": len(asked.manifest.videos),
                "probed": 0 if no_probe else probed,
                "problems": [],
                "rejections": [problem_dict(problem) for problem in found],
            }
        )
    else:
        print_problems(found, as_json=False)
        submits = asked.manifest.on_limit_violation == "submit"
        breaking = "breaks" if len(rejected) == 1 else "break"
        fate = f"{breaking} a limit and would be submitted" if submits else "would be rejected"
        many = len(asked.manifest.videos)
        click.echo(
            f"{asked.manifest.name}: {many} {'video' if many == 1 else 'videos'}, the manifest is valid; "
            + ("not probed" if no_probe else f"{probed} probed, {len(rejected)} {fate}")
        )
    accepted = (
        asked.manifest.on_rejected == "accept" or asked.manifest.on_limit_violation == "submit"
    )
    return ExitCode.INCOMPLETE if found and not accepted else ExitCode.OK


def _probe(asked: Read) -> list[tuple[Problem, ...]]:
    """The problems of each video that has any."""

    def check(video: Video) -> tuple[Problem, ...]:
        if not isinstance(video.source, FileSource) or video.skip is not None:
            return ()
        told = surveyed(
            video,
            read_file(video.source.path, None, hashed=False),
            asked.manifest,
            asked.profile,
        )
        return rejections(video, (*told.reasons, *told.warnings), asked.document)

    with concurrent.futures.ThreadPoolExecutor(asked.manifest.concurrency.probes) as pool:
        return [problems for problems in pool.map(check, asked.manifest.videos) if problems]
