"""The table of moves, and what each state is owed."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from batchembed.core.model import JobKey, TaskId
from batchembed.core.outcome import Outcome, exit_code, outcome_of
from batchembed.core.plan import Action, Collect, LookUp, Skip, Submit, Wait, decide
from batchembed.core.states import MOVES, Entry, Staged, State, require_allowed
from batchembed.errors import ExitCode

STAGED = Staged(file="k.arrow", rows=(("visual-text", 3),), sha256="0" * 64)


def an_entry(state: State, *, attempt: int = 1) -> Entry:
    return Entry(
        job_key=JobKey("k"),
        state=state,
        attempt=attempt,
        task_id=TaskId("t"),
        staged=STAGED,
        commit=1,
    )


def test_every_state_has_its_row_in_the_table() -> None:
    assert set(MOVES) == set(State)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(State, State)))
def test_a_move_outside_the_table_is_refused(old: State, new: State) -> None:
    if new in MOVES[old]:
        require_allowed(old, new)
        return
    with pytest.raises(ValueError, match="can't go from"):
        require_allowed(old, new)


def test_every_state_can_reach_committed() -> None:
    reached = {State.COMMITTED}
    while grown := {state for state in State if MOVES[state] & reached} - reached:
        reached |= grown

    assert reached == set(State)


@pytest.mark.parametrize(
    ("state", "missing"),
    [
        (State.PROCESSING, {"task_id": None}),
        (State.READY, {"task_id": None}),
        (State.STAGED, {"staged": None}),
        (State.COMMITTED, {"commit": None}),
    ],
)
def test_an_entry_without_what_its_state_promises_is_refused(
    state: State, missing: dict[str, None]
) -> None:
    parts = {"task_id": TaskId("t"), "staged": STAGED, "commit": 1, **missing}

    with pytest.raises(ValueError, match="job"):
        Entry(job_key=JobKey("k"), state=state, attempt=1, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "owed"),
    [
        (State.PLANNED, Submit(attempt=1)),
        (State.PROCESSING, Wait(task_id=TaskId("t"))),
        (State.READY, Collect(task_id=TaskId("t"))),
        (State.STAGED, Skip(why="staged; waits for the next publish")),
        (State.COMMITTED, Skip(why="committed")),
    ],
)
def test_each_state_is_owed_its_next_step(state: State, owed: Action) -> None:
    assert decide(an_entry(state), idempotent=False) == owed


def test_an_unknown_job_is_submitted() -> None:
    assert decide(None, idempotent=False) == Submit(attempt=1)


@pytest.mark.parametrize("state", [State.SUBMITTING, State.UNKNOWN])
def test_a_lost_answer_is_sent_again_only_where_that_is_the_same_task(state: State) -> None:
    entry = an_entry(state, attempt=2)

    assert decide(entry, idempotent=True) == Submit(attempt=2)
    assert decide(entry, idempotent=False) == LookUp(attempt=2)


def test_a_lost_task_is_sent_again_once_where_the_manifest_says_so() -> None:
    lost = replace(an_entry(State.LOST), losses=1)
    again = replace(lost, losses=2)

    assert isinstance(decide(lost, idempotent=False), Skip)
    assert decide(lost, idempotent=False, resubmit_lost=True) == Submit(attempt=2)
    assert isinstance(decide(again, idempotent=False, resubmit_lost=True), Skip)
    assert decide(again, idempotent=False, retry_failed=True) == Submit(attempt=2)


@pytest.mark.parametrize("state", [State.FAILED, State.LOST])
def test_a_failure_is_tried_again_only_when_asked(state: State) -> None:
    entry = an_entry(state)

    assert isinstance(decide(entry, idempotent=True), Skip)
    assert decide(entry, idempotent=True, retry_failed=True) == Submit(attempt=2)


def test_outcomes_follow_from_states() -> None:
    outcomes = {state: outcome_of(an_entry(state)) for state in State}

    assert outcomes[State.COMMITTED] is Outcome.COMMITTED
    assert outcomes[State.FAILED] is outcomes[State.LOST] is Outcome.FAILED
    assert outcomes[State.PROCESSING] is outcome_of(None) is Outcome.PENDING


@pytest.mark.parametrize(
    ("outcomes", "also", "accept", "code"),
    [
        ([Outcome.COMMITTED, Outcome.SKIPPED], [], False, ExitCode.OK),
        ([], [], False, ExitCode.OK),
        ([Outcome.COMMITTED, Outcome.REJECTED], [], False, ExitCode.INCOMPLETE),
        ([Outcome.COMMITTED, Outcome.REJECTED], [], True, ExitCode.OK),
        ([Outcome.FAILED], [], True, ExitCode.INCOMPLETE),
        ([Outcome.FAILED, Outcome.PENDING], [], False, ExitCode.AGAIN),
        ([Outcome.PENDING], [ExitCode.UNAVAILABLE], False, ExitCode.UNAVAILABLE),
        ([Outcome.PENDING], [ExitCode.NO_PERMISSION, ExitCode.IO], False, ExitCode.NO_PERMISSION),
        ([Outcome.PENDING], [ExitCode.TERMINATED], False, ExitCode.TERMINATED),
    ],
)
def test_the_gravest_outcome_decides_the_exit_code(
    outcomes: list[Outcome], also: list[ExitCode], *, accept: bool, code: ExitCode
) -> None:
    assert exit_code(outcomes, accept_rejected=accept, also=also) is code
