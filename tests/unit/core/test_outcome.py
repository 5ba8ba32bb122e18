"""What a run that publishes nothing says of what it has."""

from __future__ import annotations

from dataclasses import replace

from batchembed.core.outcome import Outcome, withheld
from batchembed.core.problems import Reason
from batchembed.core.states import Staged, State
from tests.unit.report.reports import a_job, a_video


def test_what_is_staged_is_not_committed_where_nothing_is_published() -> None:
    rows = Staged(file="k.arrow", rows=(("audio", 2),), sha256="1")
    staged, committed = (
        replace(
            a_video(name, Outcome.COMMITTED),
            entry=replace(a_job("k", State.PLANNED), staged=rows, commit=1, state=state),
            rows=2,
        )
        for name, state in (("a", State.STAGED), ("b", State.COMMITTED))
    )

    why = Reason(code="withheld", message="later")
    held, kept = withheld((staged, committed), why)

    assert (held.outcome, held.rows, held.reasons) == (Outcome.PENDING, 0, (why,))
    assert kept == committed
