"""`batchembed reconcile`: find out what became of creates whose answer was lost."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from batchembed.cli.options import Read, format_option, manifest_options, read, state_option
from batchembed.cli.problems import print_json
from batchembed.cli.running import new_run_id, open_dataset, paid_place
from batchembed.cli.services import open_service, require_service
from batchembed.cli.state import require_dataset_in_its_place
from batchembed.core.model import TaskId, VideoId
from batchembed.core.redact import redacted
from batchembed.core.states import State
from batchembed.dataset.places import storage_at
from batchembed.dataset.publish import Dataset
from batchembed.errors import BatchembedError, ExitCode, UsageError
from batchembed.report.moments import rfc3339
from batchembed.report.text import printable
from batchembed.runner.doubts import Settled, settle_doubts
from batchembed.runner.listen import Event, Warned
from batchembed.runner.setting import Setting
from batchembed.runner.stopping import Stop
from batchembed.store.home import make_home, state_home


@click.command("reconcile")
@manifest_options
@state_option
@click.option(
    "--adopt",
    multiple=True,
    metavar="VIDEO=TASK",
    help="This task is what became of this video's create. May be given more than once.",
)
@click.option(
    "--forget",
    multiple=True,
    metavar="VIDEO",
    help="Nothing became of this video's create: the next run sends it again, and pays for that.",
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
    adopt: tuple[str, ...],
    forget: tuple[str, ...],
    output_format: str,
) -> int:
    """Look in the service's listing for the tasks of creates that got no answer. Creates nothing.

    What --adopt and --forget say is done first: --forget needs no service. Exit code 75 while some
    are still in doubt. Every `run` does the same by itself.
    """
    asked = read(manifest, overrides, engine)
    adopted = _adoptions(adopt)
    forgotten = frozenset(map(VideoId, forget))
    settled: tuple[Settled, ...] = ()
    require_dataset_in_its_place(asked.manifest, state_dir)
    output, stores = asked.manifest.output, asked.manifest.stores
    nothing = None
    if Dataset.find(storage_at(output.path, stores)) is None:
        nothing = f"there is no dataset in {output.path}, and so nothing in doubt"
        if adopted or forgotten:
            raise UsageError(nothing)
    else:
        settled = asyncio.run(
            settle_doubts(_setting(asked, env, state_dir), adopt=adopted, forget=forgotten)
        )
    left = sum(each.entry.state is State.UNKNOWN for each in settled)
    failure = next((each.failure for each in settled if each.failure is not None), None)
    if output_format == "json":
        _print_json(settled, left, failure)
    else:
        _print(settled, left, nothing)
    if failure is not None:
        click.echo(f"batchembed: {printable(redacted(str(failure)))}", err=True)
        return failure.exit_code
    return ExitCode.AGAIN if left else ExitCode.OK


class _Warning:
    """Says on stderr what a person should know; nothing else happens that is not printed anyway."""

    def notice(self, event: Event) -> None:
        if isinstance(event, Warned):
            click.echo(printable(f"warning: {event.message}"), err=True)


def _setting(asked: Read, env: Mapping[str, str], state_dir: str | None) -> Setting:
    key = require_service(asked.manifest, env)
    dataset, _ = open_dataset(asked, state_dir)
    home = state_home(asked.manifest.file, state_dir, dataset.dataset_id)
    make_home(home, paid_place(asked.manifest))
    return Setting(
        run_id=new_run_id(time.time()),
        manifest=asked.manifest,
        profile=asked.profile,
        dataset=dataset,
        home=home,
        open_service=functools.partial(open_service, asked.manifest, home, key),
        listener=_Warning(),
        clock=time.time,
        stop=Stop(),
    )


def _adoptions(words: Iterable[str]) -> dict[VideoId, TaskId]:
    adopted: dict[VideoId, TaskId] = {}
    for video_id, task_id in map(_adoption, words):
        if adopted.setdefault(video_id, task_id) != task_id:
            raise UsageError(
                f"--adopt names two tasks for {video_id!r}, {adopted[video_id]} and {task_id}: say "
                "one of them"
            )
    return adopted


def _adoption(written: str) -> tuple[VideoId, TaskId]:
    video_id, equals, task_id = written.rpartition("=")
    if not (equals and video_id and task_id):
        raise UsageError(f"--adopt {written!r} is not VIDEO=TASK")
    return VideoId(video_id), TaskId(task_id)


def _line(each: Settled) -> dict[str, Any]:
    since = each.entry.unknown_since
    return {
        "video_id": each.video_id,
        "state": str(each.entry.state),
        "task_id": each.entry.task_id,
        "unknown_since": None if since is None else rfc3339(since),
        "why": None if each.unknown is None else each.unknown.message,
        "hint": None if each.unknown is None else each.unknown.hint,
    }


def _print_json(settled: tuple[Settled, ...], left: int, failure: BatchembedError | None) -> None:
    told: dict[str, Any] = {
        "version": 1,
        "in_doubt": left,
        "videos": [_line(each) for each in settled],
    }
    if failure is not None:
        told["error"] = {"message": str(failure), "exit_code": int(failure.exit_code)}
    print_json(told)


def _print(settled: tuple[Settled, ...], left: int, nothing: str | None) -> None:
    words: dict[State, Callable[[Settled], str]] = {
        State.PROCESSING: lambda each: f"adopted task {each.entry.task_id}",
        State.PLANNED: lambda _: "no task was made: the next run sends it again",
        State.FAILED: lambda _: "failed, as on_unknown_submission says",
    }
    for each in settled:
        told = words.get(each.entry.state)
        why = "still in doubt" if each.unknown is None else each.unknown.message
        if each.unknown is not None and each.unknown.hint is not None:
            why = f"{why}; {each.unknown.hint}"
        click.echo(printable(f"{each.video_id}: {why if told is None else told(each)}"))
    counted = f"{len(settled)} creates were in doubt, {left} still are"
    click.echo(printable(f"reconcile: {nothing or counted}"))
