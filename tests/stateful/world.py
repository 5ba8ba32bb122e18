"""A world in which a run can be ended at any moment: its time, its ledger, its dataset.

Time passes only while nothing else is to be done. What a run would do in threads is done in the
loop, so that the same decisions give the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from batchembed.core.model import JobKey
from batchembed.core.states import Staged
from batchembed.dataset.publish import DatasetIdentity, RowSpec
from batchembed.dataset.schema import DatasetSchema
from batchembed.dataset.sources import RowsMissingError
from batchembed.dataset.staging import StagedDamagedError, read_staged, staged_name
from batchembed.dataset.storage import PAYER
from batchembed.store.ledger import Ledger
from batchembed.store.sqlite_ledger import SqliteLedger
from tests.unit.runner.fake_tasks import VirtualLoop

T = TypeVar("T")


class DiedError(BaseException):
    """The process is no more: nothing that it still tries has an effect."""


class InlineLoop(VirtualLoop):
    """Does in itself what is meant for threads; each piece of work is a moment."""

    world: World

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()

        def answer() -> None:
            # Cancelled or not, a thread goes on; what happens in it may cancel whoever waits.
            try:
                self.world.moment()
                result = func(*args)
            except BaseException as error:  # noqa: BLE001  it is the caller's
                if not future.cancelled():
                    future.set_exception(error)
            else:
                if not future.cancelled():
                    future.set_result(result)

        self.call_soon(answer)
        return future


@dataclass(kw_only=True)
class World:
    """Time, and what happens at the n-th moment of a run."""

    began: float = 1_762_553_467.0
    passed_s: float = 0.0  #: before the run of now
    set_s: float = 0.0  #: how far the wall clock is off
    plan: dict[int, Callable[[], None]] = field(default_factory=dict)
    each: Callable[[], None] | None = None  #: what happens at every moment
    moments: int = 0
    runs: int = 0
    dead: bool = False
    loop: InlineLoop | None = None

    def monotonic(self) -> float:
        """Seconds that have really passed."""
        return self.passed_s + (0.0 if self.loop is None else self.loop.time())

    def server(self) -> float:
        """The service's clock, which is right."""
        return self.began + self.monotonic()

    def clock(self) -> float:
        """This machine's clock, which may be wrong."""
        return self.server() + self.set_s

    def moment(self) -> None:
        """A moment at which something may happen to the run."""
        if not self.dead:
            self.moments += 1
            if self.each is not None:
                self.each()
            act = self.plan.pop(self.moments, None)
            if act is not None:
                act()
        if self.dead:
            raise DiedError

    def run(self, work: Callable[[], Any], plan: Mapping[int, Callable[[], None]]) -> Any:
        """The result of a coroutine function's work, or None where the process died or was told to end."""
        self.plan, self.moments, self.dead = dict(plan), 0, False
        with asyncio.Runner(loop_factory=InlineLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, InlineLoop)
            self.loop, loop.world = loop, self
            try:
                return runner.run(work())
            except (DiedError, asyncio.CancelledError):
                return None
            except BaseExceptionGroup as group:
                ended, defects = group.split((DiedError, asyncio.CancelledError))
                if ended is None or defects is not None:
                    raise
                return None
            finally:
                self.passed_s += loop.time()
                self.loop = None


class FileCalls:
    """The ledger's file, as a run asks it: a call that was made is durable, also if nobody hears of it."""

    def __init__(self, path: Path, world: World) -> None:
        world.runs += 1
        self.ledger = SqliteLedger(path, run_id=f"run-{world.runs}")
        self._world = world

    async def do(self, call: Callable[[Ledger], T]) -> T:
        self._world.moment()
        made: list[T] = []
        self.ledger.batch([lambda: made.append(call(self.ledger))])
        self._world.moment()
        await asyncio.sleep(0)
        return made[0]


@dataclass(frozen=True, kw_only=True)
class MemoryRecord:
    """As much of a record as a run looks at."""

    number: int
    specs: tuple[RowSpec, ...]
    contents: Mapping[str, bytes]  #: of its side files
    parts: tuple[str, ...] = ()

    @property
    def side_files(self) -> tuple[tuple[str, str], ...]:
        return tuple(
            (name, hashlib.sha256(content).hexdigest()) for name, content in self.contents.items()
        )

    @property
    def rows(self) -> int:
        return sum(spec.published_rows for spec in self.specs)


@dataclass(frozen=True, kw_only=True)
class MemoryPublished:
    """What a publish did."""

    record: MemoryRecord
    changed: bool


@dataclass(kw_only=True)
class MemoryStorage:
    """The side files of the last record, and who pays."""

    dataset: MemoryDataset
    payer: bytes | None = None

    def read(self, key: str) -> bytes:
        if key == PAYER:
            if self.payer is None:
                raise FileNotFoundError
            return self.payer
        assert self.dataset.record is not None
        return self.dataset.record.contents[key.removeprefix("_batchembed/")]

    def named(self, key: str) -> str:
        return f"{self.dataset.root}/{key}"

    def prepare(self) -> None:
        """There is nothing to make."""

    def put(self, key: str, content: bytes) -> None:
        assert key == PAYER
        self.payer = content

    def settle(self, folders: Iterable[str]) -> None:
        """What is there lasts."""

    def confirm_held(self) -> None:
        """Nobody else is here."""


@dataclass(kw_only=True)
class MemoryDataset:
    """A dataset whose records cost no time; its rows are those that were staged."""

    world: World
    root: Path
    dataset_id: str = "d" * 32
    identity: DatasetIdentity = field(
        default_factory=lambda: DatasetIdentity(model_name="local-v1", dimension=2, engine={})
    )
    record: MemoryRecord | None = None
    vectors: dict[tuple[JobKey, str], float] = field(default_factory=dict)  #: of published rows
    is_new: bool = True
    storage: Any = None
    turn: Any = field(default_factory=contextlib.nullcontext)

    def __post_init__(self) -> None:
        self.storage = MemoryStorage(dataset=self)

    def last(self) -> MemoryRecord | None:
        return self.record

    def specs(self) -> tuple[RowSpec, ...]:
        return () if self.record is None else self.record.specs

    @property
    def missing_parts(self) -> tuple[str, ...]:
        rows = ((spec.job_key, spec.rows_sha256) for spec in self.specs())
        return tuple(name[0] for name in rows if name not in self.vectors)

    def lose(self, key: JobKey) -> None:
        """The parts with a job's rows are gone."""
        for name in [each for each in self.vectors if each[0] == key]:
            del self.vectors[name]

    def shows(self, job_key: JobKey, staged: Staged, *, options: tuple[str, ...] | None) -> bool:
        return (job_key, staged.sha256) in self.vectors

    def spec_of(self, job_key: JobKey) -> RowSpec | None:
        return next((spec for spec in self.specs() if spec.job_key == job_key), None)

    def has_rows(
        self, job_key: JobKey, staged: Staged, *, options: tuple[str, ...] | None, staging: Path
    ) -> bool:
        if self.shows(job_key, staged, options=options):
            return True
        try:
            read_staged(staging, staged)
        except StagedDamagedError:
            return False
        return True

    def publish(
        self,
        listed: Sequence[RowSpec],
        kept: Sequence[RowSpec],
        *,
        schema: DatasetSchema,
        staging: Path,
        side_files: Mapping[str, bytes],
        awaited: Callable[[JobKey], bool] = lambda key: False,
        accept: Callable[[tuple[Any, ...]], None] | None = None,
    ) -> MemoryPublished:
        self.world.moment()
        specs = (*listed, *kept)
        vectors = dict(self._found(specs, staging))
        missing = [each for each in specs if (each.job_key, each.rows_sha256) not in vectors]
        if missing:
            raise RowsMissingError(missing)
        before = self.record
        changed = before is None or (before.specs, before.contents) != (specs, side_files)
        if before is None or changed:
            number = 1 if before is None else before.number + 1
            self.record = MemoryRecord(number=number, specs=specs, contents=side_files)
            self.vectors = vectors
            self.world.moment()
        for spec in specs:
            (staging / staged_name(spec.job_key)).unlink(missing_ok=True)
        self.world.moment()
        assert self.record is not None
        return MemoryPublished(record=self.record, changed=changed)

    def _found(
        self, specs: Iterable[RowSpec], staging: Path
    ) -> Iterable[tuple[tuple[JobKey, str], float]]:
        for spec in specs:
            name = (spec.job_key, spec.rows_sha256)
            if name in self.vectors:
                yield name, self.vectors[name]
                continue
            staged = Staged(file=staged_name(spec.job_key), rows=spec.rows, sha256=spec.rows_sha256)
            try:
                table = read_staged(staging, staged)
            except StagedDamagedError:
                continue
            yield name, table["embedding"][0].as_py()[0]
