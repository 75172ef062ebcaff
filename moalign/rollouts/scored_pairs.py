"""Pairs from the data whose completions are scored, so that every objective has a margin."""

from dataclasses import dataclass
from typing import Any

from moalign.parts import register
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.collect import Pairs


@register(
    "collector",
    "scored-pairs",
    paper="zhou2023modpo",
    test="tests/rollouts/test_collect.py::test_scored_pairs_are_pairs_with_rewards",
)
@dataclass(frozen=True)
class ScoredPairs(Pairs):
    """Take `chosen` and `rejected` from the data and score both: means that a run logs are the data's, not a member's.

    Zhou et al. 2023, arXiv:2310.03708, with reward functions as margins.
    """

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        rows, state = super().__call__(policy, env, state, now)
        return env.score(rows), state
