"""Whether a rule hits: a pure function of the seed, the rule's number and what it has seen."""

from __future__ import annotations

import hashlib
from typing import TypeVar

from batchembed.engine.faults.plan import Endpoint, FaultPlan, Rule

R = TypeVar("R", bound=Rule)


def due(rule: Rule, *, seed: int, number: int, seen: int) -> bool:
    """Whether the rule `number` meets the request before which it has seen `seen` others.

    Of the rule's `times` nothing is known here.
    """
    at = seen - rule.after
    if at < 0:
        return False
    if rule.first is not None:
        return at < rule.first
    if rule.every is not None:
        return (at + 1) % rule.every == 0
    if rule.probability is not None:
        drawn = hashlib.sha256(f"{seed}:{number}:{seen}".encode()).digest()[:8]
        return int.from_bytes(drawn, "big") < rule.probability * 2**64
    return True


class Draws:
    """Counts for each rule the requests that concern it, whichever rule wins them.

    So a rule that hits is counted as a hit of its `times` also where an earlier one wins: what a
    rule does never depends on its neighbours.
    """

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._seen = [0] * len(plan.rules)
        self._hits = [0] * len(plan.rules)

    def has(self, layer: type[Rule]) -> bool:
        """Whether the plan has rules of `layer`."""
        return any(isinstance(rule, layer) for rule in self._plan.rules)

    def draw(self, layer: type[R], endpoint: Endpoint) -> R | None:
        """The rule of `layer` that wins this request."""
        winner: R | None = None
        for number, rule in enumerate(self._plan.rules):
            if isinstance(rule, layer) and rule.concerns(endpoint) and self._hits_now(number, rule):
                winner = winner or rule
        return winner

    def _hits_now(self, number: int, rule: Rule) -> bool:
        seen = self._seen[number]
        self._seen[number] += 1
        if rule.times is not None and self._hits[number] >= rule.times:
            return False
        hit = due(rule, seed=self._plan.seed, number=number, seen=seen)
        self._hits[number] += hit
        return hit
