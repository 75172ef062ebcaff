"""Pairs from what was sampled: of each group the completion that a member prefers most, and the one it does least."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.scalarizers import Linear
from moalign.parts import look_up_names, part, register
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.collect import Sample
from moalign.rollouts.rounds import reordered


@register(
    "collector", "best-worst", paper="zhang2024inpo", test="tests/rollouts/test_best_worst.py::test_pairs_by_weights"
)
@dataclass(frozen=True)
class BestWorst:
    """Keep of each group that `inner` collects the best and the worst completion, the best first: pairs.

    Which is better, the `oracle` says of rewards, a scalarizer with the weights that the recipe's controller gives the
    member; an ideal that no objective declares is the best of the batch. A group whose best and worst are equally good
    is dropped. A completion without a reward that others of its group have, and that has weight, is not compared.
    Rows that are not kept stay, so that a member's means are those of all it sampled. Zhang et al. 2024,
    arXiv:2407.00617, section 4.1: of 8 completions; 2 are its Algorithm 1.
    """

    inner: Any = part("collector", Sample())
    oracle: Any = part("scalarizer", Linear())

    def __post_init__(self) -> None:
        look_up_names(self)

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        rows, state = self.inner(policy, env, state, now)
        score = self._score(rows, state, now)
        best, worst = score.nan_to_num(-torch.inf).max(2, True), score.nan_to_num(torch.inf).min(2, True)
        place = torch.full_like(score, 2).scatter(2, worst.indices, 1).scatter(2, best.indices, 0)
        place = torch.where(best.values > worst.values, place, 2)  # equal, or fewer than two to compare: no pair
        order = ((rows.member * place.shape[1] + rows.group) * 3 + rows.flat(place).long()).argsort(stable=True)
        return reordered(replace(rows, keep=rows.keep & (rows.flat(place) < 2)), order), state

    def _score(self, rows: Rows, state: State, now: Any) -> Float[Tensor, "member prompt group"]:
        """Return how good each completion is, NaN where it cannot be compared."""
        if rows.rewards is None:
            raise ConfigError("`best-worst` compares rewards, and the rows of `inner` have none.")
        (values, kept), declared = rows.grid(rows.rewards.values), rows.rewards.ideal.to(rows.rewards.values)
        valid = (rows.grid(rows.rewards.valid.float())[0] > 0) & kept[..., None]
        weights = now.weighting.weigh(state["weighting"], rows)[0].to(values) * valid.any(2, keepdim=True)
        highest = values.masked_fill(~valid, -torch.inf).amax((1, 2), keepdim=True).nan_to_num(neginf=0.0)
        ideal = torch.where(declared.isnan(), highest, declared)
        lacks = (~valid & (weights != 0)).any(3) | ~kept
        return self.oracle(values, weights.expand_as(values), ideal.expand_as(values)).masked_fill(lacks, torch.nan)
