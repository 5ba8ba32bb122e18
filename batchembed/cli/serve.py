"""`batchembed serve`: the embedded engine behind the Embed API's own HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchembed.cli.notes import Notes
from batchembed.cli.serve_checks import MODEL, a_number, aliases_of, api_key_of, host_of, unheard
from batchembed.errors import (
    ExitCode,
    LockedError,
    OutputRefusedError,
    SignalledError,
    StorageError,
    UsageError,
)
from batchembed.store.lock import run_lock

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from batchembed.engine.web.server import HttpServer

_MODULES = ("onnxruntime", "starlette", "uvicorn", "python_multipart")
_DAY_S = 86_400.0
_DRAIN_S = 30.0
_TABLE = "tasks.sqlite"
#: What a server that was killed at once leaves without its table.
_OWN_NAMES = frozenset({".gitignore", "README", "serve.lock", "results", "uploads"})
_UNCONFINED = (
    "this kernel has no Landlock or no seccomp: processes that decode videos are limited in memory "
    "and time, and not kept from files and network"
)
_README = """\
This folder belongs to `batchembed serve`. It holds its tasks (`tasks.sqlite`), videos that wait to
be embedded (`uploads`) and the embeddings of tasks that are ready (`results`). Deleting it forgets
them all.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    host: str
    port: int
    api_key: str | None
    data: Path
    workers: int
    aliases: frozenset[str]
    retention_s: float
    allow_private_urls: bool
    max_upload_bytes: int
    faults: str | None


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on; 0 picks one.",
)
@click.option(
    "--api-key-env",
    metavar="NAME",
    help="Environment variable with the key that requests must carry as x-api-key.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False),
    default=".batchembed-serve",
    show_default=True,
    help="Folder for tasks, uploads and results.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=lambda: os.cpu_count() or 1,
    show_default="one for each core",
    help="Videos embedded at once.",
)
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar=f"MODEL={MODEL}",
    help=f"Take creates that name MODEL; answers name {MODEL}.",
)
@click.option(
    "--retention-days",
    type=click.FloatRange(0, 36_500, min_open=True),
    callback=a_number,
    default=7,
    show_default=True,
    help="How long a task is kept after it has ended.",
)
@click.option(
    "--allow-private-urls",
    is_flag=True,
    help="Let video_url reach this machine and private networks.",
)
@click.option(
    "--max-upload-bytes",
    type=click.IntRange(1),
    default=2_000_000_000 + (1 << 20),
    show_default=True,
    help="Largest body of a create.",
)
@click.option(
    "--faults",
    type=click.Path(dir_okay=False),
    help="Misbehave as this file says, to try a client.",
)
@click.pass_obj
def command(
    env: Mapping[str, str],
    *,
    host: str,
    port: int,
    api_key_env: str | None,
    data: str,
    workers: int,
    aliases: tuple[str, ...],
    retention_days: float,
    allow_private_urls: bool,
    max_upload_bytes: int,
    faults: str | None,
) -> int:
    """Serve the Embed API v1.3 from the embedded engine, until SIGINT or SIGTERM."""
    for module in _MODULES:
        if importlib.util.find_spec(module) is None:
            raise UsageError(f"serve needs {module}: pip install 'batchembed[local]'")
    host = host_of(host)
    options = Options(
        host=host,
        port=port,
        api_key=api_key_of(host, api_key_env, env),
        data=Path(data).absolute(),
        workers=workers,
        aliases=aliases_of(aliases),
        retention_s=retention_days * _DAY_S,
        allow_private_urls=allow_private_urls,
        max_upload_bytes=max_upload_bytes,
        faults=faults,
    )
    _raise_descriptor_limit()
    _make_folder(options.data)
    with _locked(options.data), Notes(sys.stderr) as notes:
        return asyncio.run(_serve(options, notes))


def _raise_descriptor_limit() -> None:
    """Each connection takes a descriptor, and many systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_own(folder)
        for name, text in ((".gitignore", "*\n"), ("README", _README)):
            if not (folder / name).exists():
                (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"the data folder {folder} can't be used: {error.strerror}; name another with --data"
        ) from error


def _require_own(folder: Path) -> None:
    """What is removed at a start, and every file beside it, must be the server's."""
    there = {path.name for path in folder.iterdir()}
    if _TABLE not in there and there - _OWN_NAMES:
        raise OutputRefusedError(
            f"the folder {folder} holds something else than a server's data: name an empty or a new "
            "one with --data"
        )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(run_lock(folder / "serve.lock"))
        except LockedError as error:
            raise LockedError(
                f"another server holds the data folder {folder}: stop it, or name another folder "
                "with --data"
            ) from error
        yield


async def _serve(options: Options, notes: Notes) -> int:
    from batchembed.cli.faults_file import read_faults  # noqa: PLC0415  heavy
    from batchembed.engine.faults.app import FaultyApp  # noqa: PLC0415  heavy
    from batchembed.engine.fetching.fetch import FetchRules  # noqa: PLC0415  heavy
    from batchembed.engine.service import Engine  # noqa: PLC0415  heavy
    from batchembed.engine.web.app import build_app  # noqa: PLC0415  heavy
    from batchembed.engine.web.guards import Guards  # noqa: PLC0415  heavy
    from batchembed.engine.web.server import quiet_logs  # noqa: PLC0415  heavy
    from batchembed.engine.workers.pool import WorkerPool  # noqa: PLC0415  heavy
    from batchembed.engine.workers.prober import Prober  # noqa: PLC0415  heavy
    from batchembed.engine.workers.sandbox import offered  # noqa: PLC0415  heavy

    quiet_logs()
    plan = None if options.faults is None else read_faults(options.faults)
    pool = WorkerPool(options.workers)
    with Prober() as prober:

        def confined() -> bool:
            """As the processes found it; before the first, as the kernel offers it."""
            seen = [each for each in (pool.confinement, prober.confinement) if each is not None]
            return all(each.landlock and each.seccomp for each in seen or [offered()])

        async with Engine(
            options.data,
            workers=options.workers,
            pool=pool,
            probe=prober.probe,
            aliases=options.aliases,
            fetch_rules=FetchRules(allow_private=options.allow_private_urls),
            retention_s=options.retention_s,
        ) as engine:
            app: ASGIApp = build_app(
                engine,
                max_upload_bytes=options.max_upload_bytes,
                confined=confined,
            )
            if plan is not None:
                app = FaultyApp(app, plan, note=notes.tell)
            guarded = Guards(app, host=options.host, api_key=options.api_key)
            more = () if confined() else (_UNCONFINED,)
            return await _answer(_listen(guarded, options), notes, more)


def _listen(app: ASGIApp, options: Options) -> HttpServer:
    from batchembed.engine.web.server import HttpServer  # noqa: PLC0415  heavy

    try:
        return HttpServer(app, host=options.host, port=options.port)
    except OSError as error:
        raise unheard(options.host, options.port, error) from error


async def _answer(server: HttpServer, notes: Notes, more: Iterable[str]) -> int:
    """Serve until a signal, which is heard as soon as the first line is told."""
    hurry = asyncio.Event()
    with _signals(hurry) as (stop, received):
        async with server:
            for line in (f"batchembed serves {server.address}/v1.3", *more):
                notes.tell(line)
            await stop.wait()
            await server.stop(drain_s=_DRAIN_S, hurry=hurry)
    if len(received) > 1:
        raise SignalledError(received[0])
    return ExitCode.OK


@contextlib.contextmanager
def _signals(hurry: asyncio.Event) -> Iterator[tuple[asyncio.Event, list[int]]]:
    """SIGINT and SIGTERM drain the server; a second one ends it at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    received: list[int] = []

    def take(number: int) -> None:
        received.append(number)
        (hurry if stop.is_set() else stop).set()

    handled = (signal.SIGINT, signal.SIGTERM)
    for number in handled:
        loop.add_signal_handler(number, take, number)
    try:
        yield stop, received
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
