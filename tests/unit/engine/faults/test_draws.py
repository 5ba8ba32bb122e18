"""When a fault happens."""

from __future__ import annotations

from batchembed.engine.faults.draws import Draws, due
from batchembed.engine.faults.plan import (
    AnswerLost,
    AnswerRule,
    ConnectionCut,
    Failed,
    FaultPlan,
    Rule,
    ServerError,
    Slow,
    TooManyRequests,
)
from tests.support.faulty import Bench, with_faults


def hits(rule: Rule, count: int, *, seed: int = 0, number: int = 0) -> list[int]:
    return [seen for seen in range(count) if due(rule, seed=seed, number=number, seen=seen)]


def test_a_rule_hits_in_its_window() -> None:
    assert hits(Slow(), 3) == [0, 1, 2]
    assert hits(Slow(first=2), 9) == [0, 1]
    assert hits(Slow(every=3), 9) == [2, 5, 8]
    assert hits(Slow(after=4, first=2), 9) == [4, 5]
    assert hits(Slow(probability=0.0), 99) == []
    assert hits(Slow(probability=1.0), 9) == list(range(9))


def test_the_same_seed_hits_the_same_and_another_hits_others() -> None:
    rule = Slow(probability=0.3)
    assert hits(rule, 1000, seed=7) == hits(rule, 1000, seed=7)
    assert hits(rule, 1000, seed=7) != hits(rule, 1000, seed=8)
    assert hits(rule, 1000, seed=7) != hits(rule, 1000, seed=7, number=1)
    assert 250 < len(hits(rule, 1000, seed=7)) < 350


def test_a_rule_hits_at_most_so_often() -> None:
    draws = Draws(FaultPlan(rules=(Slow(every=2, times=2),)))
    drawn = [draws.draw(AnswerRule, "list") is not None for _ in range(8)]
    assert drawn == [False, True, False, True, False, False, False, False]


def test_the_first_rule_that_hits_wins_and_each_counts_for_itself() -> None:
    slow, cut, lost = (
        Slow(every=2),
        ConnectionCut(on=("list",), first=3),
        AnswerLost(on=("create",)),
    )
    draws = Draws(FaultPlan(rules=(slow, cut, lost)))
    drawn = [draws.draw(AnswerRule, "list") for _ in range(4)]
    assert drawn == [cut, slow, cut, slow]
    assert draws.draw(AnswerRule, "create") == lost
    assert draws.draw(AnswerRule, "list") == slow  # it counted the create too


def test_a_run_can_be_repeated() -> None:
    def statuses() -> list[int]:
        seen: list[int] = []

        async def scene(bench: Bench) -> None:
            seen.extend([(await bench.create()).status_code for _ in range(40)])

        with_faults(
            ServerError(probability=0.2), TooManyRequests(probability=0.2), Failed(probability=0.5)
        )(scene)
        return seen

    first = statuses()
    assert first == statuses()
    assert set(first) == {200, 429, 503}
