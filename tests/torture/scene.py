"""A manifest of short videos against a service, and runs of it that are killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchembed.engine.faults.plan import (
    AnswerLost,
    AnyRule,
    ConnectionCut,
    HiddenInListing,
    IgnoreIdempotencyKey,
    ServerError,
    Slow,
    SlowReady,
    TooManyRequests,
    TruncatedJson,
)
from tests.support import oracle
from tests.support.canary import KEY
from tests.support.emulator import MODEL, Emulator, emulated
from tests.support.killing import Ended, Launcher
from tests.support.media import make_video

#: Kills of the long form; by itself the short one runs.
KILLS = int(os.environ.get("BATCHEMBED_KILLS", "0"))
LONG = KILLS > 0
#: Longer than the service hides a task for, and than a create that lost its client goes on.
SETTLE_S = 1.0
LAG_S = 0.4
#: Where the service hides nothing.
SOON_S = 0.3
KEY_VARIABLE = "TORTURE_KEY"

#: One request in ten goes wrong; what says that it came before is never heard.
FAULTS: tuple[AnyRule, ...] = (
    IgnoreIdempotencyKey(),
    ServerError(probability=0.015),
    ServerError(probability=0.005, status=502, form="html"),
    ConnectionCut(probability=0.015),
    ConnectionCut(probability=0.01, when="during"),
    AnswerLost(probability=0.02),
    AnswerLost(probability=0.01, how="error"),
    TruncatedJson(probability=0.01),
    TooManyRequests(probability=0.01, retry_after_s=0.2),
    Slow(probability=0.01, delay_s=0.2),
    SlowReady(probability=0.3, delay_s=0.5),
    HiddenInListing(probability=0.3, for_s=LAG_S),
)
#: A service that only forgets keys.
FORGETS: tuple[AnyRule, ...] = (IgnoreIdempotencyKey(),)


def make_films(folder: Path, count: int) -> list[Path]:
    """So many tiny videos of three lengths, each with content of its own; only three are encoded."""
    folder.mkdir()
    bases = [
        make_video(folder / f"base{seed}.mp4", seconds=seconds, fps=2, seed=seed, audio=seed == 2)
        for seed, seconds in enumerate((4.0, 7.0, 13.0))
    ]
    encoded = [base.read_bytes() for base in bases]
    films = []
    for number in range(count):
        film = folder / f"{number:03}.mp4"
        # A box that every reader skips.
        box = b"\x00\x00\x00\x10free" + number.to_bytes(8, "big")
        film.write_bytes(encoded[number % 3] + box)
        films.append(film)
    for base in bases:
        base.unlink()
    return films


@dataclass(kw_only=True)
class Scene:
    """One dataset, from nothing to its end."""

    folder: Path
    launcher: Launcher
    emulator: Emulator
    runs: list[Ended] = field(default_factory=list)
    #: A run takes no longer, whatever happens to it.
    limit_s: float = 180.0
    seen_as: Path | None = None  #: the folder, as the runs see it

    @property
    def output(self) -> Path:
        return self.folder / "out"

    @property
    def videos(self) -> list[Path]:
        return sorted((self.folder / "v").glob("*.mp4"))

    def start(self, *argv: str, key: str = KEY, **more: Any) -> int:
        """Begin a run of the manifest; gives its number."""
        return self.launcher.start(
            ("run", "m.yaml", *argv),
            folder=self.seen_as or self.folder,
            env=environment(key),
            **{"limit_s": self.limit_s, **more},
        )

    def ended(self, number: int) -> Ended:
        """The run of that number, when it has ended."""
        self.runs.append(self.launcher.wait(number))
        return self.runs[-1]

    def run(self, *argv: str, **more: Any) -> Ended:
        """One run of the manifest, however it ends."""
        return self.ended(self.start(*argv, **more))

    def until_done(self, *, most: int = 10, **more: Any) -> Ended:
        """Runs, until one says that all is done, or that many were not enough."""
        for _ in range(most):
            ended = self.run(**more)
            if ended.code == 0:
                break
        return self.runs[-1]

    def killed_until_done(self, moments: Iterator[float]) -> int:
        """Runs that are killed at those moments, until there are no more or one ends; the kills."""
        kills = 0
        for moment in moments:
            ended = self.run(signals=[(moment, signal.SIGKILL)])
            kills += ended.killed
            if ended.code == 0:
                break
        return kills

    def problems(self, *, wanted: dict[str, bytes], also: Iterable[int] = ()) -> list[str]:
        """Everything that is not as it must be once a run has said that all is done."""
        videos = self.videos
        return [
            *oracle.bad_endings(self.runs, also=also),
            *([] if self.runs[-1].code == 0 else [f"not done: {self.runs[-1]}"]),
            *oracle.unpaid_or_twice(self.emulator, self.output, videos),
            *oracle.damage(self.folder, self.output, len(videos)),
            *([] if oracle.parts(self.output) == wanted else ["the parts have other bytes"]),
        ]


def environment(key: str = KEY) -> dict[str, str]:
    """Of a run: what the command needs, and the key."""
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", KEY_VARIABLE: key}


def set_scene(
    folder: Path,
    launcher: Launcher,
    emulator: Emulator,
    films: Iterable[Path] = (),
    *,
    urls: Sequence[str] = (),
    more: str = "",
    settle_s: float = SETTLE_S,
    seen_as: Path | None = None,
) -> Scene:
    """A folder with copies of the films and a manifest of them, and of the URLs."""
    (folder / "v").mkdir(parents=True)
    for film in films:
        shutil.copy(film, folder / "v")
    scene = Scene(folder=folder, launcher=launcher, emulator=emulator, seen_as=seen_as)
    entries = [f"- video_url: '{url}'" for url in urls]
    if scene.videos:
        entries.append("- glob: v/*.mp4")
    (scene.folder / "m.yaml").write_text(
        "version: 1\n"
        f"engine: {{kind: twelvelabs, base_url: '{emulator.base_url}', api_key_env: {KEY_VARIABLE}}}\n"
        f"model_name: {MODEL}\n"
        "defaults: {video_embedding_scope: [clip, video]}\n"
        "output: {path: out, publish_every_s: 1}\n"
        "polling: {first_wait_s: 0.1, longest_wait_s: 0.5}\n"
        f"reconcile: {{settle_s: {settle_s}}}\n"
        f"{more}"
        "videos:\n" + "\n".join(entries) + "\n",
        encoding="utf-8",
    )
    return scene


def reference(films: list[Path], launcher: Launcher, folder: Path) -> dict[str, bytes]:
    """The parts of a run to which nothing happens; their rows are right to the bit."""
    with emulated(folder / "service") as emulator:
        scene = set_scene(folder / "scene", launcher, emulator, films)
        scene.run()
        parts = oracle.parts(scene.output)
        assert scene.problems(wanted=parts) == []
    assert oracle.wrong_rows(scene.output, {f"v/{film.name}": film for film in films}) == []
    return parts


def moments(drawn: random.Random, *, longest_s: float, count: int) -> Iterator[float]:
    """When to kill: half of them anywhere in a run, half while it begins and looks back."""
    for number in range(count):
        yield drawn.uniform(0, longest_s if number % 2 else longest_s / 8)
