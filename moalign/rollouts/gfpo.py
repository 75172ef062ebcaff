"""A filter after sampling: of each group only the best by a second measure are trained on."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import look_up_names, part, register
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.collect import Sample


@register(
    "collector",
    "gfpo",
    paper="shrivastava2025gfpo",
    test="tests/rollouts/test_gfpo.py::test_keeps_the_shortest_of_each_group",
)
@dataclass(frozen=True)
class GFPO:
    """Sample large groups with `inner` and keep only the `retain` best completions of each for training.

    `metric` is "length" (the shortest) or "token-efficiency" (the largest weighted reward per token, weights as the
    recipe's controller gives them). Rows that are not kept have no credit, and means and spreads of advantages are
    taken over the kept ones. Ties go to the earlier row. Shrivastava et al. 2025, arXiv:2508.09726, Algorithm 1.
    """

    inner: Any = part("collector", Sample())
    retain: int = 4
    metric: str = "length"

    def __post_init__(self) -> None:
        look_up_names(self)
        if self.retain < 1:
            raise ConfigError(f"`retain` must be at least 1, got {self.retain}.")
        if self.metric not in ("length", "token-efficiency"):
            raise ConfigError(f"`metric` must be 'length' or 'token-efficiency', got {self.metric!r}.")

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        rows, state = self.inner(policy, env, state, now)
        score, kept = rows.grid(self._score(rows, state, now))
        best_first = score.masked_fill(~kept, -torch.inf).argsort(dim=2, descending=True, stable=True)
        return replace(rows, keep=rows.keep & (rows.flat(best_first.argsort(dim=2).float()) < self.retain)), state

    def _score(self, rows: Rows, state: State, now: Any) -> Float[Tensor, "row"]:
        length = rows.completion_mask.sum(dim=1).float()
        if self.metric == "length":
            return -length
        if rows.rewards is None:
            raise ConfigError("`metric='token-efficiency'` needs rewards, and this collector's rows have none.")
        weights, _ = now.weighting.weigh(state["weighting"], rows)
        rewards, _ = rows.grid(rows.rewards.values)  # 0 where missing: counts for nothing
        return rows.flat((weights.to(rewards) * rewards).sum(dim=3)) / length.clamp(min=1)
