"""The achievement function: how far the worst objective lies above what somebody aspires to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.scalarizers._base import check_at_least
from moalign.optimizers.scalarizers._named import Named, Real
from moalign.parts import register


@register(
    "scalarizer",
    "achievement",
    test="tests/optimizers/test_distances.py::test_achievement_value",
    paper="wierzbicki1982satisficing",
)
@dataclass(frozen=True)
class Achievement(Named):
    r"""Worst weighted surplus and a share of all, :math:`\min_k w_k (r_k - a_k) + \rho \sum_k w_k (r_k - a_k)`.

    :math:`r` are ``rewards``, :math:`w` ``weights``, :math:`\rho` ``rho``, of which 0 leaves the plain function,
    :math:`a` the levels aspired to: ``aspiration`` by name, the ``ideal`` for an objective that it does not name. A
    level may be out of reach, as the ideal is for `AugmentedChebyshev`, or reached: then the utility is positive, and
    asks for the same surplus everywhere instead of stopping. Per sequence it optimises E[u(r)], through
    `FromScalarizer` u(E[r]). Wierzbicki 1982, https://doi.org/10.1016/0270-0255(82)90038-0.

    >>> import torch
    >>> from moalign.optimizers.scalarizers import Axes
    >>> utility = Achievement({"a": 0.5, "b": 0.2}, rho=0.0).told(Axes(("a", "b"), (1, 1)))
    >>> utility(torch.tensor([0.9, 0.8]), torch.tensor([0.5, 0.5]), torch.ones(2))  # 0.5 * min(0.4, 0.6)
    tensor(0.2000)
    """

    aspiration: Mapping[str, Real] = field(default_factory=dict)
    rho: float = 0.05

    def __post_init__(self) -> None:
        check_at_least(self.rho, 0.0, "rho")

    @property
    def in_own_units(self) -> bool:
        return bool(self.aspiration)

    @property
    def objectives(self) -> tuple[str, ...]:
        return tuple(self.aspiration)

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        surplus = weights * (rewards - self._levels(rewards, ideal))
        return surplus.amin(dim=-1) + self.rho * surplus.sum(dim=-1)

    def _levels(
        self, rewards: Float[Tensor, "*batch objective"], ideal: Float[Tensor, "*#batch objective"]
    ) -> Float[Tensor, "*#batch objective"]:
        if not self.aspiration:
            return ideal
        axes = self.known_axes(rewards)
        own = [sign * float(self.aspiration.get(name, torch.nan)) for name, sign in zip(axes.names, axes.signs)]
        level = rewards.new_tensor(own)
        return torch.where(level.isnan(), ideal, level)
