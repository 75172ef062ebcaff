"""Weights that make the members' mean vectors cover more hypervolume together."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.dominance import rank
from moalign.optimizers.hypervolume import gradient, hypervolume
from moalign.parts import register
from moalign.records import Rows, Setting, Signals, State
from moalign.weighting.controller import Controller, Weights, needs_raw_rewards, on_simplex, per_member
from moalign.weighting.from_scalarizer import best_known
from moalign.weighting.statistics import check_share, declared_range, follow, normalized, per_member_copy

DEAD = 0.05  # a running std below this share of its own maximum counts as this share: dividing by it must not explode


@register(
    "controller",
    "hypervolume-gradient",
    paper="deist2021hypervolume",
    test="tests/weighting/test_hypervolume_gradient.py::test_reaches_the_attainable_hypervolume_of_a_bandit",
)
@dataclass(frozen=True)
class HypervolumeGradient(Controller):
    r"""Ascend the hypervolume of the members' means, :math:`w_k \propto \partial HV / \partial \mu_k`.

    :math:`\mu` are running means that keep ``memory`` of themselves; each domination rank has its own hypervolume
    (``dominated="rank"``), or only the first has one and a dominated member raises the objective of its largest
    preference-weighted regret (``dominated="chebyshev"``), as does a member below the reference point. The gradient is
    a finite difference over ``step`` of an objective's spread, which also sees gains just out of reach; 0 is exact.

    The first ``warmup`` steps use the preference over the running std within groups (so that centred rewards count as
    standardised ones), then ``ramp`` steps lead over. ``floor`` of the weight is shared out equally, ``smoothing`` is
    kept from the step before. All this happens in units of the spread (ideal - nadir, or the largest running std), so
    units do not matter; the weights returned are for rewards that are centred but *not* scaled.

    Criterion: hypervolume of E[r]. Sets of mean vectors by rank: Deist et al. 2021, arXiv:2102.04523.
    """

    dominated: str = "rank"  # or "chebyshev"
    warmup: int = 8
    ramp: int = 8
    floor: float = 0.05
    smoothing: float = 0.5
    memory: float = 0.7
    step: float = 0.02

    def __post_init__(self) -> None:
        if self.dominated not in ("rank", "chebyshev"):
            raise ConfigError(f"`dominated` must be 'rank' or 'chebyshev', got {self.dominated!r}.")
        for name in ("floor", "smoothing", "memory"):
            check_share(name, getattr(self, name))
        for name in ("warmup", "ramp", "step"):
            if getattr(self, name) < 0:
                raise ConfigError(f"`{name}` must not be negative, got {getattr(self, name)}.")

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        unset = [name for name, value in zip(setting.names, setting.reference.tolist()) if value != value]
        if unset:
            raise ConfigError(
                f"`reference_point` has no value for {', '.join(unset)}, and a hypervolume needs one for every "
                "objective; set it, or declare `bounds` for these objectives."
            )
        members = len(preferences)
        preference = on_simplex(preferences, setting)
        return {
            "preference": preference,
            "reference": per_member_copy(setting.reference.to(preferences), members),
            "ideal": per_member_copy(setting.ideal.to(preferences), members),
            "range": per_member_copy(declared_range(setting).to(preferences), members),
            "mean": torch.full_like(preferences, torch.nan),
            "std": torch.full_like(preferences, torch.nan),
            "spread": torch.full_like(preferences, torch.nan),
            "share": preference.clone(),
            "seen": torch.zeros(members, dtype=torch.long, device=preferences.device),
        }

    def problems(self, recipe: Any) -> list[str]:
        return needs_raw_rewards(recipe, "hypervolume-gradient")

    def weigh(self, state: State, rows: Rows) -> Weights:
        lead = ((state["seen"] - self.warmup + 1) / max(self.ramp, 1)).clamp(0, 1)[:, None]
        share = (1 - lead) * _standardised(state) + lead * state["share"]
        return per_member(normalized(share / _unit(state), fallback=share))  # from shares of spreads to raw rewards

    def observe(self, state: State, signals: Signals) -> State:
        std = follow(state["std"], signals.stds, memory=self.memory)
        state = {
            **state,
            "mean": follow(state["mean"], signals.means, memory=self.memory),
            "std": std,
            "spread": torch.fmax(state["spread"], std),
            "seen": state["seen"] + 1,
        }
        start = _standardised(state)
        target = normalized(self._slopes(state), fallback=start)
        target = (1 - self.floor) * target + self.floor / target.shape[1]
        moved = self.smoothing * state["share"] + (1 - self.smoothing) * target
        warm = (state["seen"] < self.warmup)[:, None]
        return {**state, "share": torch.where(warm, start, moved)}

    def _slopes(self, state: State) -> Float[Tensor, "member objective"]:
        """Return the slope of the hypervolume in units of the spread; NaN for members whose mean is not known."""
        unit = _unit(state)
        ideal = best_known(state["ideal"], state["mean"])
        regret = state["preference"] * (ideal - state["mean"]) / unit
        slopes = (regret == regret.amax(dim=1, keepdim=True)).to(regret)  # all of a tie, whatever the order
        known = torch.isfinite(state["mean"]).all(dim=1)
        slopes[~known] = torch.nan
        if not bool(known.any()):
            return slopes
        points = ((state["mean"] - state["reference"]) / unit)[known].double().cpu()
        ranks = rank(points)
        found = slopes[known]
        for level in range(1 if self.dominated == "chebyshev" else int(ranks.max()) + 1):
            here = ranks == level
            slope = _hypervolume_slope(points[here], self.step).to(found)
            above = (slope.sum(dim=1) > 0)[:, None]  # a point below the reference adds no hypervolume either way
            found[here.to(found.device)] = torch.where(above, slope, found[here.to(found.device)])
        slopes[known] = found
        return slopes


def _hypervolume_slope(points: Float[Tensor, "point objective"], step: float) -> Float[Tensor, "point objective"]:
    """Return the slope of the hypervolume above 0 in each coordinate."""
    reference = torch.zeros(points.shape[1], dtype=points.dtype)
    if step == 0:
        return gradient(points, reference)
    volume = hypervolume(points, reference)
    slope = torch.zeros_like(points)
    for i, k in torch.cartesian_prod(torch.arange(len(points)), torch.arange(points.shape[1])).tolist():
        moved = points.clone()
        moved[i, k] += step
        slope[i, k] = max(hypervolume(moved, reference) - volume, 0.0) / step
    return slope


def _unit(state: State) -> Float[Tensor, "objective"]:
    """Return each objective's spread, the same for all members: a hypervolume has one scale per axis."""
    spread = torch.where(state["range"].isnan(), state["spread"], state["range"]).nan_to_num(nan=0.0).amax(dim=0)
    return torch.where(spread > 0, spread, 1.0)


def _standardised(state: State) -> Float[Tensor, "member objective"]:
    """Return the preference over the running std, as shares of the spread."""
    unit = _unit(state)
    std = torch.fmax(state["std"], DEAD * state["spread"])
    std = torch.where(std > 0, std, unit)  # never seen to vary
    return normalized(state["preference"] * unit / std, fallback=state["preference"])
