"""Desirability: the curves point by point against their definitions, and their geometric mean."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.scalarizers import Axes, Box, Curve, Desirability, Maximum, Minimum, Target, Through

GRID = torch.linspace(-3, 5, 65, dtype=torch.float64)


def rises(y: float, low: float, high: float, scale: float) -> float:
    """Derringer and Suich 1980, one-sided."""
    return 0.0 if y < low else 1.0 if y > high else ((y - low) / (high - low)) ** scale


def falls(y: float, low: float, high: float, scale: float) -> float:
    return 1.0 if y < low else 0.0 if y > high else ((y - high) / (low - high)) ** scale


def target(y: float, low: float, best: float, high: float, left: float, right: float) -> float:
    """Derringer and Suich 1980, two-sided."""
    if not low <= y <= high:
        return 0.0
    return ((y - low) / (best - low)) ** left if y <= best else ((y - high) / (best - high)) ** right


@pytest.mark.parametrize(
    ("curve", "definition"),
    [
        (Maximum(-1, 2), lambda y: rises(y, -1, 2, 1)),
        (Maximum(-1.0, 2.0, scale=0.5), lambda y: rises(y, -1, 2, 0.5)),
        (Minimum(0, 4, scale=3), lambda y: falls(y, 0, 4, 3)),
        (Minimum(0, 4, scale=0.2), lambda y: falls(y, 0, 4, 0.2)),
        (Target(-2, 1, 3), lambda y: target(y, -2, 1, 3, 1, 1)),
        (Target(-2, 1, 3, low_scale=2, high_scale=0.5), lambda y: target(y, -2, 1, 3, 2, 0.5)),
        (Box(-1, 1), lambda y: float(-1 <= y <= 1)),
        (
            Through(((-2, 0.1), (0, 0.9), (1, 0.3), (4, 1))),
            lambda y: float(np.interp(y, [-2, 0, 1, 4], [0.1, 0.9, 0.3, 1])),
        ),
    ],
    ids=lambda x: str(x) if isinstance(x, Curve) else "",
)
def test_curves_are_their_definitions(curve: Curve, definition) -> None:
    found = curve(GRID)
    assert_close(found, torch.tensor([definition(y) for y in GRID.tolist()]).double())
    assert (found >= 0).all() and (found <= 1).all()
    point = GRID.clone().requires_grad_()
    if not isinstance(curve, Box):
        (slope,) = torch.autograd.grad(curve(point).sum(), point)
        assert slope.isfinite().all()


CURVES = {"correct": Maximum(0, 1), "tokens": Minimum(100, 300), "tone": Target(0, 0.5, 1)}
AXES = Axes(("correct", "tokens", "tone"), (1, -1, 1))  # tokens are a cost


def test_value_by_hand() -> None:
    # 0.64; 150 of 100 to 300 tokens: 0.75; 0.25 halfway to 0.5: 0.5. Geometric mean of three
    row, utility = torch.tensor([0.64, -150.0, 0.25]), Desirability(CURVES).told(AXES)
    assert_close(utility(row, torch.ones(3), torch.ones(3)), torch.tensor((0.64 * 0.75 * 0.5) ** (1 / 3)))
    weighted = utility(row, torch.tensor([0.5, 0.25, 0.25]), torch.ones(3))
    assert_close(weighted, torch.tensor(0.64**0.5 * (0.75 * 0.5) ** 0.25))


def test_one_worthless_objective_makes_all_worthless_unless_there_is_a_floor() -> None:
    row = torch.tensor([1.0, -500.0, 0.5])
    assert Desirability(CURVES).told(AXES)(row, torch.ones(3), torch.ones(3)) == 0
    forgiven = Desirability(CURVES, floor=0.001).told(AXES)(row, torch.ones(3), torch.ones(3))
    assert_close(forgiven, torch.tensor(0.1))  # the cube root
    nobody_asks = Desirability(CURVES).told(AXES)(row, torch.tensor([1.0, 0.0, 1.0]), torch.ones(3))
    assert_close(nobody_asks, torch.tensor(1.0))


def test_without_curves_rewards_are_desirable_as_they_are() -> None:
    got = Desirability()(torch.tensor([[0.25, 1.0], [4.0, 0.25]]), torch.ones(2), torch.ones(2))
    assert_close(got, torch.tensor([0.5, 0.5]))


def test_a_missing_objective_has_no_part() -> None:
    alone = Desirability(CURVES).told(AXES).among([True, False, True])
    got = alone(torch.tensor([0.64, 0.25]), torch.ones(2), torch.ones(2))
    assert_close(got, torch.tensor(math.sqrt(0.64 * 0.5)))


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="`curves` has none for tone; give one for each objective"):
        Desirability({"correct": Maximum(0, 1), "tokens": Box(0, 9)}).told(AXES)(
            torch.zeros(3), torch.ones(3), torch.ones(3)
        )
    with pytest.raises(ConfigError, match="Maximum needs finite `low` < `high`, found"):
        Maximum(1, 1)
    with pytest.raises(ConfigError, match="Target needs finite `low` < `target` < `high`"):
        Target(0, 2, 1)
    with pytest.raises(ConfigError, match="`scale` must be positive"):
        Minimum(0, 1, scale=0)
    with pytest.raises(ConfigError, match="the values of `points` must rise"):
        Through(((0, 0), (0, 1)))
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1\]"):
        Through(((0, 0), (1, 2)))
    with pytest.raises(ConfigError, match=r"`floor` must be at least 0 and below 1, found 1.0"):
        Desirability(floor=1.0)
