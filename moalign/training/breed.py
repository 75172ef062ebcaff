"""Breeding that leaves the members as they are."""

from dataclasses import dataclass

from moalign.parts import register
from moalign.records import Points, Policy, State


@register("breeder", "none", test="tests/study/test_run.py::test_every_recipe_runs_in_a_study")
@dataclass(frozen=True)
class NoBreeding:
    """Keep the members: the default."""

    def __call__(self, policy: Policy, state: State, points: Points) -> tuple[Policy, State]:
        return policy, state
