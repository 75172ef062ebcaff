"""The Chebyshev utility with a little of the weighted sum, which breaks its ties."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.scalarizers._base import Scalarizer, check_positive
from moalign.parts import register


@register(
    "scalarizer",
    "augmented-chebyshev",
    test="tests/optimizers/test_scalarizers.py::test_augmented_chebyshev_value",
    paper="steuer1983interactive",
)
@dataclass(frozen=True)
class AugmentedChebyshev(Scalarizer):
    r"""Worst weighted regret plus a share of all, :math:`-\max_k w_k (z_k - r_k) - \rho \sum_k w_k (z_k - r_k)`.

    :math:`r` are ``rewards``, :math:`w` ``weights``, :math:`z` ``ideal``, :math:`\rho` ``rho``. With positive weights
    it is strictly monotone: of (1, 0, 0) and (1, 1, 0), which tie for `Chebyshev`, it prefers the second. Per sequence
    it optimises E[u(r)], through `FromScalarizer` u(E[r]). Steuer and Choo 1983, https://doi.org/10.1007/BF02591870.

    >>> import torch
    >>> utility = AugmentedChebyshev(rho=0.1)
    >>> utility(torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.4, 0.3, 0.3]), torch.ones(3))  # -0.3 - 0.1 * 0.45
    tensor(-0.3450)
    """

    rho: float = 0.05

    def __post_init__(self) -> None:
        check_positive(self.rho, "rho")

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        regret = weights * (ideal - rewards)
        return -regret.amax(dim=-1) - self.rho * regret.sum(dim=-1)
