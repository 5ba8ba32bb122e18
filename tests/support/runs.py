"""Runs a manifest as the command does, but with an engine that embeds at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.observe import Observer
from batchembed.api.retry import Sleep
from batchembed.core.model import StoreOptions, VideoId
from batchembed.core.run_report import RunReport
from batchembed.dataset.places import storage_at
from batchembed.dataset.publish import Dataset, DatasetIdentity
from batchembed.dataset.read import open_dataset
from batchembed.dataset.storage import Storage
from batchembed.engine.service import Workers
from batchembed.manifest.resolve import read_manifest
from batchembed.media.limits import profile
from batchembed.runner.carry import Service
from batchembed.runner.listen import Event
from batchembed.runner.run import run
from batchembed.runner.setting import Setting
from batchembed.runner.stopping import Stop
from batchembed.store.home import make_home, state_home
from tests.support.engines import InstantPool, in_process

#: A manifest of every film in a folder.
GLOB = """\
version: 1
engine: local
videos:
  - glob: v/*.mp4
output: {path: out}
"""


def entries(*names: str, more: str = "") -> str:
    """Entries of a manifest, of films named so."""
    return "".join(f"  - {{video_file: v/{name}.mp4, id: {name}{more}}}\n" for name in names)


@dataclass(kw_only=True)
class Heard:
    """Keeps every event, and may act on one."""

    events: list[Event] = field(default_factory=list)
    then: Callable[[Event], None] | None = None

    def notice(self, event: Event) -> None:
        self.events.append(event)
        if self.then is not None:
            self.then(event)


@dataclass(kw_only=True)
class Draining:
    """Passes events on, and drains the run at one of them."""

    heard: Heard
    stop_when: Callable[[Event], bool]
    stop: asyncio.Event

    def notice(self, event: Event) -> None:
        if self.stop_when(event):
            self.stop.set()
        self.heard.notice(event)


@dataclass(kw_only=True)
class Bench:
    """A manifest in a folder, and runs of it."""

    folder: Path
    pool: Workers = field(default_factory=InstantPool)
    wrap: Callable[[AsyncTasksClient], AsyncTasksClient] = lambda client: client
    now: float = 1_000_000.0  #: when a run begins
    sleep: Sleep = asyncio.sleep
    storage_at: Callable[[str, StoreOptions], Storage] = storage_at

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.yaml"

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def write(self, videos: str, *, more: str = "") -> None:
        """Write the manifest around its list of videos."""
        self.manifest.write_text(
            f"version: 1\nengine: local\n{more}output: {{path: out}}\nvideos:\n{videos}",
            encoding="utf-8",
        )

    def run(
        self,
        *,
        overrides: Sequence[str] = (),
        retry: str | None = None,
        only: Sequence[str] = (),
        limit: int | None = None,
        heard: Heard | None = None,
        idempotent: bool = True,
        stop_when: Callable[[Event], bool] = lambda event: False,
    ) -> RunReport:
        """Run the manifest once; it is told to drain at an event that `stop_when` names."""
        manifest = read_manifest(self.manifest, overrides=overrides).manifest
        limits = profile(manifest.profile)
        identity = DatasetIdentity(
            model_name=manifest.model_name, dimension=limits.dimension, engine={}
        )
        dataset = Dataset.open_or_create(
            self.storage_at(manifest.output.path, manifest.stores),
            identity=identity,
            new_id=lambda: "d" * 32,
        )
        home = state_home(manifest.file, None, dataset.dataset_id)
        make_home(home, manifest.output.path)
        ticks = itertools.count(int(self.now))

        @contextlib.asynccontextmanager
        async def service(observer: Observer) -> AsyncIterator[Service]:
            async with in_process(home.engine, self.pool, observer=observer) as client:
                yield Service(client=self.wrap(client), idempotent=idempotent)

        heard = heard or Heard()

        async def once() -> RunReport:
            stop = Stop()
            listener = Draining(heard=heard, stop_when=stop_when, stop=stop)
            return await run(
                Setting(
                    run_id="run",
                    manifest=manifest,
                    profile=limits,
                    dataset=dataset,
                    home=home,
                    open_service=service,
                    listener=listener,
                    clock=lambda: float(next(ticks)),
                    stop=stop,
                    sleep=self.sleep,
                    retry=retry,
                    only=tuple(VideoId(each) for each in only),
                    limit=limit,
                )
            )

        return asyncio.run(once())

    def rows(self) -> pa.Table:
        """The dataset as it is."""
        return open_dataset(self.output).to_table()

    def parts(self) -> dict[str, bytes]:
        """Every part, by its path in the dataset."""
        return {
            str(path.relative_to(self.output)): path.read_bytes()
            for path in sorted(self.output.rglob("*.parquet"))
        }
