"""Penalty boundary intersection: progress along a direction, less what leaves it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.scalarizers._base import Scalarizer, check_at_least
from moalign.optimizers.scalarizers._named import Named, Real, names_in
from moalign.parts import register


@register("scalarizer", "pbi", test="tests/optimizers/test_distances.py::test_pbi_value", paper="zhang2007moead")
@dataclass(frozen=True)
class PBI(Scalarizer):
    r"""Minus the distance from the ideal along a direction, and off it, :math:`-(d_1 + \theta d_2)`.

    .. math:: d_1 = \hat w \cdot (z - r), \qquad d_2 = \lVert (z - r) - d_1 \hat w \rVert

    :math:`r` are ``rewards``, :math:`\hat w` ``weights`` at length 1, :math:`z` ``ideal``, :math:`\theta` ``theta``.
    The weights say where the *regret* lies: the objective of a larger weight gives way, unlike everywhere else; see
    `InvertedPBI`. With a large penalty a dominating point may be worth less, for it lies off the direction. As u(E[r])
    (`FromScalarizer`) it reaches every front that the direction meets; per sequence it optimises E[u(r)]. On the
    direction itself the distance off it has the gradient 0. Zhang and Li 2007, https://doi.org/10.1109/TEVC.2007.892759.

    >>> import torch
    >>> PBI(theta=5.0)(torch.tensor([0.0, 1.0]), torch.tensor([0.6, 0.8]), torch.ones(2))  # -(0.6 + 5 * 0.8)
    tensor(-4.6000)
    """

    monotone: ClassVar[bool] = False
    leans: ClassVar[bool] = False

    theta: float = 5.0

    def __post_init__(self) -> None:
        check_at_least(self.theta, 0.0, "theta")

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        along, off = split(ideal - rewards, weights)
        return -(along + self.theta * off)


@register(
    "scalarizer",
    "inverted-pbi",
    test="tests/optimizers/test_distances.py::test_inverted_pbi_value",
    paper="sato2014inverted",
)
@dataclass(frozen=True)
class InvertedPBI(Named):
    r"""Distance from a worst point along a direction, less that off it, :math:`d_1 - \theta d_2`.

    .. math:: d_1 = \hat w \cdot (r - z), \qquad d_2 = \lVert (r - z) - d_1 \hat w \rVert

    :math:`r` are ``rewards``, :math:`\hat w` ``weights`` at length 1, :math:`z` the ``reference``: one number for all
    objectives, or by name, :math:`\theta` ``theta``. A larger weight asks for more; the ``ideal`` plays no part. A
    dominating point may be worth less, for it lies off the direction. Per sequence it optimises E[u(r)], through
    `FromScalarizer` u(E[r]). Sato 2014, https://doi.org/10.1145/2576768.2598297.

    >>> import torch
    >>> InvertedPBI(theta=0.1)(torch.tensor([1.0, 0.0]), torch.tensor([0.6, 0.8]), torch.ones(2))  # 0.6 - 0.1 * 0.8
    tensor(0.5200)
    """

    monotone: ClassVar[bool] = False

    reference: Real | Mapping[str, Real] = 0.0
    theta: float = 0.1

    def __post_init__(self) -> None:
        check_at_least(self.theta, 0.0, "theta")

    @property
    def objectives(self) -> tuple[str, ...]:
        return names_in(self.reference)

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        along, off = split(rewards - self.point(self.reference, "reference", rewards), weights)
        return along - self.theta * off


def split(
    vector: Float[Tensor, "*batch objective"], direction: Float[Tensor, "*#batch objective"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return the length of a vector along a direction and the length of the rest; without a direction all is rest."""
    unit = torch.nn.functional.normalize(direction, dim=-1)
    along = (unit * vector).sum(dim=-1)
    return along, length(vector - along[..., None] * unit)


def length(vector: Float[Tensor, "*batch objective"]) -> Float[Tensor, "*batch"]:
    """Return Euclidean lengths, whose squares may overflow though they do not; the gradient at 0 is 0."""
    size = vector.detach().abs().amax(dim=-1, keepdim=True)
    size = torch.where(size > 0, size, 1)
    return size.squeeze(-1) * torch.linalg.vector_norm(vector / size, dim=-1)
