"""Adaptive rollout: sample in rounds, and ask again only where no completion has solved the prompt yet."""

from dataclasses import dataclass
from typing import Any

from moalign.parts import register
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.collect import ask
from moalign.rollouts.rounds import ask_again, joined, solves


@register(
    "collector", "ar3po", paper="zhang2025ar3po", test="tests/rollouts/test_ar3po.py::test_asks_again_what_is_unsolved"
)
@dataclass(frozen=True)
class AR3PO:
    """Sample `num_generations` / `rounds` completions of each prompt, then as many again wherever none solves it.

    A completion solves its prompt when its weighted reward, weights as the recipe's controller gives them, is at least
    `solved`: 1 with a reward that is 1 for a correct answer. Each member has its own unsolved prompts, so groups end
    with between one and `rounds` rounds of completions, and easy prompts cost less. The paper's second half, putting a
    stored correct answer of an earlier step into a group that stays unsolved, is left out. Zhang et al. 2025,
    arXiv:2509.25808.
    """

    rounds: int = 2
    solved: float = 1.0

    def problems(self, recipe: Any) -> list[str]:
        if self.rounds >= 1 and recipe.num_generations % self.rounds == 0:
            return []
        return [f"`rounds` must divide `num_generations` ({recipe.num_generations}), got {self.rounds}."]

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        n, length = now.num_generations // self.rounds, now.max_completion_length
        prompts, stream = env.prompts(now.prompts_per_step), env.stream("rollout")
        asked = ask(policy, prompts, stream=stream, n=n, max_new_tokens=length, temperature=now.temperature)
        rows = env.score(asked)
        for round in range(1, self.rounds):
            unsolved = ~solves(rows, state, now, solved=self.solved).any(dim=2)
            if not unsolved.any():
                break
            stream = env.stream("rollout", round)
            more = ask_again(policy, asked, n * unsolved, stream=stream, max_new_tokens=length)
            rows = joined(rows, env.score(more))
        return rows, state
