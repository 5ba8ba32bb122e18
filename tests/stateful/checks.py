"""What must be true of ledger, dataset and service after each step, whatever happened in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from batchembed.core.keys import idempotency_key
from batchembed.core.model import JobKey
from batchembed.core.states import IN_DOUBT, MOVES, Entry, State
from tests.stateful.bench import Bench


def problems(bench: Bench, known: set[JobKey]) -> Iterator[str]:
    """What is wrong. `known` are the jobs that the ledger had before."""
    entries = bench.entries()
    yield from (f"job {key} has vanished" for key in known - entries.keys())
    yield from bench.service.doubled
    yield from _claims(bench)
    yield from _moves(bench)
    if not bench.idempotent:  # where nothing is paid for
        yield from _charges(bench, entries)
    yield from _rows(bench, entries)


def _claims(bench: Bench) -> Iterator[str]:
    """No task is two jobs', now or before."""
    asked = "SELECT DISTINCT task_id, job_key FROM moves WHERE task_id IS NOT NULL"
    claims = Counter(task_id for task_id, _ in bench.rows(asked))
    yield from (
        f"task {task_id} is {count} jobs'" for task_id, count in claims.items() if count > 1
    )


def _moves(bench: Bench) -> Iterator[str]:
    """Every job went the ways that there are, and was sent again for a cause."""
    ways: dict[str, list[tuple[State, int]]] = {}
    for key, state, attempt in bench.rows(
        "SELECT job_key, state, attempt FROM moves ORDER BY number"
    ):
        ways.setdefault(key, [(State.PLANNED, 1)]).append((State(state), attempt))
    for key, way in ways.items():
        for (old, before), (new, attempt) in pairwise(way):
            if new not in MOVES[old]:
                yield f"job {key} went from {old} to {new}"
            fresh = old in {State.FAILED, State.LOST} and new is State.PLANNED
            if attempt != before + fresh:
                yield f"job {key} is at attempt {attempt} after {before} ({old} to {new})"


def _charges(bench: Bench, entries: dict[JobKey, Entry]) -> Iterator[str]:
    """A charge for each create that made a task, or may have."""
    charged = {(JobKey(key), n) for key, n in bench.rows("SELECT job_key, attempt FROM charges")}
    tasks = bench.rows("SELECT DISTINCT job_key, attempt FROM moves WHERE task_id IS NOT NULL")
    had = {(JobKey(key), attempt) for key, attempt in tasks}
    made = {task.key for task in bench.service.tasks}
    now = bench.world.monotonic()
    kept = {task.key for task in bench.service.tasks if task.has(now)}
    for entry in entries.values():
        for attempt in range(1, entry.attempt + 1):
            name = (entry.job_key, attempt)
            sent = idempotency_key(bench.dataset.dataset_id, entry.job_key, attempt)
            paid = sent in made
            # Of a create in doubt whose task the service has lost, nobody can know.
            if sent in kept and name not in charged:
                yield f"attempt {attempt} of {entry.job_key} made a task and is not charged"
            doubtful = attempt == entry.attempt and entry.state in IN_DOUBT
            if name in charged and not (paid or doubtful or name in had):
                yield f"attempt {attempt} of {entry.job_key} is charged and made no task"


def _rows(bench: Bench, entries: dict[JobKey, Entry]) -> Iterator[str]:
    """What is committed has its rows, and they are those of its own video."""
    for key, entry in entries.items():
        if entry.state is State.COMMITTED and entry.commit is None:
            yield f"job {key} is committed in no record"
    for (key, _), vector in bench.dataset.vectors.items():
        if vector != bench.vectors[key]:
            yield f"job {key} has the rows of another video"
