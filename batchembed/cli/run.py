"""`batchembed run`: carry a manifest as far as it goes, and say how far that was."""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from batchembed.cli.boundary import graver
from batchembed.cli.build_lock import leave_lock, locked_build
from batchembed.cli.durations import seconds_of
from batchembed.cli.leaving import Leaving
from batchembed.cli.log import log_to
from batchembed.cli.options import (
    format_option,
    limit_option,
    manifest_options,
    only_option,
    read,
    retry_option,
    state_option,
)
from batchembed.cli.problems import print_json
from batchembed.cli.running import drained, new_run_id, open_dataset, paid_place
from batchembed.cli.selection import chosen, require_retry
from batchembed.cli.services import open_service, require_service
from batchembed.cli.state import remembered, require_folder
from batchembed.cli.streams import is_answer_lost
from batchembed.cli.unfinished import exit_code_of, unfinished_report
from batchembed.core.run_report import RunReport
from batchembed.errors import ExitCode, LockedError
from batchembed.report.as_json import report_dict
from batchembed.report.text import summary
from batchembed.runner.listen import Listener
from batchembed.runner.setting import Setting
from batchembed.runner.stopping import Stop
from batchembed.store.home import Home, make_home, state_home


@click.command("run")
@manifest_options
@state_option
@retry_option
@only_option
@limit_option
@click.option(
    "--max-runtime",
    "max_runtime_s",
    callback=seconds_of,
    metavar="DURATION",
    help="Drain after this long: seconds, or 90s, 45m, 8h. Overrides max_runtime_s.",
)
@click.option(
    "--locked",
    is_flag=True,
    help="Build what the manifest's lock file says, or publish nothing and exit with 4.",
)
@click.option(
    "--if-locked",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="While another run holds the output: exit 75, or 0.",
)
@click.option(
    "--log-format",
    type=click.Choice(["human", "json"]),
    default="human",
    show_default=True,
    help="What standard error has: lines for a person, or one JSON object a line.",
)
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path),
    help="Leave the run's figures there, for Prometheus' node exporter; its name ends in .prom.",
)
@click.option(
    "--summary-file",
    type=click.Path(path_type=Path),
    help="Leave the run's report there, as JSON.",
)
@format_option
@click.pass_obj
def command(
    env: Mapping[str, str],
    manifest: str,
    overrides: tuple[str, ...],
    engine: str | None,
    *,
    state_dir: str | None,
    retry: str | None,
    only: tuple[str, ...],
    limit: int | None,
    max_runtime_s: float | None,
    locked: bool,
    if_locked: str,
    log_format: str,
    metrics_file: Path | None,
    summary_file: Path | None,
    output_format: str,
) -> int:
    """Submit what is owed, wait for it, and publish the dataset. Run it again at any time."""
    began_at = time.time()
    run_id = new_run_id(began_at)
    log = log_to(sys.stderr, log_format, run_id)
    with log.telling_errors():
        leaving = Leaving(metrics_file=metrics_file, summary_file=summary_file, log=log)
        leaving.check()
        with leaving.beginning(manifest, None, began_at=began_at):
            asked = read(manifest, overrides, engine, tell=log.tell)
        leaving.require_apart(asked, state_dir)
        with leaving.beginning(manifest, asked.manifest.name, began_at=began_at):
            require_folder(asked.manifest.file, state_dir)
            videos = chosen(asked.manifest.videos, only)
            if retry is not None:
                require_retry(retry, remembered(asked.manifest, state_dir).entries.values())
            key = require_service(asked.manifest, env)
            log.hide(key)
            build, cautions = locked_build(asked, state_dir) if locked else (None, ())
            dataset, warnings = open_dataset(asked, state_dir)
            home = state_home(asked.manifest.file, state_dir, dataset.dataset_id)
            make_home(home, paid_place(asked.manifest))

        def setting(listener: Listener, stop: Stop) -> Setting:
            longest = asked.manifest.max_runtime_s if max_runtime_s is None else max_runtime_s
            return Setting(
                manifest=asked.manifest,
                profile=asked.profile,
                dataset=dataset,
                home=home,
                open_service=functools.partial(open_service, asked.manifest, home, key),
                listener=listener,
                clock=time.time,
                stop=stop,
                run_id=run_id,
                retry=retry,
                only=videos,
                limit=limit,
                max_runtime_s=longest,
                locked=build,
                warnings=(*warnings, *cautions),
            )

        try:
            with log.listening() as listener:
                report = asyncio.run(drained(functools.partial(setting, listener), listener))
        except LockedError as error:
            # The files that were asked for are those of the run that holds the lock.
            if if_locked == "fail":
                raise
            log.tell(f"skipped: {error}")
            return _skipped(error, output_format)
        except BaseException as error:
            ended = unfinished_report(
                asked, dataset, home, error, run_id=run_id, began_at=began_at, now=time.time()
            )
            leaving.leave(ended, home)
            raise
        if not locked:
            report = leave_lock(asked, report, dataset.last())
        code = _tell(report, home, leaving, output_format)
        log.finish(replace(report, exit_code=code))
    return code


def _skipped(error: LockedError, output_format: str) -> ExitCode:
    if output_format == "json":
        print_json({"version": 1, "skipped": "locked", "message": str(error)})
    return ExitCode.OK


def _tell(report: RunReport, home: Home, leaving: Leaving, output_format: str) -> ExitCode:
    """Print the report, then leave its files; the exit code that all of this comes to.

    In this order the files have that code, too.
    """
    try:
        _print(report, output_format)
    except BaseException as error:
        leaving.leave(replace(report, exit_code=exit_code_of(error)), home)
        raise
    if is_answer_lost():
        report = replace(report, exit_code=graver(report.exit_code, ExitCode.IO))
    return leaving.leave(report, home)


def _print(report: RunReport, output_format: str) -> None:
    if output_format == "json":
        print_json(report_dict(report))
    else:
        click.echo(summary(report, python=sys.executable), nl=False)
