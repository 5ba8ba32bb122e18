"""`batchembed` under a profiler that counts CPU time, in every thread.

    python -m benchmarks.profiled run MANIFEST

After the command's own output and a form feed: what each package took by itself, with the built-in
functions that it calls; then the functions that took most, by themselves and with what they call.
The profiler makes small functions look dearer than they are.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

_SHOWN = 45
#: Up to the name of a package in a path; what is left out is the same everywhere.
_ROOT = re.compile(r"/\S*/(?=(?:site-packages|python3\.\d+|batchembed)/)")
_PACKAGE = re.compile(r"site-packages/(\w+)|python3\.\d+/(\w+)|(batchembed/\w+)|(importlib)")

Function: TypeAlias = tuple[str, int, str]


def by_package(stats: Mapping[Function, tuple[int, int, float, float, Any]]) -> dict[str, float]:
    """Seconds in each package; a built-in function's are those of whoever calls it."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for (file, _, name), (_, _, own_s, _, callers) in stats.items():
        if file == "~" and callers:
            for (calling, _, _), (_, _, share_s, _) in callers.items():
                seconds[_package(calling, name)] += share_s
        else:
            seconds[_package(file, name)] += own_s
    return seconds


def _package(file: str, name: str) -> str:
    found = _PACKAGE.search(_ROOT.sub("", file))
    return next(filter(None, found.groups()), name) if found else name


def main(argv: Sequence[str]) -> int:
    """Run the command; its exit code."""
    profiles: list[cProfile.Profile] = []

    def begin(*_: object) -> None:
        profile = cProfile.Profile(time.thread_time)
        profiles.append(profile)
        profile.enable()

    threading.setprofile(begin)  # each thread begins a profile of its own
    begin()
    from batchembed.cli.main import main as batchembed  # noqa: PLC0415  importing it is profiled too

    code = batchembed(argv)
    profiles[0].disable()
    threading.setprofile(None)
    text = io.StringIO()
    figures = pstats.Stats(profiles[0], stream=text)
    for other in profiles[1:]:
        figures.add(other)
    stats: dict[Function, tuple[int, int, float, float, Any]] = figures.stats  # type: ignore[attr-defined]
    print("\f")
    packages = sorted(by_package(stats).items(), key=lambda each: -each[1])
    for package, seconds in packages[: _SHOWN // 2]:
        print(f"{seconds:8.3f} s  {package}")
    for order in ("tottime", "cumtime"):
        figures.sort_stats(order).print_stats(_SHOWN)
    print(_ROOT.sub("", text.getvalue()))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
