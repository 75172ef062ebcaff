"""What a normalizer returns: a map that moves rewards and everything that is measured in their unit."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Affine:
    """The map (x − shift) / scale, fitted once and applied to rewards, ideals and thresholds alike.

    A z-scored reward held against a raw ideal would reorder samples, so whatever a scalarizer compares moves together.

    >>> import torch
    >>> Affine(torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 4.0))(torch.full((1, 3, 5, 1), 10.0)).unique()
    tensor([2.])
    """

    shift: Float[Tensor, "member #prompt #group objective"]
    scale: Float[Tensor, "member #prompt #group objective"]

    def __call__(self, x: Float[Tensor, "member _ _ objective"]) -> Float[Tensor, "member _ _ objective"]:
        return (x - self.shift) / self.scale
