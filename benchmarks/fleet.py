"""What a run of many short videos costs, beside what a user would write with the official SDK.

    python -m benchmarks.fleet [--rounds 3] [--videos 200] [--processing-s 3]
    python -m benchmarks.fleet --in-flight 1000 [10000]
    python -m benchmarks.fleet --profile [--in-flight 1000]

Side by side: `benchmarks.sdk_loop` and `batchembed run` embed the same films against the emulator,
in turn, each in a process of its own. With `--in-flight`, a run has so many tasks in flight at once:
the emulator begins none before all are created. With `--profile`, where the CPU of one run goes.
`--set KEY=VALUE` is added to `batchembed run`. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.passes import (
    OUTPUT,
    PROFILED,
    ROWS,
    Seen,
    make_films,
    with_batchembed,
    with_the_sdk,
)

#: Of the figures side by side: what each is called, and what is to be reached.
_CPU_RATIO, _WALL_RATIO = 1 / 4, 1 / 3
_MOST_REQUESTS, _LONGEST_LAG_S, _MOST_BYTES = 1.0, 1.0, 200e6
#: Of many in flight.
_MOST_BYTES_IN_FLIGHT, _MOST_GROWTH, _MOST_SOCKETS = 500e6, 1.2, 20


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def side_by_side(asked: argparse.Namespace, films: Path, folder: Path) -> bool:
    """Print the table; whether a target is missed."""
    theirs: list[Seen] = []
    ours: list[Seen] = []
    for number in range(asked.rounds):
        room = _made(folder / f"sdk-{number}")
        theirs.append(with_the_sdk(films, room, processing_s=asked.processing_s))
        room = _made(folder / f"batchembed-{number}")
        ours.append(
            with_batchembed(films, room, processing_s=asked.processing_s, settings=asked.settings)
        )
    print(
        f"{asked.videos} videos, {asked.processing_s:g} s of processing, {ROWS} vectors each; "
        f"medians of {asked.rounds} rounds"
    )
    print(f"{'':<34}{'SDK loop':>10}{'batchembed':>12}{'ratio':>8}   aim")
    missed = False
    for what, figure, aim, relative in (
        ("CPU, ms a video", lambda seen: seen.cpu_ms, _CPU_RATIO, True),
        ("wall, s", lambda seen: seen.process.wall_s, _WALL_RATIO, True),
        ("status and list requests a task", lambda seen: seen.looks, _MOST_REQUESTS, False),
        ("ready to retrieved, s: median", lambda seen: seen.lag_s(50), _LONGEST_LAG_S, False),
        ("  95 of 100 within", lambda seen: seen.lag_s(95), None, False),
        ("  longest", lambda seen: seen.lag_s(100), None, False),
        ("peak memory, MB", lambda seen: seen.process.peak_bytes / 1e6, _MOST_BYTES / 1e6, False),
        ("sockets at most", lambda seen: seen.told["sockets"], None, False),
        ("the emulator's CPU, ms a video", lambda seen: seen.emulator_cpu_ms, None, False),
    ):
        beside, own = (statistics.median(map(figure, each)) for each in (theirs, ours))
        ratio = own / beside
        late = aim is not None and (ratio if relative else own) > aim
        missed |= late
        shown = "" if aim is None else f"{'ratio ' if relative else ''}<= {aim:.3g}"
        print(
            f"{what:<34}{beside:>10.2f}{own:>12.2f}{ratio:>8.2f}   {shown}"
            f"{' missed' if late else ''}"
        )
    return missed


def many_in_flight(asked: argparse.Namespace, folder: Path) -> bool:
    """Print what each number in flight took; whether a target is missed."""
    missed = False
    before: Seen | None = None
    for number in asked.in_flight:
        room = _made(folder / f"in-flight-{number}")
        seen = with_batchembed(
            make_films(room, number),
            room,
            processing_s=asked.processing_s,
            hold=number,
            settings=(*_wide(number), *asked.settings),
        )
        print(
            f"{seen.told['in_flight']} in flight at once: {seen.process.wall_s:.0f} s, "
            f"{seen.cpu_ms:.1f} ms of CPU a video, peak {seen.process.peak_bytes / 1e6:.0f} MB, "
            f"{seen.told['sockets']} sockets at most, {seen.looks:.2f} status and list requests "
            f"a task ({seen.told['requests']}), ready to retrieved {seen.lag_s(50):.1f} s in the "
            f"median and {seen.lag_s(100):.1f} s at most; the emulator's CPU "
            f"{seen.emulator_cpu_ms:.1f} ms a video",
            flush=True,
        )
        missed |= seen.told["in_flight"] != number
        missed |= seen.process.peak_bytes > _MOST_BYTES_IN_FLIGHT
        missed |= seen.told["sockets"] > _MOST_SOCKETS
        if before is not None:
            growth = seen.cpu_ms / before.cpu_ms
            print(f"CPU a video from {before.videos} to {seen.videos}: {growth:.2f} times")
            missed |= growth > _MOST_GROWTH
        before = seen
    return missed


def _wide(tasks: int) -> tuple[str, ...]:
    return (f"concurrency.tasks={tasks}",)


def profile(asked: argparse.Namespace, folder: Path) -> None:
    """Print where the CPU of one run goes."""
    number = asked.in_flight[0] if asked.in_flight else asked.videos
    seen = with_batchembed(
        make_films(folder, number),
        folder,
        processing_s=asked.processing_s,
        hold=number if asked.in_flight else 0,
        command=PROFILED,
        settings=(*(_wide(number) if asked.in_flight else ()), *asked.settings),
    )
    print((folder / OUTPUT).read_text().partition("\f")[2])
    print(f"{seen.cpu_ms:.1f} ms of CPU a video under the profiler; {seen.told['requests']}")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--processing-s", type=float, default=3)
    parser.add_argument("--in-flight", type=int, nargs="+")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.profile:
            profile(asked, folder)
            return 0
        if asked.in_flight:
            return int(many_in_flight(asked, folder))
        return int(side_by_side(asked, make_films(folder, asked.videos), folder))


if __name__ == "__main__":
    sys.exit(main())
