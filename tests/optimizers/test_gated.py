"""Sums behind gates, and one reward times penalties."""

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.scalarizers import Axes, Gated, Linear, Product

AXES = Axes(("short", "style", "tests"), (-1, 1, 1))  # short: a cost, in tokens
ROWS = torch.tensor([[-100.0, 0.5, 1.0], [-300.0, 0.5, 1.0], [-100.0, 0.5, 0.9]])
WEIGHTS, IDEAL = torch.tensor([0.01, 2.0, 3.0]), torch.ones(3)


def test_value_by_hand() -> None:
    # style counts after at most 200 tokens, these after all tests pass: 3 - 1 + 1; 3 - 3; tests alone, 2.7
    utility = Gated({"style": "short", "short": "tests"}, {"short": 200, "tests": 1.0}).told(AXES)
    assert_close(utility(ROWS, WEIGHTS, IDEAL), torch.tensor([3.0, 0.0, 2.7]))


def test_gates_agree_with_a_slow_twin() -> None:
    rows = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    after, floors = {"style": "short", "tests": "style"}, {"short": 0.2, "style": -0.3}
    utility, sign = Gated(after, floors).told(AXES), dict(zip(AXES.names, AXES.signs))

    def slow(row: list[float]) -> float:
        value = dict(zip(AXES.names, row))

        def met(name: str) -> bool:
            own = sign[name] * value[name]
            return (own >= floors[name]) if sign[name] > 0 else (own <= floors[name])

        short, style = met("short"), met("style")
        return 0.01 * value["short"] + 2 * value["style"] * short + 3 * value["tests"] * (short and style)

    assert_close(utility(rows, WEIGHTS, IDEAL), torch.tensor([slow(row) for row in rows.tolist()]))


def test_without_gates_it_is_the_weighted_sum() -> None:
    assert_close(Gated()(ROWS, WEIGHTS, IDEAL), Linear()(ROWS, WEIGHTS, IDEAL))


def test_a_missing_reward_opens_no_gate() -> None:
    utility = Gated({"style": "tests"}, {"tests": 1.0}).told(AXES)
    alone = utility.among([True, True, False])(ROWS[:, :2], WEIGHTS[:2], IDEAL[:2])
    assert_close(alone, torch.tensor([-1.0, -3.0, -1.0]))


def test_what_is_behind_a_closed_gate_has_no_slope() -> None:
    utility, rows = Gated({"style": "tests"}, {"tests": 1.0}).told(AXES), ROWS.clone().requires_grad_()
    (slope,) = torch.autograd.grad(utility(rows, WEIGHTS, IDEAL).sum(), rows)
    assert_close(slope[:, 1], torch.tensor([2.0, 2.0, 0.0]))


def test_product_by_hand() -> None:
    # 8 * 0.5 * 1; weights 2 of 2 and 1 of 2 soften the first: 8 * (1 - 0.5 * 0.5) * 1; a violation beyond measure: 0
    utility = Product(main="progress").told(Axes(("comfort", "lane", "progress"), (1, 1, 1)))
    row = torch.tensor([0.5, 1.0, 8.0])
    assert_close(utility(row, torch.ones(3), IDEAL), torch.tensor(4.0))
    assert_close(utility(row, torch.tensor([1.0, 2.0, 2.0]), IDEAL), torch.tensor(6.0))
    assert_close(utility(torch.tensor([0.5, -3.0, 8.0]), torch.ones(3), IDEAL), torch.tensor(0.0))
    assert_close(utility(torch.tensor([0.5, 1.0, -8.0]), torch.ones(3), IDEAL), torch.tensor(-8.0))
    assert_close(Product()(row, torch.ones(3), IDEAL), torch.tensor(0.5))  # all are factors


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="`thresholds` has no value for tests, which `after` waits for"):
        Gated({"style": "tests"})
    with pytest.raises(ConfigError, match="`thresholds` names tests, for which nothing waits"):
        Gated(thresholds={"tests": 1.0})
    with pytest.raises(ConfigError, match="goes in a circle"):
        Gated({"a": "b", "b": "a"}, {"a": 0.0, "b": 0.0})
