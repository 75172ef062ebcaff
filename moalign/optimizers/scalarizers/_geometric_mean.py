"""The weighted geometric mean: no objective makes up for one that is near its worst."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.scalarizers._base import check_positive
from moalign.optimizers.scalarizers._named import Named, Real, names_in
from moalign.parts import register


@register(
    "scalarizer",
    "geometric-mean",
    test="tests/optimizers/test_means.py::test_geometric_mean_value",
    paper="nash1950bargaining",
)
@dataclass(frozen=True)
class GeometricMean(Named):
    r"""Weighted geometric mean of the gains, :math:`\prod_k (r_k - z_k)^{w_k / \sum_j w_j}`.

    :math:`r` are ``rewards``, :math:`w` ``weights``, :math:`z` the ``reference``: one number for all objectives, or by
    name; the ``ideal`` plays no part. Weights belong in the exponents: as factors they would leave the order of points
    as it is. Below ``epsilon`` a gain's logarithm goes on along its tangent, so that an objective at its reference has
    a slope, and is pulled up hardest. Per sequence, E[u(r)], it prefers rewards that are balanced one by one; as
    u(E[r]) (`FromScalarizer`, with slopes as w / (r - z)) it is the Nash bargaining solution of the means, :math:`z`
    being what is had without an agreement. Nash 1950, https://doi.org/10.2307/1907266.

    >>> import torch
    >>> GeometricMean()(torch.tensor([0.4, 0.9]), torch.tensor([0.5, 0.5]), torch.ones(2))  # sqrt(0.4 * 0.9)
    tensor(0.6000)
    """

    skips_weightless: ClassVar[bool] = True

    reference: Real | Mapping[str, Real] = 0.0
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        check_positive(self.epsilon, "epsilon")

    @property
    def objectives(self) -> tuple[str, ...]:
        return names_in(self.reference)

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        gain = rewards - self.point(self.reference, "reference", rewards)
        low = gain < self.epsilon
        tangent = torch.where(low, gain, self.epsilon) / self.epsilon - 1
        tangent = tangent.clamp(min=torch.finfo(rewards.dtype).min)  # a weight of 0 times minus infinity has no value
        logarithm = torch.where(low, self.epsilon, gain).log() + tangent
        return (shares(weights) * logarithm).sum(dim=-1).exp()


def shares(weights: Float[Tensor, "*batch objective"]) -> Float[Tensor, "*batch objective"]:
    """Return weights divided by their sum; zeros stay."""
    total = weights.sum(dim=-1, keepdim=True)
    return weights / torch.where(total > 0, total, 1)
