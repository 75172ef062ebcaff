"""Thresholds that are searched for while a member trains: where is a proxy still worth raising?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.weights import nelder_mead, simplex_at
from moalign.parts import check_names, look_up_names, part, register
from moalign.records import Metrics, Rows, Setting, Signals, State
from moalign.weighting.controller import Controller, Weights
from moalign.weighting.lagrangian import Lagrangian
from moalign.weighting.statistics import declared_range, per_member_copy

SEARCH = ("points", "scores", "trial", "kept", "kept_score", "phase")


@register(
    "controller",
    "threshold-search",
    paper="moskovitz2023constrained",
    test="tests/weighting/test_threshold_search.py::test_finds_the_threshold_beyond_which_the_goal_falls",
)
@dataclass(frozen=True)
class ThresholdSearch(Controller):
    """Hold objectives at thresholds by `lagrangian`, and move these within the run to where `goal` is highest.

    Each member searches by Nelder and Mead, starting at the study's thresholds: one vertex there and one for each
    threshold raised by `width` of the objective's declared range (without one, of its size). A trial is held for
    `hold` steps and worth the mean of `goal` in the second half of them; it stays within the declared bounds. `goal`
    is an objective without a threshold; it judges and is given no weight. If it is the only one without, the
    preference is spread equally over those that have one.

    Means are noisy and the member moves meanwhile, so a trial's worth is a guess: choose `hold` long enough for the
    mean to reach its threshold. Moskovitz et al. 2023, arXiv:2310.04373, whose held objectives are reward models, and
    whose goal is an evaluation that is not trained; their equality constraints are not offered here.
    """

    holds_thresholds: ClassVar[bool] = True

    goal: str = ""
    lagrangian: Any = part("controller", Lagrangian())
    hold: int = 20
    width: float = 0.1

    def __post_init__(self) -> None:
        look_up_names(self)
        if not isinstance(self.lagrangian, Lagrangian):
            raise ConfigError(f"`lagrangian` must be that controller, got {type(self.lagrangian).__name__}.")
        if self.hold < 2 or not self.width > 0:
            raise ConfigError(f"{self}: `hold` must be at least 2 steps and `width` positive.")

    @property
    def objectives(self) -> tuple[str, ...]:
        return (self.goal,) if self.goal else ()

    def problems(self, recipe: Any) -> list[str]:
        return (
            [] if self.goal else ["`goal` of `weighting='threshold-search'` names the objective that judges; set it."]
        )

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        check_names([self.goal], setting.names, "goal")
        goal = torch.tensor([name == self.goal for name in setting.names])
        held = ~setting.thresholds.isnan()
        if bool((held & goal).any()) or not bool(held.any()):
            raise ConfigError(f"`goal` `{self.goal}` must have no `threshold`, and some other objective must have one.")
        wish = preferences.masked_fill(goal, 0.0)
        wish = torch.where(wish.sum(1, keepdim=True) > 0, wish, held.to(wish))
        state = self.lagrangian.init(wish, setting)
        search = simplex_at(self._vertices(setting).to(preferences))
        each = {name: value.expand(len(preferences), *value.shape).clone() for name, value in search.items()}
        lone = preferences.new_zeros(len(preferences))
        return {
            **state,
            **each,
            "threshold": each["trial"].clone(),
            "declared": per_member_copy(setting.thresholds.to(preferences), len(preferences)),
            "ideal": per_member_copy(setting.ideal.to(preferences), len(preferences)),
            "goal": goal.expand(len(preferences), -1).clone(),
            "worth": lone.clone(),
            "heard": lone.clone(),
            "held": torch.zeros(len(preferences), dtype=torch.long),
        }

    def _vertices(self, setting: Setting) -> Float[Tensor, "vertex objective"]:
        start, unit = setting.thresholds, declared_range(setting)
        size = torch.where(start != 0, start.abs(), 1.0)
        points = [start]
        for k in sorted(range(len(start)), key=lambda k: setting.names[k]):  # by name: an order must not matter
            if not bool(start[k].isnan()):
                moved = start.clone()
                moved[k] += self.width * (size[k] if bool(unit[k].isnan()) else unit[k])
                points.append(_within(moved, setting.nadir, setting.ideal))
        return torch.stack(points)

    def weigh(self, state: State, rows: Rows) -> Weights:
        return self.lagrangian.weigh(state, rows)

    def observe(self, state: State, signals: Signals) -> State:
        state = self.lagrangian.observe(state, signals)
        found = torch.where(state["goal"], signals.means.to(state["worth"]), 0.0).sum(dim=1)
        counts = (state["held"] >= self.hold // 2) & found.isfinite()
        held = state["held"] + 1
        worth = state["worth"] + torch.where(counts, found, 0.0)
        heard = state["heard"] + counts
        done = held >= self.hold
        new = {name: state[name].clone() for name in (*SEARCH, "threshold")}
        for m in (done & (heard > 0)).nonzero()[:, 0].tolist():
            moved = nelder_mead({name: new[name][m].clone() for name in SEARCH}, worth[m] / heard[m])
            moved["trial"] = _within(moved["trial"], state["nadir"][m], state["ideal"][m])
            for name in SEARCH:
                new[name][m] = moved[name]
            new["threshold"][m] = moved["trial"]
        return {
            **state,
            **new,
            "held": torch.where(done, 0, held),
            "worth": torch.where(done, 0.0, worth),
            "heard": torch.where(done, 0.0, heard),
        }

    def metrics(self, state: State, names: tuple[str, ...]) -> Metrics:
        found = self.lagrangian.metrics(state, names)
        for k, name in enumerate(names):
            if not bool(state["declared"][:, k].isnan().all()):
                found[f"constraint/{name}/raised"] = state["threshold"][:, k] - state["declared"][:, k]
        return found


def _within(point: Tensor, nadir: Tensor, ideal: Tensor) -> Tensor:
    """Return a point within the declared bounds, where there are any."""
    return torch.where(point.isnan(), point, torch.fmin(torch.fmax(point, nadir), ideal))
