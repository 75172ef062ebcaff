"""The weighted distance from the ideal in a p-norm, between the weighted sum and Chebyshev."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.scalarizers._base import Scalarizer, check_at_least
from moalign.parts import register


@register(
    "scalarizer", "p-norm", test="tests/optimizers/test_distances.py::test_p_norm_value", paper="yu1973compromise"
)
@dataclass(frozen=True)
class PNorm(Scalarizer):
    r"""Minus a p-norm of the weighted regrets, :math:`-(\sum_k (w_k \max(0, z_k - r_k))^p)^{1/p}`.

    :math:`r` are ``rewards``, :math:`w` ``weights``, :math:`z` ``ideal``, :math:`p` ``p``: 1 is the weighted sum, and
    as it grows the utility becomes `Chebyshev`. What lies above the ideal is no regret, and no merit either. As u(E[r])
    (`FromScalarizer`) it reaches more of a front's concave part the larger p is; per sequence it optimises E[u(r)]. At
    the ideal the gradient is 0. Yu 1973, https://doi.org/10.1287/mnsc.19.8.936.

    >>> import torch
    >>> PNorm(p=2.0)(torch.tensor([0.4, 0.2]), torch.tensor([0.5, 0.5]), torch.ones(2))  # -sqrt(0.3^2 + 0.4^2)
    tensor(-0.5000)
    """

    skips_weightless: ClassVar[bool] = True

    p: float = 2.0

    def __post_init__(self) -> None:
        check_at_least(self.p, 1.0, "p")

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        regret = (weights * (ideal - rewards)).clamp(min=0)
        worst = regret.detach().amax(dim=-1, keepdim=True)  # taken out first: a power of a huge regret overflows
        there = worst > 0
        share = torch.where(there, regret / torch.where(there, worst, 1), 1)  # a root has no gradient at 0
        norm = worst * (share**self.p).sum(dim=-1, keepdim=True) ** (1 / self.p)
        return -torch.where(there, norm, 0).squeeze(-1)
