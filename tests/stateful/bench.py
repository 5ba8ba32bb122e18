"""Runs of a manifest of small files and URLs, on a real ledger, in a world of its own."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.observe import Observer as ApiObserver
from batchembed.core.keys import job_key, unsigned_url, url_content
from batchembed.core.model import (
    Budget,
    Concurrency,
    Content,
    EngineKind,
    EngineSpec,
    Facts,
    FileIdentity,
    FileSource,
    JobKey,
    Manifest,
    OutputSpec,
    Parameters,
    Polling,
    Profile,
    Quota,
    UrlSource,
    Video,
    VideoId,
)
from batchembed.core.problems import Place
from batchembed.core.run_report import RunReport
from batchembed.core.states import Entry
from batchembed.dataset.publish import Dataset
from batchembed.media.identity import identify
from batchembed.runner.book import Book
from batchembed.runner.carry import Service
from batchembed.runner.crew import assemble
from batchembed.runner.heal import heal
from batchembed.runner.holdings import Holdings
from batchembed.runner.listen import Silent
from batchembed.runner.observe import Observer
from batchembed.runner.opening import Opened
from batchembed.runner.recall import recall
from batchembed.runner.run import _Run
from batchembed.runner.setting import Setting
from batchembed.runner.stopping import Stop
from batchembed.runner.writing import Writing
from batchembed.store.home import Home
from batchembed.store.ledger import KnownFile
from batchembed.store.sqlite_ledger import SqliteLedger
from tests.stateful.service import FILE_SEC, ModelClient, ModelService, vector_of
from tests.stateful.world import FileCalls, MemoryDataset, World

SETTLE_S = 10.0
#: What may happen at a moment of a run.
Jump = Literal["hour on", "hour back", "day on", "day back", "to 2038"]
Event = Literal["kill", "cancel", "stop"] | Jump
STEPS_S: dict[Event, float] = {
    "hour on": 3_600.0,
    "hour back": -3_600.0,
    "day on": 86_400.0,
    "day back": -86_400.0,
    "to 2038": 385_000_000.0,
}

_PROFILE = Profile(
    name="local-v1",
    dimension=2,
    embedding_options=("visual-text",),
    audio_options=frozenset(),
    unit_length=False,
    longest_video_sec=7_200.0,
)
#: Never asked: the loop of `World` does all work in itself.
NO_THREADS = Executor()
_PLACE = Place(file="manifest.yaml", line=1, column=1, path="$")


def launch(
    world: World,
    ledger: Path,
    work: Callable[[FileCalls, Stop], Coroutine[Any, Any, RunReport]],
    *,
    events: Mapping[int, Event | Callable[[], None]] | None = None,
    once: tuple[Callable[[], object], Event] | None = None,
    on_open: Callable[[SqliteLedger], None] | None = None,
) -> RunReport | None:
    """Run once in a world, with a ledger; None: it did not come to its end.

    Args:
        world: where it runs.
        ledger: its file.
        work: the run.
        events: what happens at which moments.
        once: at the first moment at which this is so, that happens.
        on_open: what is done to the ledger before.
    """
    stop = Stop()
    running: list[asyncio.Task[Any]] = []

    def act(event: Event) -> Callable[[], None]:
        def happen() -> None:
            match event:
                case "kill":
                    world.dead = True
                case "cancel":
                    running[0].cancel()
                case "stop":
                    stop.set()
                case _:
                    world.set_s += STEPS_S[event]

        return happen

    calls = FileCalls(ledger, world)
    if on_open is not None:
        on_open(calls.ledger)

    async def begin() -> RunReport:
        task = asyncio.current_task()
        assert task is not None
        running.append(task)
        return await work(calls, stop)

    def watch() -> None:
        if once is not None and once[0]():
            world.each = None
            act(once[1])()

    world.each = None if once is None else watch
    try:
        plan = {
            number: act(event) if isinstance(event, str) else event
            for number, event in (events or {}).items()
        }
        report: RunReport | None = world.run(begin, plan)
        return report
    finally:
        calls.ledger.close()


def setting_in(
    world: World,
    stop: Stop,
    manifest: Manifest,
    profile: Profile,
    dataset: Dataset,
    home: Home,
    **more: Any,
) -> Setting:
    """A run's setting in a world."""
    return Setting(
        run_id=f"run-{world.runs}",
        manifest=manifest,
        profile=profile,
        dataset=dataset,
        home=home,
        open_service=unopened,
        listener=Silent(),
        clock=world.clock,
        monotonic=world.monotonic,
        stop=stop,
        **more,
    )


async def take_from_the_record(setting: Setting, calls: FileCalls) -> None:
    """Let the ledger know again what it lacks, as a run does when it opens it."""
    await recall(
        calls,
        setting.dataset,
        calls.ledger.entries(),
        calls.ledger.beginning(),
        hosted=True,
        now=setting.clock(),
        write=Writing(NO_THREADS),
    )


async def carry_out(
    setting: Setting,
    calls: FileCalls,
    connect: Callable[[ApiObserver], AbstractAsyncContextManager[AsyncTasksClient]],
    *,
    known: Iterable[KnownFile],
    idempotent: bool,
) -> RunReport:
    """A run on an open ledger, of which files are known and of a service that is taken for such."""
    ledger, write = calls.ledger, Writing(NO_THREADS)
    book = Book(calls, ledger.entries(), ledger.task_ids(), clock=setting.clock)
    holdings = Holdings(dataset=setting.dataset, staging=setting.home.staging)
    await heal(book, holdings, setting.manifest, write)
    observer = Observer(monotonic=setting.monotonic)
    async with connect(observer) as client:
        service = Service(client=client, idempotent=idempotent)
        crew = await assemble(setting, service, book, observer, write)
        open_ = Opened(
            crew=crew,
            observer=observer,
            known={each.identity.path: each for each in known},
            names=ledger.names(),
            write=write,
        )
        return await _Run(setting, open_).run()


@dataclass(frozen=True, kw_only=True)
class FileVideo:
    """What the manifest says of a slot: a file of these bytes."""

    content: bytes


@dataclass(frozen=True, kw_only=True)
class UrlVideo:
    """What the manifest says of a slot: a URL, signed anew each time, and the end of the window."""

    number: int
    end: float
    signature: int

    @property
    def url(self) -> str:
        return f"https://videos.example/{self.number}.mp4?X-Amz-Signature={self.signature}"


@dataclass(kw_only=True)
class Bench:
    """A manifest, a state folder, a dataset and a service."""

    folder: Path
    believes_idempotent: bool = False  #: what the runner takes the service for
    idempotent: bool = False
    on_lost: str = "fail"
    tasks: int = 2
    on_open: Callable[[SqliteLedger], None] | None = None  #: what is done to the ledger of a run
    reads: bool = False  #: its files are videos: they are probed and hashed
    requests_per_minute: int | None = None
    connect: Callable[
        [ModelService, ApiObserver], AbstractAsyncContextManager[AsyncTasksClient]
    ] = ModelClient
    videos: dict[int, FileVideo | UrlVideo] = field(default_factory=dict)
    vectors: dict[JobKey, float] = field(default_factory=dict)  #: of each job there ever was

    def __post_init__(self) -> None:
        self.world = World()
        self.service = ModelService(world=self.world, idempotent=self.idempotent)
        self.home = Home(self.folder / "state")
        for each in (self.home.staging, self.folder / "films"):
            each.mkdir(parents=True)
        self.dataset = MemoryDataset(world=self.world, root=self.folder / "out")
        SqliteLedger(self.home.ledger).close()

    # -- a run

    def run(
        self,
        *,
        events: Mapping[int, Event | Callable[[], None]] | None = None,
        once: tuple[Callable[[], object], Event] | None = None,
        retry: str | None = None,
    ) -> RunReport | None:
        """Run once; None: it did not come to its end.

        Args:
            events: what happens at which moments.
            once: at the first moment at which this is so, that happens.
            retry: as `--retry` says.
        """
        return launch(
            self.world,
            self.home.ledger,
            lambda calls, stop: self._run(calls, stop, retry),
            events=events,
            once=once,
            on_open=self.on_open,
        )

    async def _run(self, calls: FileCalls, stop: Stop, retry: str | None) -> RunReport:
        world = self.world
        dataset = cast("Dataset", self.dataset)
        setting = setting_in(
            world, stop, self.manifest(), _PROFILE, dataset, self.home, retry=retry
        )
        await take_from_the_record(setting, calls)
        self.dataset.is_new = False
        return await carry_out(
            setting,
            calls,
            lambda observer: self.connect(self.service, observer),
            known=self._known(),
            idempotent=self.believes_idempotent,
        )

    # -- the manifest

    def manifest(self) -> Manifest:
        """As it is now."""
        return Manifest(
            file=str(self.folder / "manifest.yaml"),
            name="manifest",
            engine=EngineSpec(kind=EngineKind.TWELVELABS, base_url=None, api_key_env=None),
            model_name="local-v1",
            profile="local-v1",
            videos=tuple(self._video(slot) for slot in sorted(self.videos)),
            output=OutputSpec(
                path=str(self.dataset.root),
                partition_by=("embedding_option",),
                publish_every_s=30.0,
            ),
            on_limit_violation="reject",
            on_rejected="fail",
            on_removed="keep",
            on_lost=self.on_lost,
            on_unknown_submission="wait",
            concurrency=Concurrency(workers=1, tasks=self.tasks, uploads=2, requests=4, probes=1),
            polling=Polling(first_wait_s=1.0, longest_wait_s=4.0, deadline_s=60.0),
            settle_s=SETTLE_S,
            quota=Quota(
                requests_per_minute=self.requests_per_minute,
                video_minutes_per_hour=None,
                video_minutes_per_day=None,
                max_inline_wait_s=600.0,
            ),
            budget=Budget(
                video_minutes=None,
                amount=None,
                price_per_minute=None,
                currency="USD",
                per="run",
            ),
            max_runtime_s=None,
        )

    def put(self, slot: int, video: FileVideo | UrlVideo) -> None:
        """Say that a slot is this video."""
        self.videos[slot] = video
        if isinstance(video, FileVideo):
            self.path(slot).write_bytes(video.content)

    def path(self, slot: int) -> Path:
        return self.folder / "films" / f"{slot}.mp4"

    def _video(self, slot: int) -> Video:
        video = self.videos[slot]
        source: FileSource | UrlSource
        end = None
        if isinstance(video, FileVideo):
            path = str(self.path(slot))
            source = FileSource(path=path, shown=path)
        else:
            source, end = UrlSource(url=video.url), video.end
        return Video(
            video_id=VideoId(f"v{slot}"),
            source=source,
            parameters=Parameters(
                model_name="local-v1",
                video_clip_length=6.0,
                video_embedding_scope=("clip",),
                video_start_offset_sec=None if end is None else 0.0,
                video_end_offset_sec=end,
            ),
            embedding_option=None,
            metadata={},
            skip=None,
            place=_PLACE,
            places={},
        )

    def _known(self) -> list[KnownFile]:
        """What probing and hashing the files would tell."""
        found = []
        for slot, video in self.videos.items():
            if isinstance(video, FileVideo) and not self.reads:
                identity = identify(str(self.path(slot)))
                assert isinstance(identity, FileIdentity)
                sha256 = hashlib.sha256(video.content).hexdigest()
                found.append(KnownFile(identity=identity, facts=_FACTS, sha256=sha256))
        return found

    def key(self, slot: int) -> JobKey:
        """The job of a slot's video."""
        video = self.videos[slot]
        content = Content(kind="sha256", digest=self.content(slot))
        if isinstance(video, UrlVideo):
            content = url_content(video.url)
        return job_key(content, self._video(slot).parameters)

    def content(self, slot: int) -> str:
        """As the service calls it: the sha256 of the bytes, or the URL without its signature."""
        video = self.videos[slot]
        if isinstance(video, FileVideo):
            return hashlib.sha256(video.content).hexdigest()
        return unsigned_url(video.url)

    def expected(self, slot: int) -> float:
        """The first number of the vectors of a slot's video."""
        asked = self._video(slot).parameters
        return vector_of(
            self.content(slot), asked.video_start_offset_sec, asked.video_end_offset_sec
        )

    def lose_state(self, *, copy: Path | None = None) -> None:
        """The state folder is gone; with `copy`, this old ledger is put in its place."""
        for path in (*self.home.staging.iterdir(), *self.home.path.glob("ledger.sqlite*")):
            path.unlink()
        if copy is None:
            SqliteLedger(self.home.ledger).close()
        else:
            shutil.copy(copy, self.home.ledger)

    # -- what the ledger says

    def entries(self) -> dict[JobKey, Entry]:
        with closing(SqliteLedger(self.home.ledger, read_only=True)) as ledger:
            return ledger.entries()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the ledger's file has."""
        with closing(sqlite3.connect(self.home.ledger)) as ledger:
            return ledger.execute(query).fetchall()


_FACTS = Facts(
    width=640,
    height=360,
    aspect_ratio=16 / 9,
    rotation=0,
    duration_sec=FILE_SEC,
    size_bytes=10,
    frame_rate=10.0,
    format_name="mov",
    video_codec="h264",
    audio_codec=None,
)


def unopened(_observer: ApiObserver) -> AbstractAsyncContextManager[Service]:
    raise AssertionError("the service is open already")
