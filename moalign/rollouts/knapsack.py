"""Adaptive rollout: a fixed budget of completions, shared out over the prompts by what each is worth."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moalign.optimizers.knapsack import allocate
from moalign.parts import register
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.collect import ask
from moalign.rollouts.rounds import ask_again, joined, solves


@register(
    "collector", "knapsack", paper="li2025knapsack", test="tests/rollouts/test_knapsack.py::test_spends_where_it_pays"
)
@dataclass(frozen=True)
class Knapsack:
    r"""Sample `first` completions of each prompt, then share out what is left of `num_generations` for each.

    A member's group sizes :math:`N_i`, from `first` to `most`, maximise
    :math:`\sum_i (1 - p_i^{N_i} - (1 - p_i)^{N_i})\, p_i (1 - p_i)^2`: the chance of a group with both successes and
    failures, times what it may add to the success rate :math:`p_i`. Every step costs each member `prompts_per_step` ×
    `num_generations` completions. One succeeds when its reward, that of the named `objective` or else the sum by the
    controller's weights, is at least `solved`. Li et al. 2025, arXiv:2509.25849; code at github.com/liziniu/KnapsackRL.

    The paper takes :math:`p_i` from earlier visits of the prompt. Here it is :math:`(k + 1) / (n + 2)` by :math:`k`
    successes in the first round of :math:`n` = `first`, which counts in the group: nothing need be remembered, and no
    prompt is new. But it is coarse, and a group that is mixed already may still grow, because the chance is that of a
    fresh group. As it is never 0 or 1, the paper's rule for prompts of such rates (a surplus goes to the unsolved ones
    in equal shares) is left out.
    """

    first: int = 4
    most: int = 128
    solved: float = 1.0
    objective: str = ""

    @property
    def objectives(self) -> tuple[str, ...]:
        return (self.objective,) if self.objective else ()  # a study checks the name before it trains

    def problems(self, recipe: Any) -> list[str]:
        n = recipe.num_generations
        fits = 1 <= self.first <= n <= self.most
        return [] if fits else [f"`num_generations` is {n}; it must be from `first` (1 or more) to `most` of {self}."]

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        prompts, length, n = env.prompts(now.prompts_per_step), now.max_completion_length, self.first
        stream, again = env.stream("rollout"), env.stream("rollout", 1)
        asked = ask(policy, prompts, stream=stream, n=n, max_new_tokens=length, temperature=now.temperature)
        rows = env.score(asked)
        if left := len(prompts) * (now.num_generations - n):
            good = solves(rows, state, now, solved=self.solved, objective=self.objective).double().sum(dim=2)
            values = worth((good[..., None].cpu() + 1) / (n + 2), torch.arange(n, self.most + 1))
            more = ask_again(policy, asked, allocate(values, left), stream=again, max_new_tokens=length)
            rows = joined(rows, env.score(more))
        return rows, state


def worth(p: Float[Tensor, "*batch 1"], size: Int[Tensor, "size"]) -> Float[Tensor, "*batch size"]:
    return (1 - p**size - (1 - p) ** size) * p * (1 - p) ** 2
