"""Dynamic sampling: draw further prompts until every member has as many groups that teach something as it should."""

from dataclasses import dataclass, replace
from typing import Any

from moalign.parts import register
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.collect import ask
from moalign.rollouts.rounds import joined
from moalign.rollouts.varying import varying


@register(
    "collector",
    "dynamic-sampling",
    paper="yu2025dapo",
    test="tests/rollouts/test_dynamic_sampling.py::test_draws_until_every_member_has_enough",
)
@dataclass(frozen=True)
class DynamicSampling:
    """Sample as usual, and again from new prompts while a member has fewer than `prompts_per_step` varying groups.

    A group varies where any reward with weight does (`varying`). At most `rounds` rounds, all members on the same
    prompts; each member then keeps its first `prompts_per_step` varying groups, or the fewer it has. Yu et al. 2025
    (DAPO), arXiv:2503.14476, where a group is kept whose accuracy is neither 0 nor 1.
    """

    rounds: int = 4

    def problems(self, recipe: Any) -> list[str]:
        return [] if self.rounds >= 1 else [f"`rounds` must be at least 1, got {self.rounds}."]

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        wanted, rows = now.prompts_per_step, None
        for round in range(self.rounds):
            asked = ask(
                policy,
                env.prompts(wanted, round),
                stream=env.stream("rollout", round),
                n=now.num_generations,
                max_new_tokens=now.max_completion_length,
                temperature=now.temperature,
                start=round * wanted,
            )
            scored = env.score(asked)
            rows = scored if rows is None else joined(rows, scored)
            useful = varying(rows, state, now)
            if (useful.sum(1) >= wanted).all():
                break
        assert rows is not None
        first = useful & (useful.cumsum(1) <= wanted)
        return replace(rows, keep=rows.keep & first[rows.member, rows.group]), state
