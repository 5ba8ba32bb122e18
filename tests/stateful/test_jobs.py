"""No sequence of events, crashes and edits of the manifest loses a job, doubles one, or pays twice.

The real ledger, book, carrier, submitter, reconciler, collector and loop run against a service in
memory that keeps its own log. A run can be killed at every request, answer, move and publish.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from batchembed.core.model import JobKey
from batchembed.core.outcome import Outcome, VideoOutcome
from batchembed.core.run_report import RunReport
from batchembed.core.states import IN_DOUBT
from batchembed.dataset.sources import RowsMissingError
from tests.stateful.bench import SETTLE_S, Bench, Event, FileVideo, UrlVideo
from tests.stateful.checks import problems
from tests.stateful.service import KEPT_S, Fate

#: A run that was killed has closed no file, as the end of its process would have.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
#: A long form: BATCHEMBED_STATEFUL_EXAMPLES=2000.
EXAMPLES = int(os.environ.get("BATCHEMBED_STATEFUL_EXAMPLES", "40"))

SLOTS = st.integers(0, 3)
#: Two of the slots may have the same bytes, or URLs that differ in window or signature alone.
FILMS = st.builds(FileVideo, content=st.sampled_from([b"one", b"two", b"three"]))
URLS = st.builds(
    UrlVideo,
    number=st.integers(1, 2),
    end=st.sampled_from([10.0, 20.0]),
    signature=st.integers(1, 2),
)
#: Whatever the service does, what it made is listed in less than the settle time.
TAKES_S = st.sampled_from([0.1, 2.0])
LAG_S = st.sampled_from([0.0, 1.0, 4.0, SETTLE_S - 2.5])
FATES = st.builds(
    Fate,
    answer=st.sampled_from(
        ["ok", "ok", "ok", "lost before", "lost after", "refused", "limited", "blocked", "away"]
    ),
    takes_s=TAKES_S,
    lag_s=LAG_S,
    hidden_s=st.sampled_from([0.0, 0.0, 3.0, 40.0]),
    lasts_s=st.sampled_from([0.5, 3.0, 30.0, 500.0]),
    end=st.sampled_from(["ready", "ready", "ready", "failed"]),
)
ENDS = st.sampled_from(["kill", "kill", "cancel", "stop"])
JUMPS = st.sampled_from(["hour on", "hour back", "day on", "day back"])
EVENTS = st.builds(
    lambda jumps, ends: {**jumps, **ends},
    st.dictionaries(st.integers(1, 80), JUMPS, max_size=1),
    st.dictionaries(st.integers(1, 80), ENDS, max_size=1),
)


def _is_unknowable(bench: Bench, video: VideoOutcome) -> bool:
    """Whether nobody can know what became of a create.

    A task says nothing of itself yet, or only a clock that may be wrong told two apart, or it was
    sent longer ago than the service lists tasks.
    """
    entry = video.entry
    intent = None if entry is None else entry.intent
    # Another video's create may be in doubt instead, of the same URL.
    in_doubt = [each for each in bench.entries().values() if each.state in IN_DOUBT]
    is_old = any(bench.world.clock() - (each.intended_at or 0.0) > KEPT_S for each in in_doubt)
    unheard = intent is not None and intent.url_digest is not None and intent.server_at is None
    return (
        is_old
        or unheard
        or any(task.named_s > bench.world.monotonic() for task in bench.service.tasks)
    )


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class Jobs(RuleBasedStateMachine):
    """Edits, runs that are ended anywhere, and a service with faults."""

    believes_idempotent = False
    idempotent = False

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.known: set[JobKey] = set()
        self.lost_rows: set[JobKey] = set()

    @initialize(
        on_lost=st.sampled_from(["fail", "resubmit"]),
        tasks=st.integers(1, 3),
        videos=st.dictionaries(SLOTS, FILMS | URLS, min_size=1, max_size=3),
    )
    def begin(self, on_lost: str, tasks: int, videos: dict[int, FileVideo | UrlVideo]) -> None:
        self.bench = Bench(
            folder=Path(self._folder.name),
            believes_idempotent=self.believes_idempotent,
            idempotent=self.idempotent,
            on_lost=on_lost,
            tasks=tasks,
        )
        for slot, video in videos.items():
            self.put(slot, video)

    def teardown(self) -> None:
        self._folder.cleanup()

    # -- edits of the manifest

    @rule(slot=SLOTS, video=FILMS | URLS)
    def put(self, slot: int, video: FileVideo | UrlVideo) -> None:
        if self.idempotent and isinstance(video, UrlVideo):  # the embedded engine takes none
            video = FileVideo(content=video.url.encode())
        self.bench.put(slot, video)

    @rule(slot=SLOTS)
    def remove(self, slot: int) -> None:
        self.bench.videos.pop(slot, None)

    # -- the service

    @rule(fates=st.lists(FATES, min_size=1, max_size=3))
    def will(self, fates: list[Fate]) -> None:
        self.bench.service.fates.extend(fates)

    @rule(number=st.integers(0, 5))
    def is_lost(self, number: int) -> None:
        tasks = self.bench.service.tasks
        if tasks:
            tasks[number % len(tasks)].gone_s = self.bench.world.monotonic()

    @rule(faults=st.integers(1, 6))
    def is_in_trouble(self, faults: int) -> None:
        self.bench.service.faults = faults

    @rule(url=URLS, hidden_s=st.sampled_from([0.0, 1e9]), of_a_url=st.booleans())
    def has_others(self, url: UrlVideo, hidden_s: float, of_a_url: bool) -> None:
        """A task that another customer of the same account made."""
        self.bench.service.make(
            Fate(hidden_s=hidden_s, takes_s=0.0),
            key="",
            content="another",
            name=None if of_a_url else "holiday.mp4",
            url="https://elsewhere.example/b.mp4" if of_a_url else None,
            window=(None, None),
        )

    # -- the world

    @rule(seconds=st.sampled_from([1.0, SETTLE_S, 3_600.0, KEPT_S]))
    def pass_time(self, seconds: float) -> None:
        self.bench.world.passed_s += seconds

    @rule(number=st.integers(0, 3))
    def damage_a_staged_file(self, number: int) -> None:
        staged = sorted(self.bench.home.staging.glob("*.arrow"))
        if staged:
            path = staged[number % len(staged)]
            path.write_bytes(path.read_bytes()[:-9])

    @precondition(lambda self: self.bench.dataset.vectors)
    @rule(slot=SLOTS)
    def lose_rows(self, slot: int) -> None:
        """The part with a video's rows is gone."""
        if slot in self.bench.videos:
            self.bench.dataset.lose(self._key(slot))
            self.lost_rows.add(self._key(slot))

    # -- runs

    @rule(
        fates=st.lists(FATES, max_size=3),
        events=EVENTS,
        retry=st.sampled_from([None, None, "failed"]),
    )
    def run(self, fates: list[Fate], events: dict[int, Event], retry: str | None) -> None:
        self.bench.service.fates.extend(fates)
        self._run(events, retry)

    @rule(fate=FATES, events=EVENTS)
    def run_again(self, fate: Fate, events: dict[int, Event]) -> None:
        """As `run`: half of all that happens."""
        self.bench.service.fates.append(fate)
        self._run(events, None)

    @rule()
    def come_to_an_end(self) -> None:
        """With a service that is well, each video ends, or is held for what nobody can know."""
        bench = self.bench
        bench.service.fates.clear()
        bench.service.faults = 0
        report = None
        for _ in range(3):
            bench.world.passed_s += 12_000.0
            report = self._run({}, None)
        if report is None:
            # What the service has forgotten, too, is embedded again only where somebody says so.
            report = self._run({}, "failed")
        if report is None:
            named = {self._key(slot) for slot in bench.videos}
            assert self.lost_rows - named, "rows can be fetched again"
            return
        for video in report.videos:
            if video.outcome is Outcome.PENDING:
                assert [reason.code for reason in video.reasons] == ["submission_unknown"]
                assert _is_unknowable(bench, video)
            elif video.outcome is Outcome.FAILED:
                assert video.entry is not None
                assert video.entry.reason is not None
            else:
                assert video.outcome is Outcome.COMMITTED

    def _run(self, events: dict[int, Event], retry: str | None) -> RunReport | None:
        bench = self.bench
        for slot in bench.videos:
            bench.vectors[self._key(slot)] = bench.expected(slot)
        set_s, paid = bench.world.set_s, len(bench.service.tasks)
        report, missing = None, set[JobKey]()
        try:
            report = bench.run(events=events, retry=retry)
        except RowsMissingError as error:
            missing = set(error.job_keys)
        assert missing <= self.lost_rows
        entries = bench.entries()
        if bench.world.set_s > set_s and any(e.state in IN_DOUBT for e in entries.values()):
            # Between two runs nothing but this clock tells how old a doubt is.
            bench.world.passed_s += bench.world.set_s - set_s
        if report is not None and report.exit_code == 0:
            assert {video.outcome for video in report.videos} <= {Outcome.COMMITTED}
        assert len(bench.service.tasks) - paid <= 2 * len(entries)
        return report

    def _key(self, slot: int) -> JobKey:
        return self.bench.key(slot)

    @invariant()
    def all_is_well(self) -> None:
        bench = self.bench
        found = list(problems(bench, self.known))
        assert not found, found
        self.known = set(bench.entries())


class JobsOfTheEmbeddedEngine(Jobs):
    """The same, where a repeated create of one attempt is the same task."""

    believes_idempotent = True
    idempotent = True


class JobsSentAgainBlindly(Jobs):
    """A create that got no answer is simply sent again, although the service makes another task."""

    believes_idempotent = True

    @invariant()
    def all_is_well(self) -> None:
        assert not self.bench.service.doubled, self.bench.service.doubled


TestJobs = Jobs.TestCase
TestJobs.settings = _settings(EXAMPLES)
TestJobsOfTheEmbeddedEngine = JobsOfTheEmbeddedEngine.TestCase
TestJobsOfTheEmbeddedEngine.settings = _settings(EXAMPLES // 2)


def test_these_rules_find_a_runner_that_does_not_look_first() -> None:
    once = settings(_settings(200), phases=[Phase.generate], derandomize=True, database=None)

    with pytest.raises(AssertionError, match="is made again"):
        run_state_machine_as_test(JobsSentAgainBlindly, settings=once)


def test_a_clock_that_was_set_on_does_not_make_a_task_of_now_an_old_one() -> None:
    """Nothing told the service's time before the create: by ours its task is a day too old."""
    machine = Jobs()
    lost = Fate(answer="lost after", takes_s=0.1, lasts_s=0.5)
    try:
        machine.begin(
            on_lost="fail", tasks=1, videos={0: UrlVideo(number=2, end=10.0, signature=1)}
        )
        machine.run([Fate(answer="blocked")], {}, None)
        machine.run([lost], {7: "day on"}, None)
        machine.is_in_trouble(2)
        machine.put(1, FileVideo(content=b"one"))
        machine.run([], {}, None)
        machine.come_to_an_end()
        machine.all_is_well()
    finally:
        machine.teardown()
