"""Dual ascent: worked values, and a small problem whose multiplier is known."""

import pytest
import torch
from torch.testing import assert_close

from moalign.optimizers.weights import dual_ascent


def test_worked_values() -> None:
    multipliers = torch.tensor([[0.0, 0.1, 4.9, 0.5]])
    violation = torch.tensor([[2.0, -3.0, 4.0, torch.nan]])
    # 0 + 0.1 * 2; 0.1 - 0.3 is cut at 0; 4.9 + 0.4 is cut at 5; nothing measured: stays
    expected = torch.tensor([[0.2, 0.0, 5.0, 0.5]])
    assert_close(dual_ascent(multipliers, violation, lr=0.1, maximum=5.0), expected)


def test_each_member_its_own_rate_and_maximum() -> None:
    rate, most = torch.tensor([[0.1], [1.0]]), torch.tensor([[1.0], [0.5]])
    moved = dual_ascent(torch.zeros(2, 1), torch.ones(2, 1), lr=rate, maximum=most)
    assert_close(moved, torch.tensor([[0.1], [0.5]]))


@pytest.mark.parametrize(("threshold", "multiplier"), [(0.6, 0.8), (-1.0, 0.0)])
def test_finds_the_multiplier_of_a_constrained_maximum(threshold: float, multiplier: float) -> None:
    # maximise -(x - 0.2)^2 with x >= t. At t = 0.6: x = 0.6 and 2 (0.6 - 0.2) = 0.8; at t = -1 nothing binds.
    lam = torch.zeros(1, 1)
    for _ in range(200):
        x = 0.2 + lam / 2  # the best response: derivative -2 (x - 0.2) + lam = 0
        lam = dual_ascent(lam, threshold - x, lr=0.2, maximum=10.0)
    assert_close(lam, torch.tensor([[multiplier]]), atol=1e-5, rtol=0)
