"""Any differentiable utility of the mean vector, as a controller."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.scalarizers import SmoothChebyshev
from moalign.parts import look_up_names, part, register
from moalign.records import Rows, Setting, Signals, State
from moalign.weighting.controller import Controller, Weights, needs_raw_rewards, on_simplex, per_member
from moalign.weighting.statistics import check_share, follow, normalized, per_member_copy


@register(
    "controller",
    "from-scalarizer",
    test="tests/weighting/test_from_scalarizer.py::test_weights_are_the_gradient_at_the_mean",
)
@dataclass(frozen=True)
class FromScalarizer(Controller):
    r"""Ascend u(E[r]): weights :math:`w \propto \nabla u(\mu)`, with ``floor`` of them shared out equally.

    :math:`u` is ``scalarizer`` with the member's preference as its weights, :math:`\mu` the member's running mean of
    raw rewards, which keeps ``memory`` of itself, the ideal is what the study declares, or the best running mean of
    any member. Criterion: u(E[r]); a scalarizer used per sequence optimises E[u(r)] instead, which cannot hold a
    mixture between styles. The utility sees raw units. Until a mean is known the weights are the preference.
    """

    scalarizer: Any = part("scalarizer", SmoothChebyshev())
    memory: float = 0.85
    floor: float = 0.0

    def __post_init__(self) -> None:
        look_up_names(self)
        check_share("memory", self.memory)
        check_share("floor", self.floor)

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        return {
            "preference": on_simplex(preferences, setting),
            "ideal": per_member_copy(setting.ideal.to(preferences), len(preferences)),
            "mean": torch.full_like(preferences, torch.nan),
        }

    def problems(self, recipe: Any) -> list[str]:
        return needs_raw_rewards(recipe, "from-scalarizer")

    def weigh(self, state: State, rows: Rows) -> Weights:
        mean, preference = state["mean"], state["preference"]
        known = torch.isfinite(mean).all(dim=1, keepdim=True)
        ideal = best_known(state["ideal"], mean)
        with torch.enable_grad():
            # members without a mean stand at the ideal, so that their NaN reaches nobody's gradient
            point = torch.where(known, mean, ideal).detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.scalarizer(point, preference, ideal).sum(), point)
        weights = normalized(torch.where(known, slope, 0.0), fallback=preference)
        return per_member((1 - self.floor) * weights + self.floor / weights.shape[1])

    def observe(self, state: State, signals: Signals) -> State:
        return {**state, "mean": follow(state["mean"], signals.means, memory=self.memory)}


def best_known(
    ideal: Float[Tensor, "member objective"], mean: Float[Tensor, "member objective"]
) -> Float[Tensor, "member objective"]:
    """Return the declared ideal, else the best mean of any member, else 0 where nobody has a mean.

    >>> missing = float("nan")
    >>> best_known(torch.tensor([[1.0, missing]] * 2), torch.tensor([[0.2, 0.3], [0.1, missing]]))
    tensor([[1.0000, 0.3000],
            [1.0000, 0.3000]])
    """
    best = mean.nan_to_num(nan=-torch.inf, posinf=-torch.inf).amax(dim=0)
    return torch.where(ideal.isnan(), torch.where(best.isfinite(), best, 0.0), ideal)
