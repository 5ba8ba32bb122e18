"""`batchembed validate`: everything that can be known before anything is sent."""

from __future__ import annotations

import concurrent.futures
from typing import NamedTuple

import click

from batchembed.cli.options import Read, format_option, manifest_options, read
from batchembed.cli.problems import print_json, print_problems, rejections
from batchembed.core.model import UrlSource, Video
from batchembed.core.problems import Problem
from batchembed.errors import ExitCode
from batchembed.manifest.render import problem_dict
from batchembed.runner.survey import read_source, surveyed


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
    told = [] if no_probe else _probe(asked)
    rejected = [found.rejections for found in told if found.rejections]
    denied = [each for found in told for each in found.denied]
    submitted = [found.warnings for found in told if found.warnings and not found.rejections]
    many = len(asked.manifest.videos)
    probed = sum(not isinstance(video.source, UrlSource) for video in asked.manifest.videos)
    if output_format == "json":
        print_json(
            {
                "version": 1,
                "videos": many,
                "probed": 0 if no_probe else probed,
                "problems": [problem_dict(each) for each in denied],
                "rejections": [problem_dict(each) for found in told for each in found.rejections],
                "warnings": [problem_dict(each) for found in told for each in found.warnings],
            }
        )
    else:
        print_problems(
            [
                each
                for found in told
                for each in (*found.denied, *found.rejections, *found.warnings)
            ],
            as_json=False,
        )
        parts = [f"{probed} probed", f"{len(rejected)} would be rejected"]
        if denied:
            parts.append(f"{len(denied)} can't be read with these credentials")
        if submitted:
            breaking = "breaks" if len(submitted) == 1 else "break"
            parts.append(f"{len(submitted)} {breaking} a limit and would be submitted")
        click.echo(
            f"{asked.manifest.name}: {many} {'video' if many == 1 else 'videos'}, "
            f"the manifest is valid; {'not probed' if no_probe else ', '.join(parts)}"
        )
    if denied:
        return ExitCode.NO_PERMISSION
    accepted = asked.manifest.on_rejected == "accept"
    return ExitCode.INCOMPLETE if rejected and not accepted else ExitCode.OK


class _Told(NamedTuple):
    """What probing says of one video."""

    rejections: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    denied: tuple[Problem, ...] = ()


def _probe(asked: Read) -> list[_Told]:
    """What is said of each video of which there is something to say."""

    def check(video: Video) -> _Told:
        if isinstance(video.source, UrlSource) or video.skip is not None:
            return _Told()
        told = surveyed(
            video,
            read_source(video.source, None, hashed=False),
            asked.manifest,
            asked.profile,
        )
        found = rejections(video, told.reasons, asked.document)
        if told.denied:
            return _Told(denied=found)
        return _Told(found, rejections(video, told.warnings, asked.document))

    with concurrent.futures.ThreadPoolExecutor(asked.manifest.concurrency.probes) as pool:
        return [told for told in pool.map(check, asked.manifest.videos) if any(told)]
