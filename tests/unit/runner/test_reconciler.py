"""What a run does about creates that got no answer, over listings that a test scripts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from batchembed.core.keys import upload_name
from batchembed.core.model import JobKey, TaskId
from batchembed.core.problems import Reason
from batchembed.core.quota import Charge
from batchembed.core.reconcile import MOST_ABSENCES, Listed, Listing
from batchembed.core.states import Entry, Intent, State
from batchembed.errors import NotSentError, RateLimitError
from batchembed.runner.book import Book
from batchembed.runner.reconcile import Reconciler
from batchembed.runner.tasks_listed import NoListingError
from tests.support.fakes import FakeClock, MemoryCalls

DATASET = "d" * 32
KEY = JobKey("a" * 64)
OTHER = JobKey("b" * 64)
INTENT = Intent(model_name="local-v1", video_clip_length=6.0, video_embedding_scope=("clip",))


def listed(key: JobKey = KEY, task_id: str = "t1", name: str | None = "") -> Listed:
    marker = upload_name(DATASET, key, 1, ".mp4") if name == "" else name
    return Listed(
        task_id=TaskId(task_id),
        status="processing",
        model_name="local-v1",
        created_at=None,
        input_filename=marker,
        url_digest=None,
        video_clip_length=6.0,
        video_embedding_scope=("clip",),
    )


@dataclass(kw_only=True)
class Scene:
    """A ledger with jobs in doubt, a clock, and a service whose listing is a function of time."""

    shows: Callable[[float], tuple[Listed, ...]] = lambda _: ()
    settle_s: float = 10.0
    on_unknown: str = "wait"
    complete: bool = True
    counted: bool = True
    error: Exception | None = None
    fails: Callable[[int], bool] = lambda _: True  #: with the error; by the number of the listing
    calls: MemoryCalls = field(default_factory=MemoryCalls)
    world: FakeClock = field(default_factory=FakeClock)
    listings: list[float] = field(default_factory=list)
    held: int = 0
    released: int = 0
    absent: list[JobKey] = field(default_factory=list)
    found: list[Entry] = field(default_factory=list)
    charged: list[tuple[JobKey, Charge]] = field(default_factory=list)
    twins: set[JobKey] = field(default_factory=set)
    ahead_s: float | None = None  #: the service's clock, of ours; None: it does not tell the time

    def __post_init__(self) -> None:
        self.began = self.world.now

    def presume(self, key: JobKey = KEY) -> Entry:
        """Of a job, a ledger that was lost may have known a create."""
        self.calls.ledger.add(key, now=self.began)
        presumed = Entry(
            job_key=key,
            state=State.UNKNOWN,
            attempt=1,
            intent=replace(INTENT, start_ms=0, end_ms=9_000),
            unknown_since=self.world.now,
        )
        self.calls.ledger.move(presumed, old=State.PLANNED)
        return presumed

    def doubt(self, key: JobKey = KEY, *, state: State = State.UNKNOWN) -> Entry:
        ledger = self.calls.ledger
        ledger.add(key, now=self.began)
        meant = Entry(
            job_key=key,
            state=State.SUBMITTING,
            attempt=1,
            intent=INTENT,
            intended_at=self.world.now,
            updated_at=self.world.now,
        )
        ledger.move(meant, old=State.PLANNED)
        ledger.charge(key, 1, Charge(at=self.world.now, video_sec=10.0))
        if state is State.UNKNOWN:
            unknown = replace(meant, state=state, unknown_since=self.world.now)
            ledger.move(unknown, old=State.SUBMITTING)
        return ledger.entries()[key]

    async def read(self) -> Listing:
        self.listings.append(self.world.now - self.began)
        await asyncio.sleep(0)
        if self.error is not None and self.fails(len(self.listings)):
            raise self.error
        shown = self.shows(self.world.now - self.began)
        return Listing(tasks=shown, complete=self.complete, counted=self.counted)

    @contextlib.contextmanager
    def holding(self) -> Iterator[Callable[[], None]]:
        self.held += 1

        def release() -> None:
            self.released += 1

        yield release

    def reconciler(self) -> Reconciler:
        ledger = self.calls.ledger
        self.book = Book(self.calls, ledger.entries(), ledger.task_ids(), clock=self.world.clock)
        return Reconciler(
            read=self.read,
            book=self.book,
            dataset_id=DATASET,
            settle_s=self.settle_s,
            on_unknown=self.on_unknown,
            longest_wait_s=600.0,
            clock=self.world.clock,
            server_now=lambda: None if self.ahead_s is None else self.world.now + self.ahead_s,
            monotonic=self.world.monotonic,
            wait=self.world.sleep,
            holding=self.holding,
            absent=self.absent.append,
            found=self.found.append,
            charged=lambda key, charge: self.charged.append((key, charge)),
            has_twin=lambda entry: entry.job_key in self.twins,
        )

    def settle(self, *entries: Entry) -> list[Reason | None]:
        reconciler = self.reconciler()

        async def all_of_them() -> list[Reason | None]:
            found: list[Awaitable[Reason | None]] = [reconciler.settle(each) for each in entries]
            return list(await asyncio.gather(*found))

        return asyncio.run(all_of_them())

    def state(self, key: JobKey = KEY) -> State:
        return self.calls.ledger.entries()[key].state


def test_a_task_that_is_listed_is_adopted_at_once() -> None:
    scene = Scene(shows=lambda _: (listed(),))

    assert scene.settle(scene.doubt()) == [None]

    entry = scene.calls.ledger.entries()[KEY]
    assert (entry.state, entry.task_id, entry.adopted) == (State.PROCESSING, "t1", True)
    assert entry.unknown_since is None
    assert len(scene.listings) == 1
    assert len(scene.calls.ledger.charges()) == 1


def test_a_task_that_is_listed_late_is_waited_for() -> None:
    scene = Scene(shows=lambda now: (listed(),) if now >= 9.0 else ())

    assert scene.settle(scene.doubt()) == [None]
    assert scene.state() is State.PROCESSING


def test_a_task_is_absent_after_two_listings_past_the_settle_time() -> None:
    scene = Scene()

    assert scene.settle(scene.doubt()) == [None]

    assert scene.state() is State.PLANNED
    assert len([at for at in scene.listings if at >= 10.0]) == 2
    assert scene.calls.ledger.charges() == ()
    assert scene.absent == [KEY]


def test_the_settle_time_counts_from_when_the_doubt_was_noticed() -> None:
    scene = Scene()
    entry = scene.doubt(state=State.SUBMITTING)
    scene.world.pass_(1_000.0)  # the crash was long ago; nobody looked until now
    before = scene.world.now - scene.began

    scene.settle(entry)

    assert scene.state() is State.PLANNED
    assert scene.listings[-2] >= before + 10.0


@pytest.mark.parametrize("tells", [True, False])
def test_a_clock_that_is_set_on_between_two_runs_ages_no_doubt(tells: bool) -> None:
    day = 86_400.0
    scene = Scene(shows=lambda now: (listed(),) if now >= day + 9.0 else (), ahead_s=-day)
    entry = scene.doubt()
    assert entry.intent is not None
    then = scene.began if tells else None  # by the service's clock
    entry = replace(entry, intent=replace(entry.intent, server_at=then))
    scene.world.now += day

    assert scene.settle(entry) == [None]

    # Where the service did not tell the time before the create, ours is all there is.
    assert scene.state() is (State.PROCESSING if tells else State.PLANNED)


def test_a_doubt_of_an_earlier_run_need_not_wait_again() -> None:
    scene = Scene()
    entry = scene.doubt()
    scene.world.pass_(60.0)

    scene.settle(entry)

    assert scene.state() is State.PLANNED
    assert len(scene.listings) == 2


def test_a_doubt_older_than_what_the_service_lists_is_left_to_a_person() -> None:
    scene = Scene()
    entry = scene.doubt()
    scene.world.pass_(8 * 86_400.0)

    (unknown,) = scene.settle(entry)

    assert unknown is not None
    assert "--forget" in (unknown.hint or "")
    assert scene.state() is State.UNKNOWN


def test_a_clock_that_was_set_back_makes_no_doubt_old() -> None:
    scene = Scene()
    entry = scene.doubt()
    scene.world.now -= 86_400.0

    scene.settle(entry)

    assert scene.state() is State.PLANNED
    assert scene.world.elapsed >= 10.0


def test_an_incomplete_listing_proves_nothing() -> None:
    scene = Scene(complete=False, shows=lambda now: (listed(),) if now >= 25.0 else ())

    assert scene.settle(scene.doubt()) == [None]
    assert scene.state() is State.PROCESSING


def test_a_listing_that_stays_incomplete_is_not_waited_for_without_end() -> None:
    scene = Scene(complete=False)

    (unknown,) = scene.settle(scene.doubt())

    assert unknown is not None
    assert "fewer tasks" in unknown.message
    assert scene.state() is State.UNKNOWN


def test_a_listing_that_does_not_say_how_many_there_are_proves_no_absence() -> None:
    scene = Scene(complete=False, counted=False)

    (unknown,) = scene.settle(scene.doubt())

    assert unknown is not None
    assert "does not say how many" in unknown.message
    assert scene.state() is State.UNKNOWN


def test_a_listing_without_a_task_that_the_ledger_knows_proves_no_absence() -> None:
    """It is of another project, or an index that is being built anew."""
    scene = Scene()
    known = scene.doubt(OTHER)
    made = replace(known, state=State.PROCESSING, task_id=TaskId("t2"), submitted_at=scene.began)
    scene.calls.ledger.move(made, old=State.UNKNOWN)
    scene.world.pass_(60.0)

    (unknown,) = scene.settle(scene.doubt())

    assert unknown is not None
    assert "lacks task t2" in unknown.message
    assert scene.state() is State.UNKNOWN

    scene.shows = lambda _: (listed(),)
    scene.settle(scene.calls.ledger.entries()[KEY])
    assert scene.state() is State.PROCESSING


def test_a_create_that_never_makes_a_task_is_sent_again_a_few_times_only() -> None:
    scene = Scene()
    entry = scene.doubt()
    for _ in range(MOST_ABSENCES):
        assert scene.settle(entry) == [None]
        planned = scene.calls.ledger.entries()[KEY]
        meant = replace(planned, state=State.SUBMITTING)
        scene.calls.ledger.move(meant, old=State.PLANNED)
        entry = meant

    (unknown,) = scene.settle(entry)

    assert unknown is not None
    assert "--forget" in (unknown.hint or "")
    assert scene.state() is State.UNKNOWN


def test_without_a_listing_no_other_create_is_held() -> None:
    scene = Scene(error=NoListingError("404"), on_unknown="resubmit")

    scene.settle(scene.doubt())

    assert scene.released == 1


def test_a_nameless_task_may_be_it_so_nothing_is_sent_again() -> None:
    scene = Scene(shows=lambda _: (listed(name=None),))

    (unknown,) = scene.settle(scene.doubt())

    assert unknown is not None
    assert "t1" in unknown.message
    assert scene.state() is State.UNKNOWN


def test_a_nameless_task_that_says_its_name_later_is_adopted() -> None:
    scene = Scene(shows=lambda now: (listed(name=None if now < 20.0 else ""),))

    assert scene.settle(scene.doubt()) == [None]
    assert scene.state() is State.PROCESSING


@pytest.mark.parametrize("ahead_s", [-86_400.0, 0.0, 86_400.0])
def test_a_nameless_task_that_was_there_long_before_does_not_hold_a_doubt(ahead_s: float) -> None:
    scene = Scene(ahead_s=ahead_s)
    foreign = replace(listed(name=None), created_at=scene.world.now - 3 * 86_400.0)
    scene.shows = lambda _: (foreign,)

    assert scene.settle(scene.doubt()) == [None]
    assert scene.state() is State.PLANNED


@pytest.mark.parametrize("set_s", [-86_400.0, 86_400.0])
def test_a_clock_that_is_set_makes_no_nameless_task_of_now_an_old_one(set_s: float) -> None:
    """Ours was set at once after the create, and the service's is right."""
    scene = Scene(ahead_s=0.0)
    entry = scene.doubt()
    scene.world.now += set_s
    scene.ahead_s = -set_s
    made = replace(listed(name=None), created_at=scene.began)
    scene.shows = lambda _: (made,)

    (unknown,) = scene.settle(entry)

    assert unknown is not None
    assert scene.state() is State.UNKNOWN


def test_one_listing_serves_many_doubts() -> None:
    keys = [JobKey(f"{number:064x}") for number in range(50)]
    scene = Scene(
        shows=lambda _: tuple(listed(key, f"t{number}") for number, key in enumerate(keys))
    )

    assert scene.settle(*(scene.doubt(key) for key in keys)) == [None] * 50

    assert len(scene.listings) <= 2
    tasks = {entry.task_id for entry in scene.calls.ledger.entries().values()}
    assert len(tasks) == 50


def test_creates_are_held_until_a_listing_has_come() -> None:
    scene = Scene(error=NotSentError("away"))
    entry = scene.doubt()

    with pytest.raises(NotSentError):
        scene.settle(entry)

    assert (scene.held, scene.released) == (1, 0)
    assert scene.state() is State.UNKNOWN

    scene.error = None
    scene.settle(scene.calls.ledger.entries()[KEY])
    assert scene.released >= 1


def test_a_listing_that_is_limited_leaves_the_doubt() -> None:
    scene = Scene(error=RateLimitError(status_code=429))

    (unknown,) = scene.settle(scene.doubt())

    assert unknown is not None
    assert scene.state() is State.UNKNOWN


@pytest.mark.parametrize(
    ("on_unknown", "state"),
    [("wait", State.UNKNOWN), ("resubmit", State.PLANNED), ("fail", State.FAILED)],
)
def test_without_a_listing_the_manifest_decides(on_unknown: str, state: State) -> None:
    scene = Scene(error=NoListingError("404"), on_unknown=on_unknown)

    (unknown,) = scene.settle(scene.doubt())

    assert scene.state() is state
    assert (unknown is None) == (on_unknown != "wait")
    assert on_unknown != "resubmit" or scene.world.elapsed >= 10.0


@pytest.mark.parametrize("on_unknown", ["resubmit", "fail"])
def test_a_service_that_once_says_that_it_has_no_listing_is_asked_again(on_unknown: str) -> None:
    scene = Scene(
        error=NoListingError("404"),
        fails=lambda number: number <= 2,
        on_unknown=on_unknown,
        shows=lambda _: (listed(),),
    )

    assert scene.settle(scene.doubt()) == [None]

    assert scene.state() is State.PROCESSING
    assert scene.listings == [0.0, 2.0, 4.0]


def test_many_doubts_share_what_a_service_says_of_its_listing() -> None:
    scene = Scene(error=NoListingError("404"), on_unknown="fail")

    scene.settle(scene.doubt(), scene.doubt(OTHER))

    assert {scene.state(), scene.state(OTHER)} == {State.FAILED}
    assert scene.listings == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("on_unknown", ["resubmit", "fail"])
def test_a_service_that_has_listed_in_this_run_has_a_listing(on_unknown: str) -> None:
    scene = Scene(
        error=NoListingError("404"), fails=lambda number: number > 1, on_unknown=on_unknown
    )

    (unknown,) = scene.settle(scene.doubt())

    assert unknown is not None
    assert "can't be listed now" in unknown.message
    assert scene.state() is State.UNKNOWN
    assert len(scene.listings) == 4


def test_a_wait_beyond_the_longest_is_left_to_another_run() -> None:
    scene = Scene(settle_s=5_000.0)

    (unknown,) = scene.settle(scene.doubt())

    assert unknown is not None
    assert scene.state() is State.UNKNOWN
    assert len(scene.listings) == 1


def test_the_moment_of_a_doubt_is_written_once() -> None:
    scene = Scene(settle_s=5_000.0)
    entry = scene.doubt()
    noticed = entry.unknown_since
    scene.settle(entry)
    scene.world.pass_(100.0)

    scene.settle(scene.calls.ledger.entries()[KEY])

    assert scene.calls.ledger.entries()[KEY].unknown_since == noticed


def test_a_task_that_was_made_twice_is_told() -> None:
    scene = Scene(shows=lambda _: (listed(), listed(task_id="t2")))

    scene.settle(scene.doubt())

    (warning,) = scene.calls.ledger.entries()[KEY].warnings
    assert warning.code == "created_twice"
    assert "t2" in warning.message


def test_two_doubts_never_take_one_task() -> None:
    scene = Scene(shows=lambda _: (listed(KEY, "t1"), listed(OTHER, "t2")))

    scene.settle(scene.doubt(), scene.doubt(OTHER))

    assert scene.calls.ledger.entries()[KEY].task_id == "t1"
    assert scene.calls.ledger.entries()[OTHER].task_id == "t2"


def test_listings_that_have_settled_one_doubt_settle_another_of_the_same_age() -> None:
    scene = Scene()
    first, second = scene.presume(), scene.presume(OTHER)
    reconciler = scene.reconciler()

    async def one_after_the_other() -> None:
        assert await reconciler.settle(first) is None
        read = len(scene.listings)
        assert await reconciler.settle(second) is None
        assert len(scene.listings) == read

    asyncio.run(one_after_the_other())
    assert {scene.state(), scene.state(OTHER)} == {State.PLANNED}


def test_listings_from_before_a_doubt_prove_nothing_of_it() -> None:
    scene = Scene()
    first = scene.presume()
    reconciler = scene.reconciler()

    async def one_after_the_other() -> None:
        await reconciler.settle(first)
        read = len(scene.listings)
        second = scene.doubt(OTHER)
        reconciler.book._entries[OTHER] = second
        assert await reconciler.settle(second) is None
        assert len(scene.listings) >= read + 2
        assert scene.listings[-2] >= 20.0

    asyncio.run(one_after_the_other())


def test_what_a_lost_ledger_knew_of_is_charged_when_it_is_found() -> None:
    scene = Scene(shows=lambda _: (listed(),))

    scene.settle(scene.presume())

    charge = Charge(at=scene.world.now, video_sec=9.0)
    assert scene.calls.ledger.charges() == (charge,)
    assert scene.charged == [(KEY, charge)]


def test_the_next_attempt_has_a_number_that_no_listed_task_has() -> None:
    later = listed(name=upload_name(DATASET, KEY, 3, ".mp4"))
    scene = Scene(shows=lambda _: (later,))

    scene.settle(scene.presume())

    assert scene.calls.ledger.entries()[KEY].attempt == 3


def test_a_task_that_may_be_a_twins_is_left_to_a_person() -> None:
    scene = Scene(shows=lambda _: (listed(),), twins={KEY})

    (unknown,) = scene.settle(scene.presume())

    assert unknown is not None
    assert unknown.message == ("another ledger may have known of its create: it may be task t1")
    assert "--adopt" in (unknown.hint or "")
    assert scene.state() is State.UNKNOWN
