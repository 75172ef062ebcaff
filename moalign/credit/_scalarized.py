"""What collapses share that make one number of a completion's rewards before advantages are estimated."""

from jaxtyping import Bool, Float
from torch import Tensor


class Scalarized:
    """Base of such collapses: subclasses define `before`, and nothing is left to add up after it."""

    def after(
        self,
        advantages: Float[Tensor, "member prompt group channel"],
        valid: Bool[Tensor, "member prompt group channel"],
        weights: Float[Tensor, "member #prompt #group objective"],
    ) -> Float[Tensor, "member prompt group channel"]:
        """Return the advantages: they are scalar already."""
        return advantages
