"""Weights that move, over the run, from each member's preference to a given weighting."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import check_names, register
from moalign.records import Rows, Setting, Signals, State
from moalign.weighting.controller import Controller, Weights, on_simplex, per_member
from moalign.weighting.statistics import per_member_copy


@register("controller", "schedule", test="tests/weighting/test_schedule.py::test_moves_linearly_between_begin_and_end")
@dataclass(frozen=True)
class Scheduled(Controller):
    r"""Move the weights along a straight line, :math:`w = (1 - a)\, p + a\, t`.

    :math:`p` the member's preference, :math:`t` the weighting ``to`` (by objective name, divided by its sum; objectives
    not named get 0), :math:`a` rises from 0 to 1 while progress goes from ``begin`` to ``end``. Progress is known after
    a step, so the weights of a step are those of the progress the step before it reported.
    """

    to: Mapping[str, float] = field(default_factory=dict)
    begin: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end <= 1:
            raise ConfigError(
                f"`begin` and `end` are shares of the run with 0 <= begin < end <= 1, got {self.begin} and {self.end}."
            )

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        check_names(self.to, setting.names, "to")
        if any(value < 0 for value in self.to.values()) or not sum(self.to.values()) > 0:
            raise ConfigError(
                f"`to` must name at least one objective of {', '.join(setting.names)} with a positive weight and none "
                f"with a negative one, got {dict(self.to)}."
            )
        target = torch.tensor([self.to.get(name, 0.0) for name in setting.names]).to(preferences)
        return {
            "preference": on_simplex(preferences, setting),
            "to": per_member_copy(target / target.sum(), len(preferences)),
            "progress": preferences.new_zeros(len(preferences)),
        }

    def weigh(self, state: State, rows: Rows) -> Weights:
        moved = ((state["progress"] - self.begin) / (self.end - self.begin)).clamp(0, 1)[:, None]
        return per_member((1 - moved) * state["preference"] + moved * state["to"])

    def observe(self, state: State, signals: Signals) -> State:
        return {**state, "progress": torch.full_like(state["progress"], signals.progress)}
