"""The vector becomes a number in the advantage: one advantage per objective, then their weighted sum."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.parts import register

Vector = Float[Tensor, "member prompt group objective"]
Mask = Bool[Tensor, "member prompt group objective"]


@register(
    "collapse", "at-advantage", paper="ichihara2025mogrpo", test="tests/credit/test_collapses.py::test_golden_mo_grpo"
)
@dataclass(frozen=True)
class AtAdvantage:
    r"""Estimate each objective's advantage by itself, then add them, :math:`A_i=\sum_k w_k A_{ik}` (MO-GRPO).

    :math:`w` ``weights``, :math:`A_{ik}` the estimator's advantage of objective :math:`k`. With an estimator that
    scales, a weight means the same whatever the unit or the difficulty of its objective. A missing reward adds 0.
    Ichihara et al. 2025, arXiv:2509.22047.
    """

    def before(
        self, values: Vector, valid: Mask, weights: Float[Tensor, "member #prompt #group objective"], ideal: Tensor
    ) -> tuple[Vector, Mask]:
        """Return the rewards as they are: estimators see one objective at a time."""
        return values, valid

    def after(
        self, advantages: Vector, valid: Mask, weights: Float[Tensor, "member #prompt #group objective"]
    ) -> Float[Tensor, "member prompt group 1"]:
        """Return the weighted sum over objectives."""
        return (torch.where(valid, advantages, 0) * weights.to(advantages)).sum(-1, keepdim=True)
