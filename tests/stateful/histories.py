"""Runs of changing manifests into a dataset on disk, which can be ended at any operation on a file."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchembed.api import wire
from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.core.model import (
    Budget,
    Concurrency,
    EngineKind,
    EngineSpec,
    FileIdentity,
    FileSource,
    JobKey,
    Manifest,
    OutputSpec,
    Polling,
    Quota,
    Video,
    VideoId,
)
from batchembed.core.problems import Place
from batchembed.core.run_report import RunReport
from batchembed.dataset.checks import check_rows
from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import Dataset, DatasetIdentity, RowSpec
from batchembed.dataset.read import open_dataset
from batchembed.dataset.schema import dataset_schema
from batchembed.dataset.staging import write_staged
from batchembed.media.identity import identify
from batchembed.runner.stopping import Stop
from batchembed.store.home import Home
from batchembed.store.ledger import KnownFile
from batchembed.store.sqlite_ledger import SqliteLedger
from tests.stateful.bench import (
    SETTLE_S,
    Event,
    carry_out,
    launch,
    setting_in,
    take_from_the_record,
)
from tests.stateful.drafts import CLIP_SEC, PROFILE, Draft, Film, Row, Wanted, Work, work_on
from tests.stateful.service import ModelClient, ModelService
from tests.stateful.world import FileCalls, World
from tests.support.dataset import BreakingFiles

_IDENTITY = DatasetIdentity(model_name="local-v1", dimension=PROFILE.dimension, engine={})
_PLACE = Place(file="manifest.yaml", line=1, column=1, path="$")


class MortalFiles(BreakingFiles):
    """Each operation is a moment of a world, at which the run may be ended."""

    def __init__(self, world: World) -> None:
        super().__init__(sys.maxsize, crash=True)
        self._world = world

    def _step(self) -> None:
        self.operations += 1
        self._world.moment()


class FilmClient(ModelClient):
    """A client of a service that knows how long each film is."""

    async def retrieve_body(self, task_id: str, **_: Any) -> bytearray:
        await self._asked("retrieve")
        task = self._service.find(task_id)
        return work_on(task.content, task.end).answer


@dataclass(kw_only=True)
class Builder:
    """Films, a state folder, a dataset and a service."""

    folder: Path
    storage: type[Folder] = Folder
    films: dict[int, Film] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = World()
        self.service = ModelService(world=self.world, idempotent=False)
        self.home = Home(self.folder / "state")
        for each in (self.home.staging, self.folder / "films"):
            each.mkdir(parents=True)
        self.output = self.folder / "out"
        SqliteLedger(self.home.ledger).close()

    # -- films

    def put(self, slot: int, film: Film) -> None:
        """Give a slot's file this content."""
        self.films[slot] = film
        self._path(slot).write_bytes(film.content)

    def take_away(self, slot: int) -> None:
        """As when a disk is unmounted: `bring_back` ends it."""
        self._path(slot).unlink(missing_ok=True)

    def bring_back(self) -> None:
        """Every film is where it was."""
        for slot, film in self.films.items():
            if not self._path(slot).exists():
                self.put(slot, film)

    def is_there(self, slot: int) -> bool:
        """Whether the slot's file is."""
        return self._path(slot).exists()

    def _path(self, slot: int) -> Path:
        return self.folder / "films" / f"{slot}.mp4"

    def work(self, wanted: Wanted) -> Work:
        """What an entry asks for now."""
        return Work(film=self.films[wanted.slot], end=wanted.end)

    # -- a run

    def run(
        self,
        draft: Draft,
        *,
        events: Mapping[int, Event] | None = None,
        killed_at_file: int | None = None,
        limit: int | None = None,
        patience_s: float | None = None,
    ) -> RunReport | None:
        """Run once; None: it did not come to its end.

        Args:
            draft: the manifest.
            events: what happens at which moments.
            killed_at_file: the operation on the dataset's files, from 1, before which it is killed.
            limit: of creates.
            patience_s: after one create a minute, so long is waited for the next.
        """
        files = MortalFiles(self.world)
        manifest = self.manifest(draft, patience_s)

        async def work(calls: FileCalls, stop: Stop) -> RunReport:
            return await self._run(manifest, files, calls, stop, limit)

        return launch(
            self.world,
            self.home.ledger,
            work,
            events=events,
            once=(lambda: files.operations == killed_at_file, "kill"),
        )

    async def _run(
        self,
        manifest: Manifest,
        files: MortalFiles,
        calls: FileCalls,
        stop: Stop,
        limit: int | None,
    ) -> RunReport:
        world = self.world
        dataset = self._open(files)
        dataset.finish_interrupted(self.home.staging)
        setting = setting_in(world, stop, manifest, PROFILE, dataset, self.home, limit=limit)
        await take_from_the_record(setting, calls)
        connect: Callable[..., AsyncTasksClient] = functools.partial(FilmClient, self.service)
        return await carry_out(setting, calls, connect, known=self._known(), idempotent=False)

    def _open(self, files: MortalFiles) -> Dataset:
        return Dataset.open_or_create(
            self.storage(self.output, files), identity=_IDENTITY, new_id=lambda: "d" * 32
        )

    def _known(self) -> Iterator[KnownFile]:
        """What probing and hashing the files would tell."""
        for slot, film in self.films.items():
            identity = identify(str(self._path(slot)))
            if isinstance(identity, FileIdentity):
                yield KnownFile(identity=identity, facts=film.facts, sha256=film.sha256)

    def keep(self, specs: Sequence[RowSpec], works: Mapping[JobKey, Work], draft: Draft) -> None:
        """Publish rows of videos that no manifest names, computed anew."""
        for spec in specs:
            work = works[spec.job_key]
            rows = check_rows(
                wire.segments(work.answer),
                profile=PROFILE,
                dimension=PROFILE.dimension,
                whole=None,
                clip_length_sec=CLIP_SEC,
                scopes=("clip",),
            )
            assert write_staged(rows, self.home.staging, spec.job_key).sha256 == spec.rows_sha256
        schema = dataset_schema(
            [spec.metadata for spec in specs], draft.partition_by, _IDENTITY.dimension or 0
        )
        self._open(MortalFiles(self.world)).publish(
            (), specs, schema=schema, staging=self.home.staging, side_files={}
        )

    # -- the manifest

    def manifest(self, draft: Draft, patience_s: float | None = None) -> Manifest:
        """A draft, resolved; with `patience_s`, of an account that may create one task a minute."""
        return Manifest(
            file=str(self.folder / "manifest.yaml"),
            name="manifest",
            engine=EngineSpec(kind=EngineKind.TWELVELABS, base_url=None, api_key_env=None),
            model_name="local-v1",
            profile="local-v1",
            videos=tuple(map(self._video, draft.videos)),
            output=OutputSpec(
                path=str(self.output),
                partition_by=draft.partition_by,
                publish_every_s=draft.publish_every_s,
            ),
            on_limit_violation="reject",
            on_rejected="fail",
            on_removed=draft.on_removed,
            on_lost="fail",
            on_unknown_submission="wait",
            concurrency=Concurrency(workers=1, tasks=4, uploads=2, requests=4, probes=1),
            polling=Polling(first_wait_s=1.0, longest_wait_s=4.0, deadline_s=60.0),
            settle_s=SETTLE_S,
            quota=Quota(
                requests_per_minute=None if patience_s is None else 1,
                video_minutes_per_hour=None,
                video_minutes_per_day=None,
                max_inline_wait_s=600.0 if patience_s is None else patience_s,
            ),
            budget=Budget(
                video_minutes=None, amount=None, price_per_minute=None, currency="USD", per="run"
            ),
            max_runtime_s=None,
        )

    def _video(self, wanted: Wanted) -> Video:
        path = self._path(wanted.slot)
        return Video(
            video_id=wanted.video_id,
            source=FileSource(path=str(path), shown=f"films/{path.name}"),
            parameters=wanted.parameters,
            embedding_option=wanted.options,
            metadata=wanted.metadata,
            skip=None,
            place=_PLACE,
            places={},
        )

    # -- what there is

    def lose_state(self) -> None:
        """The state folder is gone."""
        for path in (*self.home.staging.iterdir(), *self.home.path.glob("ledger.sqlite*")):
            path.unlink()
        SqliteLedger(self.home.ledger).close()

    def dataset(self) -> Dataset | None:
        """For those who only look."""
        return Dataset.find(Folder(self.output))

    def published(self) -> tuple[RowSpec, ...]:
        """The videos of the last record."""
        dataset = self.dataset()
        return () if dataset is None else dataset.specs()

    def paid(self) -> Counter[tuple[str, float | None]]:
        """How many tasks there are of each film and window."""
        return Counter((task.content, task.end) for task in self.service.tasks)


def rows_in(output: Path) -> list[tuple[str, Row]]:
    """The rows of a dataset, each with its video; sorted."""
    return sorted(
        (
            row["video_id"],
            Row(
                option=row["embedding_option"],
                start=row["start_offset_sec"],
                end=row["end_offset_sec"],
                vector=tuple(row["embedding"]),
            ),
        )
        for row in open_dataset(output).to_table().to_pylist()
    )


def ids(specs: Sequence[RowSpec]) -> set[VideoId]:
    """The videos of these rows."""
    return {spec.video_id for spec in specs}
