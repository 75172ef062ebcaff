"""Offers: which behaviours of a trained policy are evaluated for the front."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.simplex import Simplex
from moalign.parts import register
from moalign.records import Policy, State

Offer = tuple[Policy, Float[Tensor, "point objective"], tuple[str, ...]]


@register("offer", "members", test="tests/training/test_offers.py::test_members_are_offered_as_they_are")
@dataclass(frozen=True)
class Members:
    """Offer the members themselves."""

    def __call__(self, policy: Policy, preferences: Float[Tensor, "member objective"], state: State) -> Offer:
        return policy, preferences, ("member",) * len(policy.members)


@register(
    "offer",
    "soups",
    paper="rame2023rewarded",
    test="tests/training/test_offers.py::test_soups_spread_over_the_specialists",
)
@dataclass(frozen=True)
class Soups:
    r"""Offer means of the members' parameters, :math:`\theta_s = \sum_k \lambda_{sk} \theta_k` (rewarded soups).

    :math:`\theta_k` is a member trained for one preference, usually a corner; :math:`\lambda` are ``count``
    well-spread points of the simplex over the members, corners included. A soup's preference is the same mean of
    the members' preferences. Ramé et al. 2023, arXiv:2306.04488.
    """

    count: int = 8

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"`count` is {self.count}; offer at least one soup.")

    def __call__(self, policy: Policy, preferences: Float[Tensor, "member objective"], state: State) -> Offer:
        shares = Simplex().points(policy.members, self.count).to(preferences)
        kinds = tuple("member" if float(row.max()) > 1 - 1e-6 else "soup" for row in shares)
        names = [f"s{i:02d}" for i in range(self.count)]
        return policy.mix(shares, names), shares @ preferences, kinds
