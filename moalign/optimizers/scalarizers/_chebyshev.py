"""The weighted Chebyshev utility: minus the worst weighted regret."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.scalarizers._base import Scalarizer
from moalign.parts import register


@register(
    "scalarizer",
    "chebyshev",
    test="tests/optimizers/test_scalarizers.py::test_chebyshev_value",
    paper="bowman1976tchebycheff",
)
@dataclass(frozen=True)
class Chebyshev(Scalarizer):
    r"""Minus the worst weighted regret, :math:`-\max_k w_k (z_k - r_k)`.

    :math:`r` are ``rewards``, :math:`w` ``weights``, :math:`z` the ``ideal``, which should be at least as large as any
    reward. As u(E[r]) it reaches every point of a front, concave parts too; as E[u(r)] per sequence it rewards
    sequences that are balanced one by one. Points that differ only in the better objectives tie (see
    `AugmentedChebyshev`). Where several objectives are worst they share the gradient. Bowman 1976,
    https://doi.org/10.1007/978-3-642-87563-2_5.

    >>> import torch
    >>> Chebyshev()(torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.4, 0.3, 0.3]), torch.ones(3))  # -max(0, 0.3, 0.15)
    tensor(-0.3000)
    """

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        return -(weights * (ideal - rewards)).amax(dim=-1)
