"""The state folder is lost at any moment, and nothing that was paid for is paid for again."""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from batchembed.core.outcome import Outcome
from batchembed.core.run_report import RunReport
from batchembed.core.states import State
from batchembed.errors import ExitCode
from batchembed.runner.presume import Presumer
from batchembed.store.sqlite_ledger import SqliteLedger
from tests.stateful.bench import Bench, FileVideo, UrlVideo
from tests.stateful.service import DAY_S, Fate, ModelTask
from tests.stateful.world import MemoryStorage

#: A run that was killed has closed no file, as the end of its process would have.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
FILMS = (b"one", b"two", b"three")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(folder=tmp_path, tasks=3)
    for slot, content in enumerate(FILMS):
        made.put(slot, FileVideo(content=content))
    return made


def run(bench: Bench, *, retry: str | None = None) -> RunReport:
    report = bench.run(retry=retry)
    assert report is not None
    return report


def made(bench: Bench) -> Counter[str]:
    """How many tasks there are of each content."""
    return Counter(task.content for task in bench.service.tasks)


def committed(report: RunReport) -> bool:
    return {video.outcome for video in report.videos} == {Outcome.COMMITTED}


def test_what_is_committed_is_taken_from_the_record_and_no_record_is_made(bench: Bench) -> None:
    run(bench)
    record = bench.dataset.record
    bench.lose_state()

    report = run(bench)

    assert (report.exit_code, report.submitted, report.adopted) == (ExitCode.OK, 0, 0)
    assert bench.dataset.record == record
    assert [len(bench.service.tasks), bench.service.creates] == [3, 3]


@pytest.mark.parametrize("moment", range(4, 84, 4))
@pytest.mark.parametrize("lost", [False, True], ids=["answered", "lost"])
def test_killed_at_any_moment_and_without_its_state_a_run_pays_for_nothing_twice(
    bench: Bench, moment: int, lost: bool
) -> None:
    bench.service.fates.extend(
        Fate(answer="lost after" if lost else "ok", lasts_s=lasts) for lasts in (0.5, 3.0, 30.0)
    )
    bench.run(events={moment: "kill"})
    bench.lose_state()

    assert committed(run(bench))
    assert set(made(bench).values()) == {1}
    assert bench.service.doubled == []
    # What was found is charged for, as what is submitted is.
    assert len(bench.rows("SELECT 1 FROM charges")) == 3


def test_a_client_that_forgets_to_look_pays_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    bench.run(once=(lambda: len(bench.service.tasks) == 3, "kill"))
    bench.lose_state()
    monkeypatch.setattr(Presumer, "is_owed", lambda *_: False)

    assert committed(run(bench))
    assert set(made(bench).values()) == {2}


def test_a_task_that_is_listed_late_is_waited_for(bench: Bench) -> None:
    bench.service.fates.extend(Fate(lag_s=7.0) for _ in FILMS)
    bench.run(once=(lambda: len(bench.service.tasks) == 3, "kill"))
    bench.lose_state()

    assert committed(run(bench))
    assert set(made(bench).values()) == {1}


def test_what_failed_is_not_sent_again_and_a_retry_takes_a_number_of_its_own(
    bench: Bench,
) -> None:
    bench.service.fates.extend([Fate(end="failed"), Fate(), Fate()])
    assert run(bench).exit_code is ExitCode.INCOMPLETE
    bench.lose_state()

    assert run(bench).submitted == 0
    report = run(bench, retry="failed")

    assert committed(report)
    first, again = (task for task in bench.service.tasks if made(bench)[task.content] == 2)
    assert first.key != again.key


def test_a_failure_that_no_record_knows_is_found_in_the_listing(bench: Bench) -> None:
    bench.service.fates.extend(Fate(end="failed", lasts_s=0.5) for _ in FILMS)
    bench.run(once=(lambda: any(_is_failed(bench, task) for task in bench.service.tasks), "kill"))
    assert bench.dataset.record is None
    bench.lose_state()

    report = run(bench)

    assert {video.outcome for video in report.videos} == {Outcome.FAILED}
    assert set(made(bench).values()) == {1}


def _is_failed(bench: Bench, task: ModelTask) -> bool:
    return task.status(bench.world.monotonic()) == "failed"


def test_a_retry_that_was_under_way_is_found(bench: Bench) -> None:
    bench.service.fates.extend([Fate(end="failed"), Fate(), Fate()])
    run(bench)
    bench.run(retry="failed", once=(lambda: len(bench.service.tasks) == 4, "kill"))
    bench.lose_state()

    assert committed(run(bench, retry="failed"))
    assert sorted(made(bench).values()) == [1, 1, 2]
    assert max(entry.attempt for entry in bench.entries().values()) == 2


def test_an_old_copy_of_the_ledger_lacks_what_the_record_has(bench: Bench) -> None:
    old = bench.folder / "old.sqlite"
    shutil.copy(bench.home.ledger, old)
    with closing(SqliteLedger(old)) as ledger:
        ledger.add(bench.key(0), now=1.0)  # it knew of one that was not sent yet
    run(bench)
    bench.world.passed_s += 8 * DAY_S  # the service has none of these any more
    bench.put(3, FileVideo(content=b"four"))
    bench.run(once=(lambda: len(bench.service.tasks) == 4, "kill"))
    bench.lose_state(copy=old)

    assert committed(run(bench))
    assert set(made(bench).values()) == {1}


def test_the_one_task_of_a_url_is_adopted(tmp_path: Path) -> None:
    bench = Bench(folder=tmp_path)
    bench.put(0, UrlVideo(number=1, end=20.0, signature=1))
    bench.run(once=(lambda: bench.service.tasks, "kill"))
    bench.lose_state()

    assert committed(run(bench))
    assert len(bench.service.tasks) == 1


def test_tasks_of_one_url_that_may_be_either_videos_are_left_to_a_person(tmp_path: Path) -> None:
    """One has a task: which one, a listing does not say, and a wrong guess would pay twice."""
    bench = Bench(folder=tmp_path)
    bench.put(0, UrlVideo(number=1, end=20.0, signature=1))
    bench.run(once=(lambda: bench.service.tasks, "kill"))
    bench.lose_state()
    bench.put(1, UrlVideo(number=1, end=10.0, signature=1))

    report = run(bench)

    assert report.exit_code is ExitCode.AGAIN
    assert {entry.state for entry in bench.entries().values()} == {State.UNKNOWN}
    assert all("--adopt" in (video.reasons[0].hint or "") for video in report.videos)
    assert len(bench.service.tasks) == 1


def test_a_week_later_nothing_is_looked_for_any_more(bench: Bench) -> None:
    run(bench)
    bench.lose_state()
    run(bench)
    bench.world.passed_s += 8 * DAY_S
    bench.put(3, FileVideo(content=b"four"))
    began = bench.world.monotonic()

    assert run(bench).submitted == 1
    assert bench.world.monotonic() - began < 10.0


def listings(report: RunReport) -> int:
    return dict(report.requests).get("list", 0)


def test_a_first_run_looks_for_nothing_and_one_that_had_no_ledger_yet_reads_three_listings(
    tmp_path: Path,
) -> None:
    # One page tells the service's clock before the first create.
    for name, is_new, most in (("new", True, 1), ("cut", False, 3)):
        bench = Bench(folder=tmp_path / name)
        bench.put(0, FileVideo(content=b"one"))
        bench.dataset.is_new = is_new

        report = run(bench)

        assert (report.submitted, committed(report)) == (1, True)
        assert listings(report) <= most, name
        assert (listings(report) >= 2) is not is_new


def test_side_files_that_are_not_the_records_tell_nothing_and_nothing_is_paid_for(
    bench: Bench,
) -> None:
    bench.service.fates.extend([Fate(end="failed"), Fate(), Fate()])
    run(bench)
    assert bench.dataset.record is not None
    bench.dataset.storage = BrokenStorage(dataset=bench.dataset)
    bench.lose_state()

    report = run(bench)

    assert report.submitted == 0
    assert report.counts[Outcome.FAILED] == 1
    assert {entry.task_id for entry in bench.entries().values() if entry.staged} == {None}


class BrokenStorage(MemoryStorage):
    """Its files have other bytes than the record says."""

    def confirm_held(self) -> None:
        """Nobody else is here."""

    def read(self, key: str) -> bytes:
        return b"{}\n"
