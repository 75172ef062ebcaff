"""Weights that do not move: each member's preference."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from moalign.parts import register
from moalign.records import Rows, Setting, State
from moalign.weighting.controller import Controller, Weights, on_simplex, per_member


@register("controller", "constant", test="tests/weighting/test_constant.py::test_weights_are_the_preferences")
@dataclass(frozen=True)
class Constant(Controller):
    """Weigh the objectives by each member's preference, divided by its sum."""

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        return {"preference": on_simplex(preferences, setting)}

    def weigh(self, state: State, rows: Rows) -> Weights:
        return per_member(state["preference"])
