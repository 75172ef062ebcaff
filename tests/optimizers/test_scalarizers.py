"""Scalarizers: golden values with their arithmetic, and properties that all of them share."""

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.scalarizers import AugmentedChebyshev, Chebyshev, Linear, Scalarizer, SmoothChebyshev
from moalign.parts import build, named

REWARDS, WEIGHTS, IDEAL = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.4, 0.3, 0.3]), torch.ones(3)

everyone = pytest.mark.parametrize(
    "scalarizer", [Linear(), Chebyshev(), AugmentedChebyshev(), SmoothChebyshev(), SmoothChebyshev(mu=1e-3)], ids=str
)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_linear_value() -> None:
    assert_close(Linear()(REWARDS, WEIGHTS, IDEAL), torch.tensor(0.4 * 1 + 0.3 * 0 + 0.3 * 0.5))
    assert_close(Linear()(REWARDS, WEIGHTS, torch.full((3,), torch.nan)), torch.tensor(0.55))  # needs no ideal


def test_chebyshev_value() -> None:
    # regrets 0.4 * 0, 0.3 * 1, 0.3 * 0.5
    assert_close(Chebyshev()(REWARDS, WEIGHTS, IDEAL), torch.tensor(-0.3))


def test_augmented_chebyshev_value() -> None:
    assert_close(AugmentedChebyshev(rho=0.05)(REWARDS, WEIGHTS, IDEAL), torch.tensor(-0.3 - 0.05 * (0.3 + 0.15)))


def test_augmented_chebyshev_breaks_the_tie() -> None:
    # equal weights and ideal 1: the worst regret of both is that of the third objective
    pair, weights = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]), torch.full((3,), 1 / 3)
    plain = Chebyshev()(pair, weights, IDEAL)
    assert plain[0] == plain[1]
    augmented = AugmentedChebyshev()(pair, weights, IDEAL)
    assert augmented[1] > augmented[0]


@pytest.mark.parametrize(("mu", "expected"), [(1.0, -1.2561), (0.1, -0.32413), (0.01, -0.30000)])
def test_smooth_chebyshev_value(mu: float, expected: float) -> None:
    # -mu log(e^0 + e^(0.3 / mu) + e^(0.15 / mu)); at mu = 1: -log(1 + 1.34986 + 1.16183)
    assert_close(SmoothChebyshev(mu=mu)(REWARDS, WEIGHTS, IDEAL), torch.tensor(expected), atol=5e-5, rtol=0)


@pytest.mark.parametrize("mu", [1.0, 0.1, 1e-4])
def test_smooth_chebyshev_lies_below_chebyshev_by_at_most_mu_log_m(mu: float) -> None:
    rewards, weights = rand(50, 3), rand(50, 3, seed=1)
    gap = Chebyshev()(rewards, weights, IDEAL) - SmoothChebyshev(mu=mu)(rewards, weights, IDEAL)
    assert (gap >= -1e-6).all() and (gap <= mu * torch.log(torch.tensor(3.0)) + 1e-6).all()


def test_smooth_chebyshev_agrees_with_torchjd() -> None:
    from torchjd.scalarization import STCH

    regret = WEIGHTS * (IDEAL - REWARDS)  # losses, smaller is better, with equal weights of 1
    assert_close(-SmoothChebyshev(mu=0.1)(REWARDS, WEIGHTS, IDEAL), 0.1 * (regret / 0.1).logsumexp(-1))
    theirs = STCH(mu=0.1, weights=torch.ones(3))(regret)
    assert_close(-SmoothChebyshev(mu=0.1)(REWARDS, WEIGHTS, IDEAL), theirs)


@everyone
def test_prefers_dominating_rewards(scalarizer: Scalarizer) -> None:
    low, weights = rand(100, 4), rand(100, 4, seed=1) + 0.01
    better = low + rand(100, 4, seed=2) * (rand(100, 4, seed=3) > 0.5)  # larger or equal in every objective
    above = low + 0.01 + rand(100, 4, seed=2)
    ideal = torch.full((4,), 2.5)
    base = scalarizer(low, weights, ideal)
    assert (scalarizer(better, weights, ideal) >= base - 1e-6).all()
    assert (scalarizer(above, weights, ideal) > base).all()


@everyone
def test_order_of_objectives_decides_nothing(scalarizer: Scalarizer) -> None:
    rewards, weights, ideal, turn = rand(20, 4), rand(4, seed=1), rand(4, seed=2) + 1, torch.tensor([2, 0, 3, 1])
    turned = scalarizer(rewards[:, turn], weights[turn], ideal[turn])
    assert_close(turned, scalarizer(rewards, weights, ideal))


@everyone
def test_any_batch_and_broadcast_weights(scalarizer: Scalarizer) -> None:
    rewards, weights, ideal = rand(2, 3, 4, 2), rand(2, 1, 1, 2, seed=1), torch.ones(2)
    whole = scalarizer(rewards, weights, ideal)
    assert whole.shape == (2, 3, 4)
    for member in range(2):
        assert_close(whole[member], scalarizer(rewards[member], weights[member, 0, 0], ideal))
    assert_close(whole[1, 2, 3], scalarizer(rewards[1, 2, 3], weights[1, 0, 0], ideal))


@everyone
def test_gradients_are_finite_and_not_negative_also_at_ties(scalarizer: Scalarizer) -> None:
    rewards = torch.tensor([[0.5, 0.5, 0.5], [1.0, 1.0, 1.0], [0.0, 0.2, 0.9]], requires_grad=True)
    scalarizer(rewards, torch.full((3,), 1 / 3), IDEAL).sum().backward()
    assert rewards.grad is not None and rewards.grad.isfinite().all() and (rewards.grad >= 0).all()
    assert_close(rewards.grad[0], rewards.grad[0].mean().expand(3))  # tied objectives are treated alike
    assert rewards.grad.sum() > 0


@everyone
def test_gradient_is_that_of_finite_differences(scalarizer: Scalarizer) -> None:
    rewards, ideal = rand(5, 3).double().requires_grad_(), torch.full((3,), 1.5).double()
    assert torch.autograd.gradcheck(lambda r: scalarizer(r, WEIGHTS.double(), ideal), rewards)


@everyone
def test_huge_values_stay_finite(scalarizer: Scalarizer) -> None:
    rewards = torch.tensor([[-1e37, 1.0], [1e37, -1e37]], requires_grad=True)
    utility = scalarizer(rewards, torch.tensor([0.5, 0.5]), torch.ones(2))
    utility.sum().backward()
    assert utility.isfinite().all() and rewards.grad is not None and rewards.grad.isfinite().all()


@everyone
def test_inputs_stay_as_they_are(scalarizer: Scalarizer) -> None:
    rewards, weights, ideal = rand(3, 2), rand(2, seed=1), torch.ones(2)
    copies = rewards.clone(), weights.clone(), ideal.clone()
    scalarizer(rewards, weights, ideal)
    for before, after in zip(copies, (rewards, weights, ideal)):
        assert_close(after, before, rtol=0, atol=0)


def test_found_by_name_with_options() -> None:
    assert {"linear", "chebyshev", "augmented-chebyshev", "smooth-chebyshev"} <= set(named("scalarizer"))
    assert build("scalarizer", "smooth-chebyshev", mu=0.5) == SmoothChebyshev(mu=0.5)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_refusals(value: float) -> None:
    with pytest.raises(ConfigError, match="`mu` must be positive and finite"):
        SmoothChebyshev(mu=value)
    with pytest.raises(ConfigError, match="`rho` must be positive and finite"):
        AugmentedChebyshev(rho=value)
