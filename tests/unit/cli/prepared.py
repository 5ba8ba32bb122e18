"""A folder as runs of a hosted engine would have left it: no engine, no video, no wait."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from batchembed.core.model import Facts, FileIdentity, JobKey, TaskId, VideoId
from batchembed.core.problems import Reason
from batchembed.core.quota import Charge
from batchembed.core.states import Entry, State
from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import Dataset, DatasetIdentity
from batchembed.manifest.resolve import read_manifest
from batchembed.media.identity import identify
from batchembed.media.limits import profile
from batchembed.runner.foresee import foresee
from batchembed.store.home import Home, make_home, state_home
from batchembed.store.ledger import Beginning, Block, KnownFile
from batchembed.store.sqlite_ledger import SqliteLedger

FACTS = Facts(
    width=640,
    height=360,
    aspect_ratio=16 / 9,
    rotation=0,
    duration_sec=60.0,
    size_bytes=1,
    frame_rate=25.0,
    format_name="mp4",
    video_codec="h264",
    audio_codec="aac",
)

MANIFEST = """\
version: 1
name: nightly
engine: {engine}
output: {{path: out}}
videos:
{videos}"""


@dataclass(kw_only=True)
class Prepared:
    """Videos, a manifest of them, a dataset without a record, and a ledger.

    The names of `short` are of videos that are too short; nothing is known of those of `unread`.
    """

    folder: Path
    videos: tuple[str, ...] = ("a",)
    engine: str = "twelvelabs"
    short: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    home: Home = field(init=False)

    def __post_init__(self) -> None:
        for name in self.videos:
            (self.folder / f"{name}.mp4").write_bytes(name.encode())
        self.write(self.videos)
        manifest = read_manifest(self.manifest).manifest
        dataset = Dataset.open_or_create(
            Folder(Path(manifest.output.path)),
            identity=DatasetIdentity(
                model_name=manifest.model_name,
                dimension=profile(manifest.profile).dimension,
                engine={"base_url": "https://api.twelvelabs.io/v1.3"},
            ),
            new_id=lambda: "d" * 32,
        )
        self.home = state_home(manifest.file, None, dataset.dataset_id)
        make_home(self.home, manifest.output.path)
        with self.open_ledger() as ledger:
            ledger.begin(Beginning(doubted_since=None, record=None))
            for name in self.videos:
                if name not in self.unread:
                    ledger.remember(self._read(name))

    @property
    def manifest(self) -> Path:
        return self.folder / "m.yaml"

    def write(self, videos: tuple[str, ...]) -> None:
        """Write a manifest of these videos."""
        listed = "".join(f"  - {{video_file: {name}.mp4, id: {name}}}\n" for name in videos)
        text = MANIFEST.format(engine=self.engine, videos=listed)
        self.manifest.write_text(text, encoding="utf-8")

    def _read(self, name: str) -> KnownFile:
        identity = identify(str(self.folder / f"{name}.mp4"))
        assert isinstance(identity, FileIdentity)
        return KnownFile(
            identity=identity,
            facts=replace(FACTS, duration_sec=3.0) if name in self.short else FACTS,
            sha256=hashlib.sha256(name.encode()).hexdigest(),
        )

    def open_ledger(self) -> _Ledger:
        return _Ledger(self.home.ledger)

    def job_key(self, name: str) -> JobKey:
        """The job of a video."""
        manifest = read_manifest(self.manifest).manifest
        with self.open_ledger() as ledger:
            known = ledger.files()
        wanted = tuple(video for video in manifest.videos if video.video_id == name)
        (each,) = foresee(
            replace(manifest, videos=wanted),
            profile(manifest.profile),
            {},
            known,
            None,
        )
        assert each.found is not None
        assert each.found.job is not None
        return each.found.job.job_key

    def carry(
        self,
        name: str,
        *states: State,
        at: float,
        task: str | None = None,
        reason: Reason | None = None,
    ) -> JobKey:
        """Take a video's job through these states, one a second from `at` on."""
        key = self.job_key(name)
        with self.open_ledger() as ledger:
            ledger.name(VideoId(name), key, source=f"{name}.mp4", now=at)
            ledger.add(key, now=at)
            old = State.PLANNED
            for n, state in enumerate(states):
                ledger.move(_entry(key, state, at + n, task, reason), old=old)
                old = state
        return key

    def charge(self, key: JobKey, at: float, video_sec: float | None) -> None:
        """Keep what the create of the job's first attempt cost."""
        with self.open_ledger() as ledger:
            ledger.charge(key, 1, Charge(at=at, video_sec=video_sec))

    def block(self, until: float, why: str) -> None:
        """Keep that the service takes no creates."""
        with self.open_ledger() as ledger:
            ledger.set_block(Block(until=until, why=why))


class _Ledger(SqliteLedger):
    """Whatever is done in the block is kept when it ends."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, run_id="20261125T231000Z-0a1b2c")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_HAS_TASK = {State.PROCESSING, State.READY, State.LOST}


def _entry(key: JobKey, state: State, at: float, task: str | None, reason: Reason | None) -> Entry:
    ended = state in {State.FAILED, State.LOST}
    return Entry(
        job_key=key,
        state=state,
        attempt=1,
        task_id=TaskId(task) if task is not None and (state in _HAS_TASK or ended) else None,
        reason=reason if ended else None,
        intended_at=at,
        unknown_since=at if state is State.UNKNOWN else None,
        submitted_at=at if state in _HAS_TASK else None,
        updated_at=at,
    )
