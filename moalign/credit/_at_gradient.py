"""The vector becomes a number later: every objective keeps its own channel, until the placement or the update."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from moalign.parts import register

Vector = Float[Tensor, "member prompt group objective"]
Mask = Bool[Tensor, "member prompt group objective"]


@register("collapse", "at-gradient", test="tests/credit/test_collapses.py::test_at_gradient_keeps_objectives_apart")
@dataclass(frozen=True)
class AtGradient:
    """Keep one advantage per objective as channels; the update's mixer applies the weights to their gradients.

    Under a placement that adds objectives up token by token (`Routed`) it is that which applies the weights.
    """

    def before(
        self, values: Vector, valid: Mask, weights: Float[Tensor, "member #prompt #group objective"], ideal: Tensor
    ) -> tuple[Vector, Mask]:
        """Return the rewards as they are."""
        return values, valid

    def after(
        self, advantages: Vector, valid: Mask, weights: Float[Tensor, "member #prompt #group objective"]
    ) -> Vector:
        """Return the advantages as they are: weighting them here as well would count the weights twice."""
        return advantages
