"""Scalarizers that measure distances: achievement, boundary intersection, p-norms; against pymoo and TorchJD."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.scalarizers import PBI, Achievement, AugmentedChebyshev, Axes, Chebyshev, InvertedPBI, PNorm

REWARDS, WEIGHTS, IDEAL = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.4, 0.3, 0.3]), torch.ones(3)
AXES = Axes(("a", "b", "c"), (1, -1, 1))


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_achievement_value() -> None:
    # b is a cost of 0 with 0.2 aspired to, c is measured from its ideal: surpluses 0.4 * 0.3, 0.3 * 0.2, 0.3 * -0.5
    utility = Achievement({"a": 0.7, "b": 0.2}, rho=0.1).told(AXES)
    assert_close(utility(REWARDS, WEIGHTS, IDEAL), torch.tensor(-0.15 + 0.1 * (0.12 + 0.06 - 0.15)))


def test_achievement_from_the_ideal_is_chebyshev() -> None:
    rewards = rand(20, 3).float()
    assert_close(Achievement(rho=0.0)(rewards, WEIGHTS, IDEAL), Chebyshev()(rewards, WEIGHTS, IDEAL))
    assert_close(Achievement(rho=0.2)(rewards, WEIGHTS, IDEAL), AugmentedChebyshev(rho=0.2)(rewards, WEIGHTS, IDEAL))


def test_achievement_agrees_with_pymoo() -> None:
    from pymoo.decomposition.aasf import AASF
    from pymoo.decomposition.asf import ASF

    rewards, weights, levels = rand(20, 3).numpy(), (0.1 + rand(3, seed=1)).numpy(), {"a": 0.3, "b": -0.5, "c": 0.9}
    aspired = np.array([0.3, 0.5, 0.9])  # b's own sign is minus
    for rho, theirs in ((0.0, ASF()), (0.3, AASF(rho=0.3))):
        # theirs divides by weights, and is smaller for better points
        expected = -theirs.do(-rewards, 1 / weights, utopian_point=-aspired)
        ours = Achievement(levels, rho=rho).told(AXES)
        got = ours(torch.from_numpy(rewards), torch.from_numpy(weights), torch.full((3,), torch.nan).double())
        assert_close(got, torch.from_numpy(expected))


def test_aspiring_to_less_than_is_had_still_asks_for_balance() -> None:
    utility = Achievement({"a": 0.0, "b": 0.0}, rho=0.0).told(Axes(("a", "b"), (1, 1)))
    balanced, lopsided = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.3])
    weights, ideal = torch.full((2,), 0.5), torch.ones(2)
    assert utility(balanced, weights, ideal) > utility(lopsided, weights, ideal) > 0


def test_pbi_value() -> None:
    # regrets (1, 0), direction (0.6, 0.8): along it 0.6; off it |(1, 0) - 0.6 (0.6, 0.8)| = |(0.64, -0.48)| = 0.8
    got = PBI(theta=2.0)(torch.tensor([0.0, 1.0]), torch.tensor([3.0, 4.0]), torch.ones(2))
    assert_close(got, torch.tensor(-(0.6 + 2 * 0.8)))


def test_pbi_agrees_with_pymoo_and_torchjd() -> None:
    from pymoo.decomposition.pbi import PBI as Pymoo
    from torchjd.scalarization import PBI as TorchJD

    rewards, weights, ideal = rand(20, 3), 0.1 + rand(3, seed=1), 1 + rand(3, seed=2)
    got = PBI(theta=4.0)(rewards, weights, ideal)
    pymoo = Pymoo(theta=4).do((ideal - rewards).numpy(), weights.numpy(), utopian_point=np.zeros(3))
    assert_close(-got, torch.from_numpy(pymoo))
    torchjd = TorchJD(theta=4.0, weights=weights)
    assert_close(-got, torch.stack([torchjd(ideal - row) for row in rewards]), atol=1e-5, rtol=0)


def test_a_dominating_point_may_be_worth_less_to_pbi() -> None:
    points, weights = torch.tensor([[0.5, 0.5], [0.5, 1.0]]), torch.ones(2)
    worse, better = PBI(theta=5.0)(points, weights, torch.ones(2))  # -0.71 and -(0.35 + 5 * 0.35)
    assert better < worse


def test_inverted_pbi_value() -> None:
    # from (-1, 2 tokens): gains (1, 0), direction (0.6, 0.8)
    utility = InvertedPBI({"score": -1.0, "tokens": 2.0}, theta=0.5).told(Axes(("score", "tokens"), (1, -1)))
    got = utility(torch.tensor([0.0, -2.0]), torch.tensor([0.6, 0.8]), torch.ones(2))
    assert_close(got, torch.tensor(0.6 - 0.5 * 0.8))


def test_inverted_pbi_is_pbi_seen_from_the_worst_point() -> None:
    from pymoo.decomposition.pbi import PBI as Pymoo

    rewards, weights = rand(20, 3), 0.1 + rand(3, seed=1)
    # d1 + theta d2 of the gains at -theta is d1 - theta d2
    theirs = Pymoo(theta=-2).do(rewards.numpy(), weights.numpy(), utopian_point=np.zeros(3))
    assert_close(InvertedPBI(theta=2.0)(rewards, weights, IDEAL.double()), torch.from_numpy(theirs))


def test_the_weight_of_pbi_says_where_regret_lies() -> None:
    angle = torch.linspace(0, torch.pi / 2, 91)
    front = torch.stack([angle.cos(), angle.sin()], dim=-1)
    weights, ideal = torch.tensor([0.8, 0.2]), torch.ones(2)
    regret, gain = (
        ideal - front[PBI()(front, weights, ideal).argmax()],
        front[InvertedPBI(theta=5.0)(front, weights, ideal).argmax()],
    )
    assert_close(regret / regret.sum(), weights, atol=0.03, rtol=0)
    assert_close(gain / gain.sum(), weights, atol=0.03, rtol=0)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5])
def test_p_norm_value(p: float) -> None:
    # regrets 0.4 * 0, 0.3 * 1, 0.3 * 0.5
    assert_close(PNorm(p=p)(REWARDS, WEIGHTS, IDEAL), torch.tensor(-((0.3**p + 0.15**p) ** (1 / p))))
    above = torch.tensor([7.0, 0.0, 0.5])  # what lies above the ideal neither helps nor hurts
    assert_close(PNorm(p=p)(above, WEIGHTS, IDEAL), PNorm(p=p)(REWARDS, WEIGHTS, IDEAL))


def test_p_norm_agrees_with_torch_and_becomes_chebyshev() -> None:
    rewards, weights, ideal = rand(20, 3), rand(3, seed=1), torch.ones(3).double()
    regrets = weights * (ideal - rewards)
    assert_close(PNorm(p=3.0)(rewards, weights, ideal), -torch.linalg.vector_norm(regrets, ord=3, dim=-1))
    assert_close(PNorm(p=500.0)(rewards, weights, ideal), Chebyshev()(rewards, weights, ideal), atol=3e-3, rtol=0)


@pytest.mark.parametrize("make", [lambda x: PBI(theta=x), lambda x: InvertedPBI(theta=x), lambda x: Achievement(rho=x)])
def test_refuses_negative_shares(make) -> None:
    for value in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"`(theta|rho)` must be finite and at least 0"):
            make(value)


def test_refuses_a_norm_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"`p` must be finite and at least 1, found 0.5"):
        PNorm(p=0.5)


def test_options_by_name_need_the_names_of_the_columns() -> None:
    utility = InvertedPBI({"a": 0.0, "b": 1.0})
    with pytest.raises(ConfigError, match=r"options name a, b, but not which columns these are"):
        utility(REWARDS, WEIGHTS, IDEAL)
    with pytest.raises(ConfigError, match="`reference` has no value for c; give one for each objective"):
        utility.told(AXES)(REWARDS, WEIGHTS, IDEAL)
    with pytest.raises(ConfigError, match="`rewards` has 2 columns for the objectives"):
        utility.told(AXES)(REWARDS[:2], WEIGHTS[:2], IDEAL[:2])
