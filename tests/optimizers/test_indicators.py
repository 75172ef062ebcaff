"""Indicators: worked values, their definitions in a few lines of torch, and pymoo."""

import pytest
import torch

from moalign.errors import ConfigError
from moalign.optimizers.indicators import epsilon_additive, expected_utility, igd, igd_plus, sparsity


@pytest.fixture
def sets() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand((6, 3), generator=generator), torch.rand((9, 3), generator=generator) + 0.5


def test_agree_with_their_definitions(sets) -> None:
    points, front = sets
    short = front[:, None] - points[None]  # reference point objective: by how much a point falls short
    assert igd(points, front) == pytest.approx(float(short.norm(dim=-1).amin(dim=1).mean()), rel=1e-5)
    assert igd_plus(points, front) == pytest.approx(float(short.clamp(min=0).norm(dim=-1).amin(1).mean()), rel=1e-5)
    assert epsilon_additive(points, front) == pytest.approx(float(short.amax(-1).amin(1).amax()), rel=1e-5)


def test_agree_with_pymoo(sets) -> None:
    from pymoo.indicators.igd import IGD
    from pymoo.indicators.igd_plus import IGDPlus

    points, front = sets
    assert igd(points, front) == pytest.approx(IGD(-front.double().numpy())(-points.double().numpy()))
    assert igd_plus(points, front) == pytest.approx(IGDPlus(-front.double().numpy())(-points.double().numpy()))


def test_a_front_is_perfect_against_itself(sets) -> None:
    _, front = sets
    assert igd(front, front) == igd_plus(front, front) == epsilon_additive(front, front) == 0.0


def test_larger_points_are_not_worse(sets) -> None:
    points, front = sets
    assert igd_plus(points + 0.1, front) < igd_plus(points, front)
    # shifting all points up by 0.1 lowers the shift that is still needed by exactly that
    assert epsilon_additive(points + 0.1, front) == pytest.approx(epsilon_additive(points, front) - 0.1, abs=1e-6)


def test_expected_utility_worked_value() -> None:
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.6]])
    weights = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert expected_utility(points, weights) == pytest.approx((1.0 + 0.6) / 2)
    assert expected_utility(torch.cat([points, points - 1]), weights) == expected_utility(points, weights)


def test_sparsity_worked_value() -> None:
    # objective 0: 0 1 3, objective 1: 0 1 2; (1 + 4 + 1 + 1) / 2; the dominated (0, 0) does not count
    points = torch.tensor([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0], [1.0, 1.0]])
    assert sparsity(points) == 3.5
    assert sparsity(points[:1]) == sparsity(points[:0]) == 0.0


@pytest.mark.parametrize("indicator", [igd, igd_plus, epsilon_additive, expected_utility])
def test_refusals(indicator) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        indicator(torch.zeros(0, 2), torch.zeros(1, 2))
    with pytest.raises(ConfigError, match="is empty"):
        indicator(torch.zeros(1, 2), torch.zeros(0, 2))
