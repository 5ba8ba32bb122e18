"""What a run learns of how long tasks take, and what it had better not learn."""

from __future__ import annotations

from pathlib import Path

from batchembed.core.outcome import Outcome
from tests.stateful.bench import Bench, FileVideo
from tests.stateful.service import DAY_S, Fate


def test_a_task_that_ended_while_nobody_looked_delays_no_look_at_the_next(tmp_path: Path) -> None:
    bench = Bench(folder=tmp_path)
    bench.put(0, FileVideo(content=b"one"))
    bench.service.fates.extend([Fate(lasts_s=20.0), Fate(lasts_s=5.0)])
    bench.run(once=(lambda: bench.world.monotonic() > 10.0, "stop"))
    bench.world.passed_s += DAY_S / 2
    bench.put(1, FileVideo(content=b"two"))
    began_s = bench.world.monotonic()

    report = bench.run()

    assert report is not None
    assert [video.outcome for video in report.videos] == [Outcome.COMMITTED] * 2
    assert bench.world.monotonic() - began_s < 20
