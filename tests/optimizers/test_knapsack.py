"""Sharing out a budget: against every way to share it, and against taking the largest gains one by one."""

from itertools import product

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.knapsack import allocate


def total(values: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    return values.gather(-1, sizes[..., None])[..., 0].sum(-1)


def test_by_hand() -> None:
    values = torch.tensor([[0.0, 1.0, 9.0], [0.0, 4.0, 5.0], [0.0, 4.0, 4.5]])
    assert allocate(values, 1).tolist() == [0, 1, 0]  # 4, the earlier of two
    assert allocate(values, 2).tolist() == [2, 0, 0]  # 9, not 4 + 4: unit by unit one would never get there
    assert allocate(values, 3).tolist() == [2, 1, 0]  # 9 + 4
    assert allocate(values, 4).tolist() == [2, 1, 1]  # 9 + 4 + 4
    assert allocate(values, 6).tolist() == [2, 2, 2] and allocate(values, 0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("budget", range(10))
def test_no_other_way_is_better(budget: int) -> None:
    values = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(budget))  # neither rising nor concave
    sizes = allocate(values, budget)
    assert sizes.shape == (5, 3) and sizes.sum(-1).tolist() == [budget] * 5
    ways = [way for way in product(range(4), repeat=3) if sum(way) == budget]
    best = torch.stack([total(values, torch.tensor(way).expand(5, 3)) for way in ways]).amax(0)
    assert_close(total(values, sizes), best)


def test_where_gains_fall_the_largest_are_taken() -> None:
    # values rise by less and less, so the best total is the sum of the largest gains, whosever they are
    gains = torch.rand(64, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64).sort(1, True).values
    values = torch.cat([torch.zeros(64, 1, dtype=torch.float64), gains.cumsum(1)], dim=1)
    sizes = allocate(values, 1024)
    assert int(sizes.sum()) == 1024
    assert_close(total(values, sizes), gains.flatten().topk(1024).values.sum())
    threshold = gains.flatten().topk(1024).values[-1]
    assert torch.equal(sizes, (gains >= threshold).sum(1))


def test_of_equally_good_ways_the_last_get_least() -> None:
    assert allocate(torch.zeros(3, 5), 6).tolist() == [4, 2, 0]


def test_order_does_not_count() -> None:
    values = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.equal(allocate(values[order], 17), allocate(values, 17)[order])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`budget` must be between 0 and 4, .* got 5"):
        allocate(torch.zeros(2, 3), 5)
    with pytest.raises(ConfigError, match="got -1"):
        allocate(torch.zeros(2, 3), -1)
    with pytest.raises(ConfigError, match="`values` must be finite"):
        allocate(torch.tensor([[0.0, torch.nan]]), 1)
