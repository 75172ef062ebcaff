"""Credit for losses that weigh the objectives themselves: no advantage, only each row's weights."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.parts import register
from moalign.records import Credit, Rows, State


@register(
    "credit",
    "carried-weights",
    paper="zhou2023modpo",
    test="tests/credit/test_carried_weights.py::test_every_row_carries_its_weights",
)
@dataclass(frozen=True)
class CarriedWeights:
    """Hand each row the controller's weights, in `Credit.targets`; advantages are 0 and a gain has nothing to size.

    A loss sees only ``(outputs, rows, credit)``. Of a credit, `targets` has one number per row and objective, passes
    reductions and mixers untouched, and is free wherever no value head is trained.
    """

    scales_objectives: ClassVar[bool] = False

    def init(self, members: int, objectives: int) -> State:
        """Return the empty state: nothing is remembered."""
        return {}

    def __call__(
        self,
        rows: Rows,
        weights: Float[Tensor, "member #prompt #group objective"],
        gain: Float[Tensor, "member"],
        state: State,
    ) -> tuple[Credit, State]:
        _, prompts, group = rows.slots()
        carried = rows.flat(weights.expand(rows.members, prompts, group, -1))
        return Credit(torch.zeros((*rows.tokens.shape, 1), device=rows.tokens.device), targets=carried), state
