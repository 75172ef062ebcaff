"""Ordered weighted averaging: the worse an objective's regret, the more it counts."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.scalarizers._base import Scalarizer
from moalign.parts import register


@register("scalarizer", "owa", test="tests/optimizers/test_means.py::test_owa_value", paper="yager1988owa")
@dataclass(frozen=True)
class OWA(Scalarizer):
    r"""Minus the ordered average of the weighted regrets, :math:`-\sum_j v_j g_{(j)}`.

    .. math:: g_k = w_k (z_k - r_k), \qquad v_j = \gamma^{j-1} / \sum_i \gamma^{i-1}

    :math:`r` are ``rewards``, :math:`w` ``weights``, :math:`z` ``ideal``, :math:`g_{(1)}` the largest regret,
    :math:`\gamma` ``decay``: 1 is the plain average, and as it falls to 0 the utility becomes `Chebyshev`. Like a Gini
    welfare function it prefers to help the worst, but no objective ever stops counting. It is concave: as u(E[r])
    (`FromScalarizer`) it balances the means, per sequence, E[u(r)], the rewards of each. Tied objectives share the
    gradient. Yager 1988, https://doi.org/10.1109/21.87068.

    >>> import torch
    >>> OWA(decay=0.5)(torch.tensor([0.4, 1.0]), torch.tensor([0.5, 0.5]), torch.ones(2))  # -(2/3 * 0.3 + 1/3 * 0)
    tensor(-0.2000)
    """

    decay: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.decay <= 1.0:
            raise ConfigError(f"`decay` must be above 0 and at most 1, found {self.decay}; 1 is the plain average.")

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        regret = weights * (ideal - rewards)
        rank = regret.argsort(dim=-1, descending=True).argsort(dim=-1)
        by_rank = self.decay ** rank.to(regret)
        tied = (regret[..., None] == regret[..., None, :]).to(regret)  # whose order would be that of the names
        shared = (tied * by_rank[..., None, :]).sum(dim=-1) / tied.sum(dim=-1)
        return -(shared / shared.sum(dim=-1, keepdim=True) * regret).sum(dim=-1)
