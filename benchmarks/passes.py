"""One pass over many short films, by the official SDK or by `batchembed run`, against the emulator."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.measured import Measured, measured
from benchmarks.vectors import CLIP_LENGTH_S, OPTIONS

_CLIPS = 11
ROWS = _CLIPS * len(OPTIONS)
_LIMIT_S = 1_800
OUTPUT = "output.txt"
_COMMAND = (str(Path(sysconfig.get_path("scripts")) / "batchembed"),)
PROFILED = (sys.executable, "-m", "benchmarks.profiled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One pass over the videos: what it took, and what the emulator saw of it."""

    videos: int
    process: Measured
    told: dict[str, Any]

    @property
    def cpu_ms(self) -> float:
        """A video."""
        return 1_000 * self.process.cpu_s / self.videos

    @property
    def emulator_cpu_ms(self) -> float:
        """A video."""
        return 1_000 * float(self.told["cpu_s"]) / self.videos

    @property
    def looks(self) -> float:
        """Status and list requests a task."""
        requests = self.told["requests"]
        return float(requests.get("status", 0) + requests.get("list", 0)) / self.videos

    def lag_s(self, percentile: int) -> float:
        """From ready to retrieved."""
        lags = sorted(self.told["lags_s"])
        return float(lags[min(len(lags) - 1, len(lags) * percentile // 100)])


@contextlib.contextmanager
def emulator(*, processing_s: float, hold: int = 0) -> Iterator[str]:
    """The base URL of an emulator in a process of its own."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.emulator", "--clips", str(_CLIPS)),
            *("--processing-s", str(processing_s), "--hold", str(hold)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101  it was asked for
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


def told_by(base_url: str) -> dict[str, Any]:
    """What the emulator saw."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(base_url).netloc)) as connection:
        connection.request("GET", "/told")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    return answer


def with_the_sdk(films: Path, folder: Path, *, processing_s: float) -> Seen:
    """The loop with the official SDK."""
    with emulator(processing_s=processing_s) as base_url:
        command = (sys.executable, "-m", "benchmarks.sdk_loop", base_url, films)
        (folder / "rows").mkdir()
        process = measured(
            (*command, folder / "rows" / "all.parquet"),
            env=_environment(),
            output=folder / OUTPUT,
            limit_s=_LIMIT_S,
        )
        told = told_by(base_url)
    return _checked(films, process, told, folder=folder)


def with_batchembed(
    films: Path,
    folder: Path,
    *,
    processing_s: float,
    hold: int = 0,
    command: Sequence[str] = _COMMAND,
    settings: Sequence[str] = (),
) -> Seen:
    """`batchembed run`, by the installed command."""
    with emulator(processing_s=processing_s, hold=hold) as base_url:
        manifest = folder / "fleet.yaml"
        manifest.write_text(
            "version: 1\n"
            f"engine: {{kind: twelvelabs, base_url: {base_url}}}\n"
            f"defaults: {{video_clip_length: {CLIP_LENGTH_S}}}\n"
            f"videos: [{{glob: {films}/*.mp4}}]\n"
            "output: {path: rows}\n"
        )
        process = measured(
            (*command, "run", manifest, *(f"--set={setting}" for setting in settings)),
            env=_environment(),
            output=folder / OUTPUT,
            limit_s=_LIMIT_S,
        )
        told = told_by(base_url)
    return _checked(films, process, told, folder=folder)


def _environment() -> dict[str, str]:
    """With a key, and without the variable that the SDK obeys more than its arguments.

    Nor the one that would have each pass compile batchembed anew: where it is installed, it is
    compiled.
    """
    left_out = {"TWELVELABS_BASE_URL", "PYTHONDONTWRITEBYTECODE"}
    kept = {key: value for key, value in os.environ.items() if key not in left_out}
    return {**kept, "TWELVELABS_API_KEY": "any"}


def _checked(films: Path, process: Measured, told: dict[str, Any], *, folder: Path) -> Seen:
    """What was seen, where everything was done, and nothing twice.

    Raises:
        RuntimeError: otherwise.
    """
    videos = len(list(films.iterdir()))
    rows = _python("benchmarks.rows", folder / "rows")
    done = (process.exit_code, rows, told["tasks"], told["names"], len(told["lags_s"]))
    if done != (0, f"{videos * ROWS} {videos}", videos, videos, videos):
        said = (folder / OUTPUT).read_text()[-2_000:]
        raise RuntimeError(
            f"{said}\nexit {done[0]}, rows and videos {done[1]}, {done[2]} tasks of {done[3]} names, "
            f"{done[4]} of them retrieved, of {videos} videos of {ROWS} rows"
        )
    return Seen(videos=videos, process=process, told=told)


def _python(module: str, *arguments: str | Path) -> str:
    """What a module says, run in a process of its own: this one has to stay small."""
    command = (sys.executable, "-m", module, *map(str, arguments))
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def make_films(folder: Path, count: int) -> Path:
    """A folder of so many films, which gives so many clips each."""
    films = folder / "films"
    _python("benchmarks.films", films, str(count), str(_CLIPS * CLIP_LENGTH_S))
    return films
