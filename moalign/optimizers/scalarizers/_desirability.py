"""Desirability: every objective on its own curve to [0, 1], then one geometric mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.scalarizers._curves import Curve, Maximum
from moalign.optimizers.scalarizers._geometric_mean import shares
from moalign.optimizers.scalarizers._named import Named
from moalign.parts import register


@register(
    "scalarizer",
    "desirability",
    test="tests/optimizers/test_desirability.py::test_value_by_hand",
    paper="derringer1980simultaneous",
)
@dataclass(frozen=True)
class Desirability(Named):
    r"""Weighted geometric mean of desirabilities, :math:`\prod_k d_k(y_k)^{w_k / \sum_j w_j}`, in [0, 1].

    :math:`d_k` is the curve of an objective in ``curves``, of its value :math:`y_k` in its own sign and unit:
    `Maximum`, `Minimum`, `Target`, `Box` or `Through`; :math:`w` ``weights``, of which equal ones are the paper's.
    Without any curves each objective has ``Maximum(0, 1)`` of the larger-is-better reward; the ``ideal`` plays no part.
    One worthless objective that has weight makes all worthless, and then nothing has a slope: a ``floor`` above 0 is
    the least desirability there is, and forgives. Whether more is better is for the curves to say. Per sequence it
    optimises E[u(r)], which suits limits that each sequence must meet; through `FromScalarizer`, u(E[r]), limits of the
    means.
    Derringer and Suich 1980, https://doi.org/10.1080/00224065.1980.11980968.

    >>> from moalign.optimizers.scalarizers import Axes, Minimum
    >>> utility = Desirability({"correct": Maximum(0, 1), "tokens": Minimum(100, 300)})
    >>> utility = utility.told(Axes(("correct", "tokens"), (1, -1)))  # a study does this
    >>> utility(torch.tensor([[0.64, -200.0], [0.64, -400.0]]), torch.ones(2), torch.ones(2))  # sqrt(0.64 * 0.5), veto
    tensor([0.5657, 0.0000])
    """

    monotone: ClassVar[bool] = False
    skips_weightless: ClassVar[bool] = True

    curves: Mapping[str, Curve] = field(default_factory=dict)
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.floor < 1.0:
            raise ConfigError(f"`floor` must be at least 0 and below 1, found {self.floor}; 0 is a veto.")

    @property
    def objectives(self) -> tuple[str, ...]:
        return tuple(self.curves)

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        each = self._desirabilities(rewards).clamp(min=self.floor)
        weighed, worthless = weights > 0, each <= 0
        logarithm = torch.where(worthless, 1, each).log()
        mean = (shares(weights) * logarithm).sum(dim=-1).exp()
        return torch.where((weighed & worthless).any(dim=-1), 0, mean)

    def _desirabilities(self, rewards: Float[Tensor, "*batch objective"]) -> Float[Tensor, "*batch objective"]:
        if not self.curves:
            return Maximum(0, 1)(rewards)
        axes = self.known_axes(rewards)
        lacking = [name for name in axes.names if name not in self.curves]
        if lacking:
            raise ConfigError(f"`curves` has none for {', '.join(lacking)}; give one for each objective.")
        own = rewards * rewards.new_tensor(axes.signs)
        return torch.stack([self.curves[name](own[..., k]) for k, name in enumerate(axes.names)], dim=-1)
