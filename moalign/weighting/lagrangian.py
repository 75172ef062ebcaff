"""Constraints: an objective with a threshold is given weight for as long as its mean lies below it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.weights import dual_ascent, pid
from moalign.parts import register
from moalign.records import Metrics, Rows, Setting, Signals, State
from moalign.weighting.controller import Controller, Weights, on_simplex, per_member
from moalign.weighting.statistics import check_share, declared_range, follow, per_member_copy


@register(
    "controller",
    "lagrangian",
    paper="dai2023saferlhf",
    test="tests/weighting/test_lagrangian.py::test_mixes_like_ppo_lag",
)
@dataclass(frozen=True)
class Lagrangian(Controller):
    r"""Maximise the preference subject to thresholds, :math:`w = (p + q) / (1 + \sum_k q_k)`.

    .. math:: q_k = [\lambda_k + P v_k + D (\Delta_k)_+]_0^{\max}, \qquad
              \lambda_k \leftarrow [\lambda_k + \eta v_k]_0^{\max}

    :math:`p` the member's preference, :math:`\lambda` its multipliers, :math:`\eta` ``multiplier_lr``, :math:`P`
    ``proportional``, :math:`D` ``derivative``, max ``maximum``, :math:`\Delta` by how much the running mean fell in the
    last step, over the scale, :math:`v` the violation (threshold - running mean) / scale. The scale is
    ideal - nadir where a study declares them, else the largest running std within groups seen so far, so that a unit
    does not count. The running mean keeps ``memory`` of itself. Criterion: means.

    With ``proportional=0``, one reward and one cost this is PPO-Lag's mix (A_reward - λ A_cost) / (1 + λ), Dai et al.
    2023, arXiv:2310.12773. But a multiplier alone only circles around a constraint on a linear front; the proportional
    term lets the last step meet it, and the derivative term answers a fall before it is a violation: with both this is
    PID control of the multiplier, Stooke et al. 2020, arXiv:2007.03964.

    The state's ``preference`` and ``threshold`` (NaN: none) belong to a member; a breeder may rewrite them for a clone.
    """

    holds_thresholds: ClassVar[bool] = True

    multiplier_lr: float = 0.1
    proportional: float = 3.0
    derivative: float = 0.0
    maximum: float = 10.0
    memory: float = 0.85

    def __post_init__(self) -> None:
        check_share("memory", self.memory)
        for name in ("multiplier_lr", "maximum"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive, got {getattr(self, name)}.")
        for name in ("proportional", "derivative"):
            if getattr(self, name) < 0:
                raise ConfigError(f"`{name}` must not be negative, got {getattr(self, name)}.")

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        members = len(preferences)
        return {
            "preference": on_simplex(preferences, setting),
            "threshold": per_member_copy(setting.thresholds.to(preferences), members),
            "nadir": per_member_copy(setting.nadir.to(preferences), members),
            "range": per_member_copy(declared_range(setting).to(preferences), members),
            "multiplier": torch.zeros_like(preferences),
            "mean": torch.full_like(preferences, torch.nan),
            "before": torch.full_like(preferences, torch.nan),
            "spread": torch.full_like(preferences, torch.nan),
            "std": torch.full_like(preferences, torch.nan),
        }

    def weigh(self, state: State, rows: Rows) -> Weights:
        pressure = pid(
            state["multiplier"],
            _violation(state),
            ((state["before"] - state["mean"]) / _scale(state)).nan_to_num(nan=0.0) * ~state["threshold"].isnan(),
            proportional=self.proportional,
            derivative=self.derivative,
            maximum=self.maximum,
        )
        return per_member((state["preference"] + pressure) / (1 + pressure.sum(dim=1, keepdim=True)))

    def observe(self, state: State, signals: Signals) -> State:
        std = follow(state["std"], signals.stds, memory=self.memory)
        state = {
            **state,
            "before": state["mean"],
            "mean": follow(state["mean"], signals.means, memory=self.memory),
            "std": std,
            "spread": torch.fmax(state["spread"], std),
        }
        moved = dual_ascent(state["multiplier"], _violation(state), lr=self.multiplier_lr, maximum=self.maximum)
        return {**state, "multiplier": moved}

    def metrics(self, state: State, names: tuple[str, ...]) -> Metrics:
        found: Metrics = {}
        for k, name in enumerate(names):
            if not bool(state["threshold"][:, k].isnan().all()):
                found[f"constraint/{name}/multiplier"] = state["multiplier"][:, k]
                found[f"constraint/{name}/violated"] = (_violation(state)[:, k] > 0).float()
        return found


def _violation(state: State) -> Float[Tensor, "member objective"]:
    """Return how far the means lie below their thresholds; 0 where there is none or nothing was seen yet."""
    return ((state["threshold"] - state["mean"]) / _scale(state)).nan_to_num(nan=0.0)


def _scale(state: State) -> Float[Tensor, "member objective"]:
    # an objective that never varied has no unit of its own: its threshold's size stands in
    size = torch.where(state["threshold"] != 0, state["threshold"].abs(), 1.0)
    seen = torch.where(state["spread"] > 0, state["spread"], size)
    return torch.where(state["range"].isnan(), seen, state["range"])


def needs_multipliers(recipe: Any) -> list[str]:
    """Return a problem if a recipe that breeds with `constrain` has a controller without multipliers."""
    fits = isinstance(recipe.weighting, Lagrangian)
    return [] if fits else ["`breed` makes constrained clones and needs `weighting='lagrangian'`; set it."]


def constrain(state: State, member: int, objective: int, *, value: Float[Tensor, "objective"], retain: float) -> State:
    r"""Return a Lagrangian state in which `member` maximises `objective`, the others held at `retain` of `value`.

    Thresholds are :math:`z + \beta (r - z)`, :math:`z` the nadir, :math:`r` ``value``, :math:`\beta` ``retain``;
    without a declared nadir :math:`r - (1 - \beta) |r|`, which is :math:`\beta r` for positive values and lies below a
    negative one as well. A stricter threshold stays. This is how a breeder tells a clone what to do.
    """
    if not {"preference", "threshold", "multiplier", "nadir"} <= state.keys():
        raise ConfigError("a breeder that makes constrained clones needs `weighting='lagrangian'`; set it.")
    nadir = state["nadir"][member]
    kept = torch.where(nadir.isnan(), value - (1 - retain) * value.abs(), nadir + retain * (value - nadir))
    kept[objective] = torch.nan
    new = {name: state[name].clone() for name in ("preference", "threshold", "multiplier")}
    new["preference"][member] = torch.eye(len(value))[objective].to(value)
    new["threshold"][member] = torch.fmax(new["threshold"][member], kept)
    new["multiplier"][member] = 0.0
    return {**state, **new}
