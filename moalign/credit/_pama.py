"""The vector becomes a number in the advantage: as much as every objective grants (PAMA)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.parts import register

Vector = Float[Tensor, "member prompt group objective"]
Mask = Bool[Tensor, "member prompt group objective"]


@register("collapse", "pama", paper="he2025pama", test="tests/credit/test_pama.py::test_worked_values")
@dataclass(frozen=True)
class PAMA:
    r"""Take of each completion's advantages the shortest convex combination, 0's nearest in
    :math:`[\min_k A_{ik}, \max_k A_{ik}]`.

    The channels' policy gradients at one completion are all multiples :math:`A_{ik}` of one vector, so that the
    shortest combination of gradients (`min_norm`) is :math:`\min_c (\sum_k c_k A_{ik})^2` over the simplex: without any
    gradient, in closed form (Theorem 1). With ``noon``, negative advantages are first set to 0 ("no negative"), as in
    the paper, and the smallest is left: a completion is taught only as far as it was good for every objective. Without,
    any two objectives that disagree leave 0.

    The theorem has one number per objective. Here these are a completion's; with the batch's means all completions
    would get the same advantage. It knows no wishes: of the ``weights`` only zeros count, which leave an objective out,
    as a missing reward is. He and Maghsudi 2025, arXiv:2508.07768; their clipping is the surrogate's.
    """

    noon: bool = True

    def before(
        self, values: Vector, valid: Mask, weights: Float[Tensor, "member #prompt #group objective"], ideal: Tensor
    ) -> tuple[Vector, Mask]:
        """Return the rewards as they are: estimators see one objective at a time."""
        return values, valid

    def after(
        self, advantages: Vector, valid: Mask, weights: Float[Tensor, "member #prompt #group objective"]
    ) -> Float[Tensor, "member prompt group 1"]:
        """Return the number between a completion's least and largest advantage that is nearest to 0."""
        there = valid & (weights != 0)
        seen = advantages.clamp(min=0.0) if self.noon else advantages
        low = torch.where(there, seen, torch.inf).amin(dim=-1, keepdim=True)
        high = torch.where(there, seen, -torch.inf).amax(dim=-1, keepdim=True)
        nearest = torch.zeros_like(low).maximum(low).minimum(high)
        return torch.where(there.any(dim=-1, keepdim=True), nearest, 0.0)
