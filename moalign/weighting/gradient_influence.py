"""Weights that grow where an objective's gradient helps all of them."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.weights import exponentiated_gradient
from moalign.parts import register
from moalign.records import Metrics, Rows, Setting, Signals, State
from moalign.weighting.controller import Controller, Weights, on_simplex, per_member
from moalign.weighting.gram import gram_in, needs_gram


@register(
    "controller",
    "gradient-influence",
    paper="lu2025dynamic",
    test="tests/weighting/test_gradient_influence.py::test_matches_the_formula",
)
@dataclass(frozen=True)
class GradientInfluence(Controller):
    r"""Move weights by :math:`w_k \propto w_k e^{\rho s_k}`, :math:`s_k = \sum_j g_k \cdot g_j` (dynamic weighting).

    :math:`g_k` is the gradient of objective :math:`k`, so :math:`s_k` says how much a step along it helps all of them;
    :math:`\rho` ``rate`` is the paper's learning rate over its regularization, 1e-6 / 1e-5 in the authors' scripts.
    :math:`s` is averaged over ``every`` steps before the weights move; they start at the preference, and ``floor`` of
    them is shared out equally. The paper moves the weights before it uses a step's gradients, here they count from the
    next step on. Influence has the unit of the squared gradient: ``rate`` must fit it. Where a gradient is not finite
    the weights stay. Lu et al. 2025, arXiv:2509.11452, section on gradient-based weights.
    """

    rate: float = 0.1
    every: int = 1
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.every >= 1 and 0 <= self.floor < 1):
            raise ConfigError(f"{self}: `rate` must be positive, `every` at least 1, `floor` a share below 1.")

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        return {
            "share": on_simplex(preferences, setting),
            "influence": torch.zeros_like(preferences),
            "last": torch.full_like(preferences, torch.nan),
            "count": torch.zeros(len(preferences), dtype=torch.long),
        }

    def problems(self, recipe: Any) -> list[str]:
        return needs_gram(recipe, "gradient-influence")

    def weigh(self, state: State, rows: Rows) -> Weights:
        share = state["share"]
        return per_member((1 - self.floor) * share + self.floor / share.shape[1])

    def observe(self, state: State, signals: Signals) -> State:
        gram = gram_in(signals, state["share"])
        if gram is None:
            return state
        found = gram.sum(dim=2)
        known = found.isfinite().all(dim=1, keepdim=True)
        total = state["influence"] + torch.where(known, found, 0.0)
        count = state["count"] + known[:, 0]
        due = (count >= self.every)[:, None]
        mean = total / count.clamp(min=1)[:, None]
        return {
            "share": torch.where(due, exponentiated_gradient(state["share"], mean, rate=self.rate), state["share"]),
            "influence": torch.where(due, 0.0, total),
            "last": torch.where(due, mean, state["last"]),
            "count": torch.where(due[:, 0], 0, count),
        }

    def metrics(self, state: State, names: tuple[str, ...]) -> Metrics:
        return {f"influence/{name}": state["last"][:, k] for k, name in enumerate(names)}
