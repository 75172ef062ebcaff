"""Weights that keep the objectives' gradients at the lengths they should have."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.weights import gradnorm
from moalign.parts import register
from moalign.records import Metrics, Rows, Setting, Signals, State
from moalign.weighting.controller import Controller, Weights, on_simplex, per_member
from moalign.weighting.gram import gram_in, needs_gram
from moalign.weighting.statistics import check_share, follow, per_member_copy

SLOWEST = 10.0  # an objective that fell this many times further behind than it began counts as this far


@register(
    "controller",
    "gradnorm",
    paper="chen2018gradnorm",
    test="tests/weighting/test_gradnorm.py::test_weighted_gradients_become_equally_long",
)
@dataclass(frozen=True)
class GradNorm(Controller):
    r"""Give each objective's gradient its share, :math:`w_k \|g_k\| \propto p_k r_k^\alpha`, more to who is behind.

    :math:`p` is the member's preference (equal ones are the paper's), :math:`g_k` the gradient of objective :math:`k`,
    :math:`\alpha` ``alpha``; weights start at the preference and move by ``lr``. :math:`r_k` is the share of its way
    that is left, :math:`L_k = (z_k - \mu_k) / (z_k - \mu_k^0)`, over the mean of all: :math:`z` the declared ideal,
    :math:`\mu` the running mean reward, which keeps ``memory`` of itself, :math:`\mu^0` the first one.

    The paper's :math:`L_k` is the loss over the loss at the start. A policy-gradient loss begins at about 0 and has no
    ratio: rewards have one. An objective without a declared ideal, or that began at it, counts as average. Chen et al.
    2018, arXiv:1711.02257.
    """

    alpha: float = 1.5
    lr: float = 0.025
    memory: float = 0.85
    floor: float = 0.01

    def __post_init__(self) -> None:
        check_share("memory", self.memory)
        if not (self.alpha >= 0 and self.lr > 0 and 0 < self.floor < 1):
            raise ConfigError(f"{self}: `alpha` must not be negative, `lr` positive, `floor` between 0 and 1.")

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        share = on_simplex(preferences, setting)
        return {
            "preference": share,
            "share": share.clone(),
            "ideal": per_member_copy(setting.ideal.to(preferences), len(preferences)),
            "first": torch.full_like(preferences, torch.nan),
            "mean": torch.full_like(preferences, torch.nan),
            "norm": torch.full_like(preferences, torch.nan),
        }

    def problems(self, recipe: Any) -> list[str]:
        return needs_gram(recipe, "gradnorm")

    def weigh(self, state: State, rows: Rows) -> Weights:
        return per_member(state["share"])

    def observe(self, state: State, signals: Signals) -> State:
        told = torch.where(signals.means.isfinite(), signals.means, torch.nan).to(state["mean"])
        state = {
            **state,
            "mean": follow(state["mean"], told, memory=self.memory),
            "first": torch.where(state["first"].isnan(), told, state["first"]),
        }
        gram = gram_in(signals, state["share"])
        if gram is None:
            return state
        norms = gram.diagonal(dim1=1, dim2=2).clamp(min=0.0).sqrt()
        wanted = state["preference"] * self._behind(state) ** self.alpha
        wanted = wanted / wanted.sum(dim=1, keepdim=True)
        share = gradnorm(state["share"], norms, wanted, lr=self.lr, floor=self.floor)
        return {**state, "share": share, "norm": norms}

    def _behind(self, state: State) -> Float[Tensor, "member objective"]:
        """Return how much of its way each objective has left, the average being 1."""
        way = state["ideal"] - state["first"]
        known = (way > 0) & way.isfinite() & state["mean"].isfinite()
        left = (state["ideal"] - state["mean"]) / torch.where(known, way, 1.0)
        left = torch.where(known, left, torch.nan).clamp(min=1 / SLOWEST, max=SLOWEST)
        return (left / left.nanmean(dim=1, keepdim=True)).nan_to_num(nan=1.0)

    def metrics(self, state: State, names: tuple[str, ...]) -> Metrics:
        return {f"gradients/{name}/norm": state["norm"][:, k] for k, name in enumerate(names)}
