"""A gain that is large while a member still finds new ground, and small while it does not."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.dominance import non_dominated
from moalign.optimizers.hypervolume import contributions, hypervolume
from moalign.parts import register
from moalign.records import Metrics, Rows, Setting, Signals, State
from moalign.weighting.controller import Controller, Weights, on_simplex
from moalign.weighting.statistics import check_share, follow, per_member_copy


@register(
    "controller",
    "hypervolume-gain",
    paper="lu2025dynamic",
    test="tests/weighting/test_hypervolume_gain.py::test_worked_values",
)
@dataclass(frozen=True)
class HypervolumeGain(Controller):
    r"""Weigh by the preference, with gain :math:`0.5 + 1.5 \tanh \Delta HV` (hypervolume-guided weight adaptation).

    :math:`\Delta HV` is by how much a member's running mean, which keeps ``memory`` of itself, enlarges the hypervolume
    of the best means it had; where it is positive the mean joins them, at most ``keep`` of them. ``low`` and ``span``
    are 0.5 and 1.5; until the second mean the gain is 1. The hypervolume is measured above the first mean, as in the
    paper, or, with ``from_start=False``, above the study's reference point, in units of the declared range or the
    largest running std, so that a unit does not count. A mean that falls short of the reference adds nothing.

    The paper multiplies rewards, which a group's standard deviation divides out again; a gain acts after that. An
    optimizer such as Adam sees only how it changes. Lu et al. 2025, arXiv:2509.11452.
    """

    moves_gain: ClassVar[bool] = True

    low: float = 0.5
    span: float = 1.5
    from_start: bool = True
    keep: int = 16
    memory: float = 0.7

    def __post_init__(self) -> None:
        check_share("memory", self.memory)
        if not (self.low > 0 and self.span >= 0 and self.keep >= 1):
            raise ConfigError(f"{self}: `low` must be positive, `span` not negative, `keep` at least 1.")

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        members, objectives = preferences.shape
        unset = [name for name, value in zip(setting.names, setting.reference.tolist()) if value != value]
        if unset and not self.from_start:
            raise ConfigError(
                f"`reference_point` has no value for {', '.join(unset)}, and `from_start=False` measures from it; "
                "set it, or `from_start=True`."
            )
        reference = torch.full_like(setting.reference, torch.nan) if self.from_start else setting.reference
        span = setting.ideal - setting.nadir
        unit = torch.where(span > 0, span, torch.nan)
        return {
            "preference": on_simplex(preferences, setting),
            "reference": per_member_copy(reference.to(preferences), members),
            "range": per_member_copy(unit.to(preferences), members),
            "mean": torch.full_like(preferences, torch.nan),
            "spread": torch.full_like(preferences, torch.nan),
            "front": preferences.new_full((members, self.keep, objectives), torch.nan),
            "gain": preferences.new_ones(members),
            "added": preferences.new_zeros(members),
        }

    def weigh(self, state: State, rows: Rows) -> Weights:
        return state["preference"][:, None, None, :], state["gain"]

    def observe(self, state: State, signals: Signals) -> State:
        told = torch.where(signals.means.isfinite(), signals.means, torch.nan).to(state["mean"])
        mean = follow(state["mean"], told, memory=self.memory)
        spread = torch.fmax(state["spread"], signals.stds.to(mean))
        reference = torch.where(state["reference"].isnan(), mean, state["reference"])
        unit = torch.where(state["range"].isnan(), spread, state["range"])
        unit = torch.where(unit > 0, unit, 1.0)
        front, gain, added = (state[name].clone() for name in ("front", "gain", "added"))
        heard = told.isfinite().any(dim=1) & mean.isfinite().all(dim=1) & ~state["mean"].isnan().any(dim=1)
        for m in heard.nonzero()[:, 0].tolist():
            more, front[m] = _joined(front[m], mean[m], reference[m], unit[m])
            added[m] = min(more, 1e30)  # a 32-bit number
            gain[m] = self.low + self.span * torch.tanh(added[m])
        return {
            **state,
            "reference": reference,
            "mean": mean,
            "spread": spread,
            "front": front,
            "gain": gain,
            "added": added,
        }

    def metrics(self, state: State, names: tuple[str, ...]) -> Metrics:
        return {"pareto/added": state["added"]}


def _joined(
    front: Float[Tensor, "keep objective"],
    point: Float[Tensor, "objective"],
    reference: Float[Tensor, "objective"],
    unit: Float[Tensor, "objective"],
) -> tuple[float, Float[Tensor, "keep objective"]]:
    """Return what a point adds to the hypervolume above the reference, and the front with it if it adds anything."""
    zero = torch.zeros(len(point), dtype=torch.float64)
    old = front[front.isfinite().all(dim=1)]
    points = torch.cat([old, point[None]])
    above = ((points - reference) / unit).double()
    more = hypervolume(above, zero) - hypervolume(above[:-1], zero)
    if not more > 0:
        return 0.0, front
    best = non_dominated(above, keep_duplicates=False)
    points, above = points[best], above[best]
    if len(points) > len(front):
        left = torch.ones(len(points), dtype=torch.bool)
        left[contributions(above, zero).argmin()] = False
        points = points[left]
    full = torch.full_like(front, torch.nan)
    full[: len(points)] = points
    return more, full
