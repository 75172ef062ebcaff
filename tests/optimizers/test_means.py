"""Means: ordered weighted averages and geometric means, and the smooth Chebyshev that a schedule anneals."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.scalarizers import OWA, Axes, Chebyshev, GeometricMean, Linear, SmoothChebyshev
from moalign.parts import Linear as Ramp
from moalign.parts import PerMember

REWARDS, WEIGHTS, IDEAL = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.4, 0.3, 0.3]), torch.ones(3)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_owa_value() -> None:
    # regrets 0, 0.3, 0.15 in falling order against 4/7, 2/7, 1/7
    assert_close(OWA(decay=0.5)(REWARDS, WEIGHTS, IDEAL), torch.tensor(-(4 * 0.3 + 2 * 0.15) / 7))


def test_owa_is_the_worst_order_of_its_weights() -> None:
    # falling weights on falling regrets: no assignment of the weights gives a smaller utility
    rewards, weights, ideal = rand(30, 4), rand(4, seed=1), torch.ones(4).double()
    shares = torch.tensor([0.3**k for k in range(4)]).double()
    regrets, shares = weights * (ideal - rewards), shares / shares.sum()
    slow = [
        -max(sum(s * g for s, g in zip(p, row)) for p in itertools.permutations(shares)) for row in regrets.tolist()
    ]
    assert_close(OWA(decay=0.3)(rewards, weights, ideal), torch.tensor(slow).double())


def test_owa_lies_between_the_average_and_the_worst() -> None:
    rewards, equal = rand(20, 3), torch.full((3,), 1 / 3).double()
    ideal = torch.ones(3).double()
    average = Linear()(rewards, equal, ideal) / 3 - 1 / 3  # the mean of regrets r/3 - 1/3
    assert_close(OWA(decay=1.0)(rewards, equal, ideal), average)
    assert_close(OWA(decay=1e-9)(rewards, equal, ideal), Chebyshev()(rewards, equal, ideal))


def test_tied_objectives_of_owa_share_the_gradient() -> None:
    rewards = torch.tensor([0.5, 0.5, 0.9], requires_grad=True)
    (slope,) = torch.autograd.grad(OWA(decay=0.5)(rewards, torch.ones(3), IDEAL), rewards)
    assert_close(slope, torch.tensor([3.0, 3.0, 1.0]) / 7)  # (4 + 2) / 2 each


def test_geometric_mean_value() -> None:
    # gains 0.4 - -0.1 and 50 tokens below 100: 0.5^0.25 * 50^0.75
    utility = GeometricMean({"score": -0.1, "tokens": 100}).told(Axes(("score", "tokens"), (1, -1)))
    got = utility(torch.tensor([0.4, -50.0]), torch.tensor([1.0, 3.0]), torch.ones(2))
    assert_close(got, torch.tensor(0.5**0.25 * 50**0.75))


def test_geometric_mean_goes_on_below_its_reference() -> None:
    # log 0.01 + (0 - 0.01) / 0.01 at a gain of 0, joined without a step in value or slope at 0.01
    utility, weights = GeometricMean(epsilon=0.01), torch.tensor([0.5, 0.5]).double()
    at = lambda gain: utility(torch.tensor([gain, 1.0], dtype=torch.float64), weights, torch.ones(2).double())  # noqa: E731
    assert_close(at(0.0), torch.tensor(math.exp(0.5 * (math.log(0.01) - 1))).double())
    assert 0 < at(-0.1) < at(0.0) < at(0.009999) < at(0.010001)
    below, above = (at(0.01) - at(0.01 - 1e-7)) / 1e-7, (at(0.01 + 1e-7) - at(0.01)) / 1e-7
    assert_close(below, above, rtol=1e-4, atol=0)


def test_slopes_of_the_geometric_mean_are_those_of_a_nash_product() -> None:
    rewards = torch.tensor([0.2, 0.8], requires_grad=True)
    (slope,) = torch.autograd.grad(GeometricMean()(rewards, torch.tensor([0.5, 0.5]), torch.ones(2)), rewards)
    assert_close(slope / slope.sum(), torch.tensor([0.8, 0.2]))  # 0.5 / 0.2 to 0.5 / 0.8


def test_each_member_may_have_its_own_softness() -> None:
    rewards = rand(2, 3, 4, 2)
    weights, ideal = torch.full((2, 1, 1, 2), 0.5).double(), torch.ones(2).double()
    both = SmoothChebyshev(mu=torch.tensor([1.0, 0.01]))(rewards, weights, ideal)
    for member, mu in enumerate((1.0, 0.01)):
        assert_close(
            both[member], SmoothChebyshev(mu=mu)(rewards[member], weights[member], ideal), atol=1e-6, rtol=1e-6
        )


def test_softness_may_be_a_schedule() -> None:
    assert SmoothChebyshev(mu=Ramp(1.0, 0.02)).mu == Ramp(1.0, 0.02)
    with pytest.raises(ConfigError, match=r"`mu` must be positive and finite, found 0.0"):
        SmoothChebyshev(mu=PerMember([1.0, 0.0]))


@pytest.mark.parametrize("value", [0.0, 1.5, float("nan")])
def test_refuses_a_decay_that_does_not_decay(value: float) -> None:
    with pytest.raises(ConfigError, match="`decay` must be above 0 and at most 1"):
        OWA(decay=value)
