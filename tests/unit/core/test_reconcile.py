"""Which listed task came of a create whose answer was lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchembed.core.keys import upload_name, url_content
from batchembed.core.known_urls import KnownUrls, normal_url
from batchembed.core.model import JobKey, TaskId
from batchembed.core.reconcile import (
    Ambiguous,
    Found,
    Listed,
    Listing,
    Unseen,
    agree_in_listings,
    gap_s,
    judge,
)
from batchembed.core.states import Entry, Intent, Staged, State

DATASET = "d" * 32
KEY = JobKey("a" * 64)
AT = 1_000_000.0
OF_A_FILE = Intent(
    model_name="local-v1",
    video_clip_length=6.0,
    video_embedding_scope=("clip",),
    start_ms=0,
    server_at=AT,
)
OF_A_URL = replace(OF_A_FILE, url_digest="u" * 64)


def in_doubt(intent: Intent = OF_A_FILE, *, attempt: int = 1) -> Entry:
    return Entry(job_key=KEY, state=State.UNKNOWN, attempt=attempt, intent=intent, intended_at=AT)


def task(number: int = 1, **parts: object) -> Listed:
    told = Listed(
        task_id=TaskId(f"t{number}"),
        status="processing",
        model_name="local-v1",
        created_at=AT + number,
        input_filename=None,
        url_digest=None,
        video_clip_length=6.0,
        video_embedding_scope=("clip",),
    )
    return replace(told, **parts)  # type: ignore[arg-type]


def upload(number: int = 1, *, attempt: int = 1, suffix: str = ".mp4", **parts: object) -> Listed:
    name = upload_name(DATASET, KEY, attempt, suffix)
    return task(number, **{"input_filename": name, **parts})


def verdict(
    *tasks: Listed,
    entry: Entry | None = None,
    claimed: set[str] | None = None,
    earliest: float | None = None,
) -> object:
    listing = Listing(tasks=tasks, complete=True)
    taken = frozenset(TaskId(each) for each in claimed or ())
    return judge(entry or in_doubt(), listing, dataset_id=DATASET, claimed=taken, earliest=earliest)


@pytest.mark.parametrize("suffix", ["", ".mp4", ".mkv"])
def test_an_upload_is_found_by_its_name(suffix: str) -> None:
    ours = upload(2, suffix=suffix)

    assert verdict(task(1, input_filename="bridge.mp4"), ours) == Found(task=ours, attempt=1)


def test_an_upload_is_found_whatever_the_clocks_say() -> None:
    ours = upload(created_at=AT - 90_000)

    assert verdict(ours) == Found(task=ours, attempt=1)


@pytest.mark.parametrize(
    "other",
    [
        upload(input_filename=upload_name("e" * 32, KEY, 1, ".mp4")),
        upload(input_filename=upload_name(DATASET, JobKey("b" * 64), 1, ".mp4")),
        upload(input_filename="x" + upload_name(DATASET, KEY, 1, ".mp4")),
        task(url_digest="u" * 64),
    ],
)
def test_anothers_task_is_not_taken(other: Listed) -> None:
    assert verdict(other) == Unseen()


def test_a_task_that_an_entry_has_is_not_taken() -> None:
    assert verdict(upload(1), claimed={"t1"}) == Unseen()


def test_of_several_of_one_upload_the_oldest_that_did_not_fail_is_taken() -> None:
    failed, first, second = upload(1, status="failed"), upload(2), upload(3)

    assert verdict(second, first, failed) == Found(
        task=first, attempt=1, others=(TaskId("t3"), TaskId("t1"))
    )


def test_a_later_attempt_is_taken_and_an_earlier_one_is_not() -> None:
    earlier, own, later = (upload(n, attempt=n) for n in (1, 2, 3))
    entry = in_doubt(attempt=2)

    assert verdict(earlier, entry=entry) == Unseen()
    assert verdict(earlier, own, entry=entry) == Found(task=own, attempt=2)
    assert verdict(own, later, entry=entry) == Found(task=later, attempt=3)


def test_of_several_attempts_the_last_that_did_not_fail_is_taken_and_no_number_is_used_again() -> (
    None
):
    good, failed = upload(1, attempt=1), upload(2, attempt=2, status="failed")

    assert verdict(failed, good) == Found(task=good, attempt=2)


def test_a_presumed_create_may_be_of_any_time() -> None:
    entry = replace(in_doubt(replace(OF_A_URL, server_at=None)), intended_at=None)
    long_ago = a_url(created_at=AT - 6 * 86_400)

    assert verdict(long_ago, entry=entry) == Found(task=long_ago, attempt=1)
    assert verdict(long_ago, a_url(2), entry=entry) == Ambiguous(tasks=(TaskId("t1"), TaskId("t2")))


def test_a_task_that_says_nothing_of_itself_may_be_it() -> None:
    hidden = (TaskId("t1"), TaskId("t2"))

    assert verdict(task(1), task(2, model_name="an alias")) == Unseen(hidden=hidden)


def test_an_empty_name_is_no_name() -> None:
    assert verdict(task(1, input_filename="")) == Unseen(hidden=(TaskId("t1"),))


def test_a_task_of_the_same_url_may_be_it_by_whatever_name_its_model_goes() -> None:
    found = verdict(a_url(model_name="an alias"), entry=in_doubt(OF_A_URL))

    assert found == Unseen(hidden=(TaskId("t1"),))


def test_a_nameless_task_from_long_before_is_not_it() -> None:
    assert verdict(task(created_at=AT - 3_600)) == Unseen()


def test_a_nameless_task_may_be_it_where_only_our_clock_says_that_it_is_older() -> None:
    entry = in_doubt(replace(OF_A_FILE, server_at=None))

    assert verdict(task(created_at=AT - 86_400), entry=entry) == Unseen(hidden=(TaskId("t1"),))


@pytest.mark.parametrize(("age_s", "hidden"), [(600, ("t1",)), (601, ())])
def test_a_nameless_task_from_clearly_before_a_create_is_not_it(
    age_s: int, hidden: tuple[str, ...]
) -> None:
    entry = in_doubt(replace(OF_A_FILE, server_at=None))
    found = verdict(task(created_at=AT - age_s), entry=entry, earliest=AT)

    assert found == Unseen(hidden=tuple(map(TaskId, hidden)))


def test_where_the_services_clock_was_not_known_ours_says_it_less_exactly() -> None:
    entry = in_doubt(replace(OF_A_URL, server_at=None))

    assert verdict(a_url(created_at=AT - 300), entry=entry) == Found(
        task=a_url(created_at=AT - 300), attempt=1
    )


def test_where_only_our_clock_says_that_a_task_is_older_a_person_is_asked() -> None:
    """It may have been set on: a task of now would be an old one by it."""
    entry = in_doubt(replace(OF_A_URL, server_at=None))
    older = a_url(created_at=AT - 86_400)

    assert verdict(older, entry=entry) == Ambiguous(tasks=(older.task_id,))
    assert verdict(older, a_url(2), entry=entry) == Found(task=a_url(2), attempt=1)


@pytest.mark.parametrize(("age_s", "hidden"), [(60, ("t1",)), (600, ("t1",)), (601, ())])
def test_a_task_from_shortly_before_is_not_taken_and_proves_nothing(
    age_s: int, hidden: tuple[str, ...]
) -> None:
    """A Date of the service need not be of the clock that dates its tasks."""
    found = verdict(a_url(created_at=AT - age_s), entry=in_doubt(OF_A_URL))

    assert found == Unseen(hidden=tuple(map(TaskId, hidden)))


def a_url(number: int = 1, **parts: object) -> Listed:
    return task(number, **{"url_digest": "u" * 64, **parts})


def test_the_one_task_of_a_url_is_taken() -> None:
    assert verdict(a_url(), task(2, url_digest="v" * 64), entry=in_doubt(OF_A_URL)) == Found(
        task=a_url(), attempt=1
    )


@pytest.mark.parametrize(
    "other",
    [
        a_url(video_clip_length=5.0),
        a_url(video_embedding_scope=("clip", "video")),
        a_url(created_at=AT - 3_600),
        a_url(url_digest="v" * 64),
    ],
)
def test_a_task_of_a_url_that_was_asked_otherwise_is_not_taken(other: Listed) -> None:
    assert verdict(other, entry=in_doubt(OF_A_URL)) == Unseen()


def test_between_two_tasks_of_a_url_nobody_can_say() -> None:
    found = verdict(a_url(1), a_url(2), entry=in_doubt(OF_A_URL))

    assert found == Ambiguous(tasks=(TaskId("t1"), TaskId("t2")))


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("https://e.com/é (1).mp4", "https://e.com/%C3%A9%20%281%29.mp4"),
        ("https://e.com/%c3%a9%28~.mp4", "https://e.com/%C3%A9(%7E.mp4"),
        ("https://E.com:443/a.mp4", "https://e.com/a.mp4"),
        ("HTTP://me:secret@e.com:80/a.mp4#t", "http://e.com/a.mp4"),
        ("http://e.com:8080?n=1", "http://e.com:8080/?n=1"),
        ("http://[::1]:80/a?X-Amz-Signature=1&n=a b", "http://[::1]/a?n=a%20b"),
    ],
)
def test_a_url_is_known_in_any_spelling(asked: str, shown: str) -> None:
    known = KnownUrls(urls=[asked, "https://e.com/b.mp4"])

    assert normal_url(asked) == normal_url(shown)
    assert known.digests(shown) == (url_content(asked).digest, frozenset())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://e.com/a%2Fb.mp4", "https://e.com/a/b.mp4"),
        ("https://e.com/A.mp4", "https://e.com/a.mp4"),
        ("https://e.com/a.mp4", "http://e.com/a.mp4"),
        ("https://e.com:444/a.mp4", "https://e.com/a.mp4"),
        ("https://e.com/a.mp4?n=1", "https://e.com/a.mp4?n=2"),
    ],
)
def test_urls_of_different_videos_are_not_taken_for_each_other(one: str, other: str) -> None:
    assert KnownUrls(urls=[one]).digests(other) == (url_content(other).digest, frozenset())


def test_a_url_without_its_query_may_be_any_that_has_one() -> None:
    asked = ["https://e.com/v?n=1", "https://e.com/v?n=2", "https://e.com/w?n=3"]
    shown = "https://e.com/v"
    digest, like = KnownUrls(urls=asked).digests(shown)

    assert (digest, like) == (
        url_content(shown).digest,
        frozenset(url_content(each).digest for each in asked[:2]),
    )
    entry = in_doubt(replace(OF_A_FILE, url_digest=url_content(asked[0]).digest))
    found = task(url_digest=digest, like_digests=like)
    assert verdict(found, entry=entry) == Unseen(hidden=(TaskId("t1"),))
    assert verdict(replace(found, video_clip_length=5.0), entry=entry) == Unseen()


def test_a_task_that_may_be_of_another_url_as_well_is_not_taken() -> None:
    found = a_url(like_digests=frozenset({"v" * 64}))

    assert verdict(found, entry=in_doubt(OF_A_URL)) == Ambiguous(tasks=(TaskId("t1"),))


def test_of_two_spellings_that_are_both_asked_either_may_be_meant() -> None:
    one, other = "https://e.com/a(1).mp4", "https://e.com/a%281%29.mp4"
    known = KnownUrls(urls=[one, other])

    assert known.digests(other) == (
        url_content(other).digest,
        frozenset({url_content(one).digest}),
    )


def in_flight(age_s: float, **parts: object) -> Entry:
    made = replace(
        in_doubt(), state=State.PROCESSING, task_id=TaskId("t9"), submitted_at=AT - age_s
    )
    return replace(made, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("age_s", [300.0, 3_600.0, 86_400.0])
def test_a_listing_without_a_task_that_was_made_not_long_ago_has_a_flaw(age_s: float) -> None:
    staged = Staged(file="f", rows=(), sha256="0" * 64)
    recalled = in_flight(age_s, state=State.STAGED, staged=staged, task_id=None)
    entries = [recalled, in_flight(age_s)]
    old = task(1, created_at=AT - 90_000.0)
    without = Listing(tasks=(old,), complete=True)
    whole = Listing(tasks=(old, task(9)), complete=True)

    assert "t9" in (without.lacking(entries, now=AT, settle_s=300.0).flaw or "")
    assert whole.lacking(entries, now=AT, settle_s=300.0).flaw is None


@pytest.mark.parametrize(("age_s", "is_asked_for"), [(3_600.0, True), (3_601.0, False)])
def test_of_a_service_that_lists_nothing_the_tasks_of_the_last_hour_are_asked_for(
    age_s: float, is_asked_for: bool
) -> None:
    nothing = Listing(tasks=(), complete=True)

    flaw = nothing.lacking([in_flight(age_s)], now=AT, settle_s=300.0).flaw

    assert (flaw is not None) is is_asked_for


@pytest.mark.parametrize(("age_s", "is_asked_for"), [(6_600.0, True), (6_601.0, False)])
def test_a_task_that_may_be_older_than_what_the_service_keeps_is_not_asked_for(
    age_s: float, is_asked_for: bool
) -> None:
    kept = Listing(tasks=(task(2, created_at=AT - 7_200.0), task(3)), complete=True)

    flaw = kept.lacking([in_flight(age_s)], now=AT, settle_s=300.0).flaw

    assert (flaw is not None) is is_asked_for


@pytest.mark.parametrize(
    "entry",
    [
        in_doubt(),
        in_flight(299.0),
        in_flight(86_401.0),
        in_flight(-60.0),
        in_flight(3_600.0, submitted_at=None),
        in_flight(3_600.0, state=State.LOST),
        in_flight(3_600.0, state=State.FAILED),
    ],
)
def test_a_task_that_may_not_be_listed_yet_or_any_more_is_not_asked_for(entry: Entry) -> None:
    listing = Listing(tasks=(), complete=True)

    assert listing.lacking([entry], now=AT, settle_s=300.0).flaw is None


def test_jobs_of_one_url_that_differ_in_their_window_alone_agree_in_listings() -> None:
    assert agree_in_listings(OF_A_URL, replace(OF_A_URL, start_ms=1_000, end_ms=9_000))
    assert not agree_in_listings(OF_A_URL, replace(OF_A_URL, video_clip_length=5.0))
    assert not agree_in_listings(OF_A_FILE, OF_A_FILE)


def test_listings_are_as_far_apart_as_the_settle_time_asks() -> None:
    assert gap_s(300.0) == 60.0
    assert 0.0 < gap_s(0.0) <= 1.0
