"""Credit for a set of answers: a completion holds several, and is worth what the best of them is to many tastes."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._group_relative import group_relative
from moalign.credit._steps import needs_scored_segments
from moalign.errors import ConfigError
from moalign.parts import bind, look_up_names, part, register
from moalign.records import Credit, Rows, State, Stream


@register("credit", "set-value", paper="bahlousboldi2026vpo", test="tests/credit/test_set_value.py::test_by_hand")
@dataclass(frozen=True)
class SetValue:
    r"""Compare completions by :math:`V_i=\frac1M\sum_m\max_s w_m^\top r_{is}`, the worth of their answers (VPO).

    :math:`r_{is}` are the rewards of the completion's :math:`s`-th segment, an answer; :math:`w_1,\dots,w_M` are
    ``draws`` weightings from the simplex, new at every step and the same for all completions, so that only the answers
    differ. They are uniform (a flat Dirichlet) for equal weights of the controller, and lean towards larger ones
    otherwise. What `estimate` makes of :math:`V` in a group goes to all tokens: a set is credited as a whole. An answer
    that lacks a reward with weight is none, a completion without any has no part in a mean. Bahlous-Boldi et al. 2026,
    arXiv:2605.22817.
    """

    estimate: Any = part("estimator", bind(group_relative))
    draws: int = 64
    scales_objectives: ClassVar[bool] = False

    def __post_init__(self) -> None:
        look_up_names(self)
        if self.draws < 1:
            raise ConfigError(f"`draws` must be at least 1, got {self.draws}.")

    def problems(self, recipe: Any) -> list[str]:
        few = (
            [] if recipe.num_generations >= 2 else ["`set-value` compares sets; `num_generations` must be at least 2."]
        )
        return few + needs_scored_segments(recipe, "set-value")

    def init(self, members: int, objectives: int) -> State:
        """Return how many steps each member has been credited for: the number keys the draws."""
        return {"steps": torch.zeros(members, dtype=torch.long)}

    def __call__(
        self, rows: Rows, weights: Float[Tensor, "member #p #g objective"], gain: Float[Tensor, "member"], state: State
    ) -> tuple[Credit, State]:
        if rows.rewards is None or rows.segment_rewards is None:
            raise ConfigError("`set-value` needs rewards of segments; collect with ScoredSegments.")
        shares = rows.flat(weights.expand(rows.members, *rows.slots()[1:], -1)).to(rows.segment_rewards)
        step = int(state["steps"].max())
        uniform = torch.rand(self.draws, shares.shape[1], generator=Stream(0, step, "part").generator("set-value"))
        value, some = set_values(rows.segment_rewards, shares, -torch.log1p(-uniform).to(shares))
        grid = rows.grid(torch.where(some, value, 0)[:, None])[0]
        known = rows.grid((some & rows.keep).to(grid)[:, None])[0] > 0
        advantages = rows.flat(self.estimate(grid, known) * gain.to(grid)[:, None, None, None])
        mean = (grid * known).sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(min=1)
        placed = advantages[:, None].expand(-1, rows.tokens.shape[1], -1)
        targets = rows.rewards.values[:, None].expand(-1, rows.tokens.shape[1], -1)
        return Credit(placed, targets, shares, {"set_value/mean": mean}), {"steps": state["steps"] + 1}


def set_values(
    rewards: Float[Tensor, "row segment objective"],
    weights: Float[Tensor, "row objective"],
    draws: Float[Tensor, "draw objective"],
) -> tuple[Float[Tensor, "row"], Bool[Tensor, "row"]]:
    r"""Return :math:`\frac1M\sum_m\max_s w_m^\top r_s`, :math:`w_m\propto` ``weights`` × ``draws``, where it exists.

    An answer with NaN in an objective that has weight is left out; a row without any answer has value 0.

    >>> answers = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]])
    >>> set_values(answers, torch.ones(2, 2), torch.tensor([[3.0, 1.0], [1.0, 3.0]]))[0]
    tensor([0.7500, 0.5000])
    """
    wanted = weights != 0
    answers = ~(rewards.isnan() & wanted[:, None]).any(2) & wanted.any(1, keepdim=True)
    tastes = weights.abs()[:, None] * draws
    tastes = tastes / tastes.sum(2, keepdim=True).clamp(min=torch.finfo(tastes.dtype).tiny)
    worth = torch.einsum("rmk,rsk->rms", tastes, rewards.nan_to_num(0.0))
    best = worth.masked_fill(~answers[:, None], -torch.inf).amax(2)
    some = answers.any(1)
    return torch.where(some, torch.where(some[:, None], best, 0).mean(1), 0), some
