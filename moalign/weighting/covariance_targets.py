"""Weights that grow for objectives which the advantages do not push enough."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.weights import exponentiated_gradient
from moalign.parts import check_names, register
from moalign.records import Metrics, Rows, Setting, Signals, State
from moalign.weighting.controller import Controller, Weights, on_simplex, per_member
from moalign.weighting.statistics import check_share, follow, per_member_copy


@register(
    "controller",
    "covariance-targets",
    paper="lu2026interference",
    test="tests/weighting/test_covariance_targets.py::test_matches_the_formula",
)
@dataclass(frozen=True)
class CovarianceTargets(Controller):
    r"""Raise the weight of what covaries too little with the advantages, :math:`w_k \propto w_k e^{\eta [t_k-c_k]_+}`.

    :math:`c_k` is the running covariance of objective :math:`k` with the advantages within groups, which keeps
    ``memory`` of itself, :math:`t_k` its target: ``target``, or its entry in ``targets``; :math:`\eta` ``rate``. With
    ``correlation`` it is the correlation, which has no unit. An objective whose mean meets its threshold is not raised
    further. In the paper's method (CTWA) weights only grow; as only ratios count, here they are divided by their sum.
    Weights start at the preference. Lu and Jiang 2026, arXiv:2602.06869; defaults are the authors' scripts'.
    """

    target: float = 0.08
    targets: Mapping[str, float] = field(default_factory=dict)
    rate: float = 0.05
    memory: float = 0.9
    correlation: bool = False

    def __post_init__(self) -> None:
        check_share("memory", self.memory)
        if not self.rate > 0:
            raise ConfigError(f"`rate` must be positive, got {self.rate}.")

    @property
    def objectives(self) -> tuple[str, ...]:
        return tuple(self.targets)

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        check_names(self.targets, setting.names, "targets")
        targets = torch.tensor([float(self.targets.get(name, self.target)) for name in setting.names])
        return {
            "share": on_simplex(preferences, setting),
            "target": per_member_copy(targets.to(preferences), len(preferences)),
            "threshold": per_member_copy(setting.thresholds.to(preferences), len(preferences)),
            "covariance": torch.full_like(preferences, torch.nan),
            "deficit": torch.zeros_like(preferences),
        }

    def problems(self, recipe: Any) -> list[str]:
        if "covariance" in getattr(recipe.update, "tells", ()):
            return []
        return ["`weighting='covariance-targets'` reads covariances that this update does not tell; use 'descent'."]

    def weigh(self, state: State, rows: Rows) -> Weights:
        return per_member(state["share"])

    def observe(self, state: State, signals: Signals) -> State:
        which = "correlation" if self.correlation else "covariance"
        nothing = torch.full_like(state["share"][:, 0], torch.nan)
        told = [signals.metrics.get(f"{which}/{name}", nothing).to(nothing) for name in signals.names]
        found = torch.stack(told, dim=1) if told else torch.full_like(state["share"], torch.nan)
        covariance = follow(state["covariance"], torch.where(found.isfinite(), found, torch.nan), memory=self.memory)
        behind = (state["target"] - covariance).nan_to_num(nan=0.0).clamp(min=0.0)
        deficit = torch.where(signals.means.to(behind) >= state["threshold"], 0.0, behind)  # NaN is met by nothing
        share = exponentiated_gradient(state["share"], deficit, rate=self.rate)
        return {**state, "share": share, "covariance": covariance, "deficit": deficit}

    def metrics(self, state: State, names: tuple[str, ...]) -> Metrics:
        return {f"covariance/{name}/deficit": state["deficit"][:, k] for k, name in enumerate(names)}
