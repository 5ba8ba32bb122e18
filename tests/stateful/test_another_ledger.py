"""Several ledgers of one dataset take turns, or an old copy of one comes back: nothing is paid twice."""

from __future__ import annotations

import itertools
import re
import shutil
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from batchembed.core.outcome import Outcome
from batchembed.core.run_report import RunReport
from batchembed.dataset.payer import read_payer
from batchembed.dataset.storage import Storage
from batchembed.errors import StorageError
from batchembed.runner import recall
from batchembed.store.home import Home
from batchembed.store.ledger import Beginning
from batchembed.store.sqlite_ledger import SqliteLedger
from tests.stateful.bench import Bench, FileVideo
from tests.stateful.service import DAY_S
from tests.stateful.world import MemoryStorage

#: A run that was killed has closed no file, as the end of its process would have.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


class Ledgers:
    """State folders of one dataset, each on a machine of its own."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._homes = {"A": bench.home}
        self._contents = itertools.count()

    def use(self, name: str) -> None:
        if name not in self._homes:
            self._homes[name] = Home(self.bench.folder / f"state-{name}")
            self._homes[name].staging.mkdir(parents=True)
        self.bench.home = self._homes[name]

    def run(self, name: str) -> RunReport | None:
        """Run to the end, with this ledger."""
        self.use(name)
        return self.bench.run()

    def done(self, name: str) -> RunReport:
        """Run to the end, which is a good one."""
        report = self.run(name)
        assert report is not None
        assert {video.outcome for video in report.videos} == {Outcome.COMMITTED}
        return report

    def leave_in_flight(self, name: str, *, more: int) -> None:
        """Add so many videos, and kill the run once every video has a task."""
        self.add(more)
        self.use(name)
        self.bench.run(once=(lambda: len(self.paid()) == len(self.bench.videos), "kill"))
        assert len(self.paid()) == len(self.bench.videos)

    def add(self, more: int) -> None:
        for number in itertools.islice(self._contents, more):
            self.bench.put(number, FileVideo(content=b"film %d" % number))

    def beginning(self, name: str) -> Beginning:
        with closing(SqliteLedger(self._homes[name].ledger, read_only=True)) as ledger:
            found = ledger.beginning()
        assert found is not None
        return found

    def has_begun(self, name: str) -> bool:
        with closing(SqliteLedger(self._homes[name].ledger, read_only=True)) as ledger:
            return ledger.beginning() is not None

    def told(self) -> str | None:
        """Which run paid last, as the dataset says."""
        return read_payer(cast("Storage", self.bench.dataset.storage))

    def paid(self) -> Counter[str]:
        """How often each content was paid for."""
        return Counter(task.content for task in self.bench.service.tasks)

    def most_paid(self) -> int:
        return max(self.paid().values())


@pytest.fixture
def ledgers(tmp_path: Path) -> Ledgers:
    made = Ledgers(Bench(folder=tmp_path, tasks=4))
    made.add(2)
    return made


def listings(report: RunReport) -> int:
    return dict(report.requests).get("list", 0)


def both_have_begun(ledgers: Ledgers) -> None:
    """Two ledgers know the whole record, and neither has a doubt any more."""
    ledgers.done("A")
    ledgers.done("B")
    ledgers.bench.world.passed_s += 8 * DAY_S
    ledgers.done("A")


def test_what_another_ledger_has_in_flight_is_found(ledgers: Ledgers) -> None:
    both_have_begun(ledgers)
    ledgers.leave_in_flight("A", more=2)

    report = ledgers.done("B")

    assert (report.submitted, report.adopted) == (0, 2)
    assert ledgers.most_paid() == 1


def test_a_ledger_that_looks_for_no_payer_pays_twice(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    looks = recall.lacking
    monkeypatch.setattr(recall, "lacking", lambda *asked, hosted: looks(*asked, hosted=not hosted))
    both_have_begun(ledgers)
    ledgers.leave_in_flight("A", more=2)

    ledgers.done("B")

    assert ledgers.most_paid() == 2


def test_ledgers_that_take_turns_find_each_others_tasks(ledgers: Ledgers) -> None:
    both_have_begun(ledgers)
    for name in "BABCA":
        ledgers.leave_in_flight(name, more=1)
    for name in "CBA":
        ledgers.done(name)

    assert ledgers.most_paid() == 1


def test_a_copy_of_a_ledger_is_told_from_it(ledgers: Ledgers) -> None:
    """As where a machine is cloned."""
    ledgers.done("A")
    ledgers.use("B")
    shutil.copy(ledgers._homes["A"].ledger, ledgers._homes["B"].ledger)
    for name in "ABAB":
        ledgers.leave_in_flight(name, more=1)

    ledgers.done("A")

    assert ledgers.most_paid() == 1


@pytest.mark.parametrize("has_record", [False, True], ids=["no record yet", "a record"])
def test_a_backup_that_is_put_back_while_the_record_stood_still(
    ledgers: Ledgers, has_record: bool
) -> None:
    if has_record:
        ledgers.done("A")
    else:
        ledgers.leave_in_flight("A", more=0)
    backup = ledgers.bench.folder / "backup.sqlite"
    shutil.copy(ledgers.bench.home.ledger, backup)
    assert ledgers.beginning("A").doubted_since is None
    ledgers.leave_in_flight("A", more=2)
    ledgers.bench.lose_state(copy=backup)

    report = ledgers.done("A")

    assert (report.submitted, report.adopted) == (0, 2 if has_record else 4)
    assert ledgers.most_paid() == 1


def test_the_same_ledger_doubts_nothing_and_reads_no_listing_for_it(ledgers: Ledgers) -> None:
    first = ledgers.done("A")
    for _ in range(3):
        ledgers.add(1)
        report = ledgers.done("A")
        assert (report.submitted, report.warnings) == (1, ())
        assert listings(report) <= listings(first)
        assert ledgers.beginning("A").doubted_since is None


def test_a_file_that_is_damaged_is_anothers(ledgers: Ledgers) -> None:
    ledgers.done("A")
    for content in (b"", b"{", b"{}", b'{"run_id": 7}', b"\xff", b'{"run_id": "\xff"}'):
        ledgers.bench.dataset.storage.payer = content
        began = ledgers.bench.world.clock()
        ledgers.done("A")
        since = ledgers.beginning("A").doubted_since
        assert since is not None
        assert since >= began, content


@pytest.mark.parametrize("then", ["B", "AB", "BA", "CBA"])
@pytest.mark.parametrize("where", ["the dataset", "both"])
def test_killed_once_it_has_said_who_pays_a_run_leaves_every_doubt(
    ledgers: Ledgers, where: str, then: str
) -> None:
    """Whether its ledger knows of it or not, whoever comes next looks for what is in flight."""
    both_have_begun(ledgers)
    ledgers.leave_in_flight("A", more=2)
    ledgers.add(1)
    told, known = ledgers.told(), ledgers.beginning("B").payer

    def is_said() -> bool:
        if where == "both":
            return ledgers.told() == ledgers.beginning("B").payer != told
        return ledgers.told() != told

    ledgers.use("B")
    assert ledgers.bench.run(once=(is_said, "kill")) is None
    assert ledgers.told() != told
    assert (ledgers.beginning("B").payer in {told, known}) is (where == "the dataset")
    for name in then:
        ledgers.leave_in_flight(name, more=1)
    ledgers.done(then[0])

    assert ledgers.most_paid() == 1


def test_the_ledger_never_knows_of_a_payer_before_the_dataset_does(ledgers: Ledgers) -> None:
    """Else the others would not learn of what was paid for then."""
    run = f"run-{ledgers.bench.world.runs + 1}"

    def is_ahead() -> bool:
        return ledgers.beginning("A").payer == run != ledgers.told()

    report = ledgers.bench.run(once=(lambda: ledgers.has_begun("A") and is_ahead(), "kill"))
    assert report is not None
    assert ledgers.beginning("A").payer == ledgers.told() == run


def test_a_run_that_submits_nothing_changes_nothing(ledgers: Ledgers) -> None:
    ledgers.done("A")
    before = ledgers.told(), ledgers.beginning("A")
    ledgers.done("A")
    assert (ledgers.told(), ledgers.beginning("A")) == before

    # Neither does another's: the first has nothing to doubt after it.
    ledgers.done("B")
    ledgers.done("B")
    assert (ledgers.told(), ledgers.beginning("A")) == before
    assert ledgers.beginning("B").payer == ledgers.told()


class _Full(MemoryStorage):
    """Has no room."""

    def put(self, key: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")


class _TakenOver(MemoryStorage):
    """Another run may be the writer by now."""

    def confirm_held(self) -> None:
        raise StorageError("it was taken over")


@pytest.mark.parametrize("kind", [_Full, _TakenOver])
def test_where_it_cannot_be_said_who_pays_nothing_is_paid(
    ledgers: Ledgers, kind: type[MemoryStorage]
) -> None:
    ledgers.done("A")
    dataset, known = ledgers.bench.dataset, ledgers.beginning("A")
    ledgers.add(1)
    dataset.storage = kind(dataset=dataset, payer=dataset.storage.payer)

    report = ledgers.run("A")

    assert report is not None
    assert re.search("room|taken over", report.halted or "")
    assert (len(ledgers.bench.service.tasks), ledgers.beginning("A")) == (2, known)
    assert len(ledgers.bench.rows("SELECT 1 FROM charges")) == 2
    dataset.storage = MemoryStorage(dataset=dataset, payer=dataset.storage.payer)
    ledgers.done("A")
    # What was not written is no doubt; what may be another's is one.
    assert (ledgers.beginning("A").doubted_since is None) is (kind is _Full)


def test_a_dataset_that_was_made_just_now_and_used_by_another_before_the_lock_was_had(
    ledgers: Ledgers,
) -> None:
    """Who makes a dataset does not hold it yet."""
    ledgers.leave_in_flight("B", more=0)
    ledgers.bench.dataset.is_new = True

    report = ledgers.done("A")

    assert (report.submitted, report.adopted) == (0, 2)
    assert ledgers.most_paid() == 1
