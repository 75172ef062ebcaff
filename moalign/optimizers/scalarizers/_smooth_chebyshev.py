"""The smooth Chebyshev utility: a soft maximum of the weighted regrets."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.scalarizers._base import Scalarizer, along_members, check_positive
from moalign.parts import Knob, register


@register(
    "scalarizer",
    "smooth-chebyshev",
    test="tests/optimizers/test_scalarizers.py::test_smooth_chebyshev_value",
    paper="lin2024smooth",
)
@dataclass(frozen=True)
class SmoothChebyshev(Scalarizer):
    r"""Soft worst regret, :math:`-\mu \log \sum_k \exp(w_k (z_k - r_k) / \mu)`.

    :math:`r` are ``rewards``, :math:`w` ``weights``, :math:`z` ``ideal``, :math:`\mu` ``mu``: as it falls to 0 the
    utility becomes `Chebyshev`, from below and by at most :math:`\mu \log m` for :math:`m` objectives; as it grows the
    gradient becomes that of the weighted sum. So a schedule anneals it, ``mu=Linear(1.0, 0.02)``: every objective
    counts at first, and the worst one in the end. Per sequence it optimises E[u(r)], through `FromScalarizer` u(E[r]).
    Lin et al. 2024, arXiv:2402.19078.

    >>> import torch
    >>> SmoothChebyshev(mu=1.0)(torch.zeros(2), torch.tensor([0.5, 0.5]), torch.tensor([1.0, 3.0]))
    tensor(-1.8133)
    """

    mu: Knob = 0.1

    def __post_init__(self) -> None:
        check_positive(self.mu, "mu")

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        regret = weights * (ideal - rewards)
        worst = regret.detach().amax(dim=-1, keepdim=True)  # taken out first: regret / mu may overflow, a gap may not
        mu = along_members(self.mu, worst)
        soft = mu * ((regret - worst) / mu).logsumexp(dim=-1, keepdim=True)
        return -(worst + soft).squeeze(-1)
