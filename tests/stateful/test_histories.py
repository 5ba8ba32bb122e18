"""Whatever became of a dataset on its way, it ends in the bytes of a fresh build.

The real runner, ledger and dataset work through edits of manifests, of films, of the order of
videos, and through runs that are parked, drained, or killed at any request, move or operation on a
file. At any time the last record is whole. In the end the parts are those of one run in an empty
folder, each job was paid for once, and nothing is left over.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from batchembed.core import groups
from batchembed.core.model import JobKey
from batchembed.core.outcome import Outcome
from batchembed.core.run_report import RunReport
from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import RowSpec
from batchembed.dataset.staging import staged_name
from batchembed.dataset.verification.verify import verify
from batchembed.errors import DatasetError
from batchembed.runner.publication import Publication
from tests.stateful.drafts import FILMS, OPTIONS, VIDEO_IDS, Draft, Film, Row, Wanted, Work
from tests.stateful.histories import Builder, ids, rows_in
from tests.stateful.service import DAY_S, Fate
from tests.support.dataset import parts_on_disk

#: A run that was killed has closed no file, as the end of its process would have.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
#: A long form: BATCHEMBED_STATEFUL_EXAMPLES=2000.
EXAMPLES = int(os.environ.get("BATCHEMBED_STATEFUL_EXAMPLES", "12"))

SLOTS = st.integers(0, len(VIDEO_IDS) - 1)
WANTED = st.builds(
    Wanted,
    slot=SLOTS,
    end=st.sampled_from([None, None, 8.0]),
    options=st.sampled_from([None, None, ("visual-text",), ("audio",)]),
    place=st.sampled_from(["north", "south"]),
    score=st.sampled_from([None, 1, 1.0, 2.5]),
)
DRAFTS = st.builds(
    Draft,
    videos=st.lists(WANTED, min_size=3, max_size=6, unique_by=lambda wanted: wanted.slot).map(
        tuple
    ),
    publish_every_s=st.sampled_from([1.0, 30.0]),
)
LASTS_S = st.lists(st.sampled_from([0.5, 3.0, 9.0]), max_size=4)
#: Of a run: a request, an answer, a move or an operation on a file. Of a publish: the last alone.
MOMENTS = st.integers(1, 40) | st.integers(1, 160)
OPERATIONS = st.integers(1, 50)


class Histories(RuleBasedStateMachine):
    """Two manifests of one dataset, and what people and machines do to them."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.patched = pytest.MonkeyPatch()
        # A few rows are a group, so that each edit changes some and leaves others.
        self.patched.setattr(groups, "MIN_GROUP_ROWS", 8)
        self.patched.setattr(groups, "MAX_GROUP_ROWS", 24)
        self.builder = Builder(folder=Path(self._folder.name) / "built")
        self.drafts: list[Draft] = []
        self.works: dict[JobKey, Work] = {}  #: of each job that there ever was
        self.is_sound = False  #: nothing wrong was found yet
        self.is_seen = True  #: nothing was done since the record was looked at

    @initialize(
        first=DRAFTS, second=DRAFTS, films=st.lists(st.sampled_from(FILMS), min_size=9, max_size=9)
    )
    def begin(self, first: Draft, second: Draft, films: list[Film]) -> None:
        for slot in range(len(VIDEO_IDS)):
            self.builder.put(slot, films[slot])
        self.drafts = [first, second]
        self.is_sound = True

    def teardown(self) -> None:
        try:
            if self.is_sound:
                self.ends_as_a_fresh_build()
                self.draft = replace(self.draft, on_removed="drop")
                self.ends_as_a_fresh_build()
        finally:
            self.patched.undo()
            self._folder.cleanup()

    @property
    def draft(self) -> Draft:
        return self.drafts[0]

    @draft.setter
    def draft(self, draft: Draft) -> None:
        self.drafts[0] = draft

    # -- edits

    @rule(wanted=st.lists(WANTED, min_size=1, max_size=3), place=SLOTS)
    def write(self, wanted: list[Wanted], place: int) -> None:
        """Videos are added, or their windows, options or metadata change."""
        for each in wanted:
            self.draft = self.draft.with_video(each, place)

    @rule(slots=st.lists(SLOTS, min_size=1, max_size=3))
    def remove(self, slots: list[int]) -> None:
        for slot in slots:
            self.draft = self.draft.without(slot)

    @rule(order=st.permutations(range(len(VIDEO_IDS))))
    def reorder(self, order: list[int]) -> None:
        videos = sorted(self.draft.videos, key=lambda wanted: order[wanted.slot])
        self.draft = replace(self.draft, videos=tuple(videos))

    @rule(
        on_removed=st.sampled_from(["keep", "keep", "drop"]),
        partition_by=st.sampled_from(
            [("embedding_option",), ("place", "embedding_option"), ("embedding_scope",)]
        ),
    )
    def set_up(self, on_removed: str, partition_by: tuple[str, ...]) -> None:
        self.draft = replace(self.draft, on_removed=on_removed, partition_by=partition_by)

    @rule()
    def take_the_other_manifest(self) -> None:
        self.drafts.reverse()

    @rule(films=st.dictionaries(SLOTS, st.sampled_from(FILMS), min_size=1, max_size=3))
    def change_films(self, films: dict[int, Film]) -> None:
        """To other bytes, to those that they had before, or to those that another has."""
        for slot, film in films.items():
            self.builder.put(slot, film)

    @rule(slot=SLOTS)
    def take_a_film_away(self, slot: int) -> None:
        self.builder.take_away(slot)

    # -- runs

    @rule(lasts_s=LASTS_S)
    def run(self, lasts_s: list[float]) -> None:
        """To its end; which task is ready first is another matter each time."""
        self.will_last(lasts_s)
        report = self.run_once(self.builder.run)
        assert report is not None
        present = {each.video_id for each in self.draft.videos if self.builder.is_there(each.slot)}
        assert present == {
            each.video.video_id for each in report.videos if each.outcome is Outcome.COMMITTED
        }

    @rule(moment=MOMENTS, lasts_s=LASTS_S, wanted=WANTED)
    def run_and_be_killed(self, moment: int, lasts_s: list[float], wanted: Wanted) -> None:
        self.write([wanted], 0)
        self.will_last(lasts_s)
        self.run_once(lambda draft: self.builder.run(draft, events={moment: "kill"}))

    @rule(operation=OPERATIONS, lasts_s=LASTS_S, wanted=WANTED)
    def run_and_be_killed_in_a_publish(
        self, operation: int, lasts_s: list[float], wanted: Wanted
    ) -> None:
        self.write([wanted], 0)
        self.will_last(lasts_s)
        self.run_once(lambda draft: self.builder.run(draft, killed_at_file=operation))

    @rule(moment=MOMENTS, wanted=WANTED)
    def run_and_be_drained(self, moment: int, wanted: Wanted) -> None:
        self.write([wanted], 0)
        self.run_once(lambda draft: self.builder.run(draft, events={moment: "stop"}))

    @rule(creates=st.none() | st.integers(0, 2), wanted=st.lists(WANTED, max_size=3))
    def run_and_be_parked(self, creates: int | None, wanted: list[Wanted]) -> None:
        """By a limit, or by an account that takes one create a minute."""
        self.write(wanted, 0)
        patience_s = 0.1 if creates is None else None
        self.run_once(lambda draft: self.builder.run(draft, limit=creates, patience_s=patience_s))

    @rule()
    def lose_the_state(self) -> None:
        self.builder.lose_state()

    @rule(seconds=st.sampled_from([1.0, 60.0, 7_200.0]))
    def pass_time(self, seconds: float) -> None:
        self.builder.world.passed_s += seconds

    def will_last(self, lasts_s: list[float]) -> None:
        fates = self.builder.service.fates
        fates.clear()
        fates.extend(Fate(lasts_s=each) for each in lasts_s)

    def run_once(self, run: Callable[[Draft], RunReport | None]) -> RunReport | None:
        """A run after which nothing that was to stay is gone."""
        builder, draft = self.builder, self.draft
        works = [builder.work(wanted) for wanted in draft.videos]
        self.works.update((work.key, work) for work in works)
        self.is_sound, self.is_seen = False, False
        before = ids(builder.published())
        report = run(draft)
        gone = before - ids(builder.published())
        named = {each.video_id for each in draft.videos if builder.is_there(each.slot)}
        assert not gone & named
        assert draft.on_removed == "drop" or not gone
        self.is_sound = True
        return report

    # -- what must be so

    @invariant()
    def the_last_record_is_whole(self) -> None:
        builder = self.builder
        dataset = builder.dataset()
        record = None if dataset is None else dataset.last()
        if self.is_seen or dataset is None or record is None:
            return
        self.is_seen, self.is_sound = True, False
        on_disk = parts_on_disk(builder.output)
        for part in record.parts:
            assert hashlib.sha256(on_disk[part.path]).hexdigest() == part.sha256
        assert rows_in(builder.output) == sorted(self._rows(dataset.specs()))
        self.is_sound = True

    def _rows(self, specs: tuple[RowSpec, ...]) -> list[tuple[str, Row]]:
        """The rows of these videos, computed anew."""
        return [
            (spec.video_id, row)
            for spec in specs
            for row in self.works[spec.job_key].rows
            if row.option in (spec.options or OPTIONS)
        ]

    @rule()
    def ends_as_a_fresh_build(self) -> None:
        """Of the manifest as it is now, on the rows that are kept of videos that it does not name."""
        builder = self.builder
        builder.bring_back()
        builder.world.passed_s += 60.0
        self.run([])
        self.the_last_record_is_whole()
        self.is_sound = False
        named = {wanted.video_id for wanted in self.draft.videos}
        kept = tuple(each for each in builder.published() if each.video_id not in named)
        assert not kept or self.draft.on_removed == "keep"
        with tempfile.TemporaryDirectory() as name:
            fresh = Builder(folder=Path(name))
            for slot, film in builder.films.items():
                fresh.put(slot, film)
            if kept:
                fresh.keep(kept, self.works, self.draft)
            assert fresh.run(self.draft) is not None
            assert parts_on_disk(builder.output) == parts_on_disk(fresh.output)
            assert builder.published() == fresh.published()
        self._has_nothing_over()
        assert set(builder.paid().values()) <= {1}
        self.is_sound = True

    def _has_nothing_over(self) -> None:
        builder, dataset = self.builder, self.builder.dataset()
        assert dataset is not None
        record = dataset.last()
        assert record is not None
        assert set(parts_on_disk(builder.output)) == {part.path for part in record.parts}
        assert verify(Folder(builder.output), lambda _done, _of: None).verification.findings == ()
        shown: dict[JobKey, set[str]] = {}
        for spec in dataset.specs():
            shown.setdefault(spec.job_key, set()).update(spec.published)
        whole = {staged_name(key) for key, options in shown.items() if options == set(OPTIONS)}
        known = {staged_name(work.key) for work in self.works.values()}
        assert {path.name for path in builder.home.staging.iterdir()} <= known - whole


class HistoriesAppended(Histories):
    """A layout that has a past: what is new goes behind what is there, and nothing is moved."""

    def __init__(self) -> None:
        super().__init__()
        listed = Publication.listed

        def appended(publication: Publication) -> tuple[RowSpec, ...]:
            places = {video_id: place for place, video_id in enumerate(publication.before)}
            return tuple(
                sorted(
                    listed(publication),
                    key=lambda spec: places.get(spec.video_id, len(places)),
                )
            )

        self.patched.setattr(Publication, "listed", appended)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_these_rules_find_a_layout_that_has_a_past() -> None:
    quickly = settings(
        TestHistories.settings,
        max_examples=200,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
    )

    with pytest.raises(AssertionError, match="part-"):
        run_state_machine_as_test(HistoriesAppended, settings=quickly)


class WrittenInPlace(Folder):
    """A folder in which a file has its name before it is written."""

    def create(self, key: str, content: bytes) -> None:
        self.files.write(self.root / key, content)


def killed_at_every_operation(builder: Builder) -> None:
    """Killed before the first operation of a run on the dataset's files, then before the second."""
    draft = Draft(videos=(Wanted(slot=0), Wanted(slot=3)))
    for wanted in draft.videos:
        builder.put(wanted.slot, FILMS[0])
    for operation in itertools.count(1):
        if builder.run(draft, killed_at_file=operation) is not None:
            break
        builder.published()


def test_a_kill_before_any_operation_leaves_a_dataset_that_can_be_read(tmp_path: Path) -> None:
    builder = Builder(folder=tmp_path)
    killed_at_every_operation(builder)

    assert len(builder.published()) == 2


def test_such_kills_find_files_that_are_written_in_place(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is damaged"):
        killed_at_every_operation(Builder(folder=tmp_path, storage=WrittenInPlace))


# -- what they found


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Builder, Draft]:
    """One film under two ids, published of both with sound alone; then the state was lost.

    So its other rows are staged no more. Now one of the two wants all of them.
    """
    builder = Builder(folder=tmp_path)
    heard = [Wanted(slot=slot, options=("audio",)) for slot in (0, 1)]
    for each in heard:
        builder.put(each.slot, FILMS[0])
    assert builder.run(Draft(videos=tuple(heard))) is not None
    builder.lose_state()
    return builder, Draft(videos=(heard[0], replace(heard[1], options=None)))


def test_rows_that_the_second_of_two_videos_wants_are_fetched_again(
    twins: tuple[Builder, Draft],
) -> None:
    builder, draft = twins
    report = builder.run(draft)

    assert report is not None
    assert [video.outcome for video in report.videos] == 2 * [Outcome.COMMITTED]
    assert {row.option for video_id, row in rows_in(builder.output) if video_id == "v511"} == {
        *OPTIONS
    }
    assert list(builder.paid().values()) == [1]


def test_rows_that_are_there_stay_where_no_more_can_be_fetched(
    twins: tuple[Builder, Draft],
) -> None:
    """The service keeps its tasks for a week."""
    builder, draft = twins
    before = rows_in(builder.output)
    builder.world.passed_s += 8 * DAY_S

    for _ in range(2):
        report = builder.run(draft)

        assert report is not None
        assert report.videos[1].outcome is Outcome.FAILED
        assert rows_in(builder.output) == before
    assert list(builder.paid().values()) == [1]


def test_rows_that_a_video_of_another_id_turns_out_to_have_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as the first of the renamed videos has ended, there is a publish without the old ids."""
    monkeypatch.setattr(groups, "MAX_GROUP_ROWS", 1)
    builder = Builder(folder=tmp_path)
    for slot in range(6):
        builder.put(slot, FILMS[slot % 3])
    old, new = (tuple(Wanted(slot=slot) for slot in slots) for slots in ((0, 1, 2), (3, 4, 5)))
    builder.run(Draft(videos=old))
    rows = [row for _, row in rows_in(builder.output)]
    builder.world.passed_s += 8 * DAY_S

    report = builder.run(Draft(videos=new, on_removed="drop"))

    assert report is not None
    assert [video.outcome for video in report.videos] == 3 * [Outcome.COMMITTED]
    assert sorted(row for _, row in rows_in(builder.output)) == sorted(rows)
    assert set(builder.paid().values()) == {1}
    assert list(builder.home.staging.iterdir()) == []
