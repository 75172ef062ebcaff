"""Which points to go on from."""

import pytest
import torch
from torch.testing import assert_close

from moalign.optimizers.selection import beside_gaps

# In shares of the range the ends have gaps 0.1 + 0 and 0 + 0.8, the inner points 0.4 + 0.1 and 0.5 + 0.1.
FRONT = torch.tensor([[0.0, 1.0], [0.1, 0.9], [0.5, 0.8], [1.0, 0.0], [0.3, 0.3]])  # the last one is dominated


def test_by_hand() -> None:
    chosen, gaps = beside_gaps(FRONT, count=4)
    # ends first, the wider gap before; then crowding 0.9 + 0.9 (third) against 0.5 + 0.2 (second)
    assert chosen.tolist() == [3, 0, 2, 1]
    assert_close(gaps, torch.tensor([[0.0, 0.8], [0.1, 0.0], [0.5, 0.1], [0.4, 0.1]]))


def test_no_more_than_the_front_has() -> None:
    assert sorted(beside_gaps(FRONT, count=9)[0].tolist()) == [0, 1, 2, 3]
    assert beside_gaps(FRONT)[0].tolist() == [3]


@pytest.mark.parametrize("units", [(1.0, 1.0), (100.0, 0.01), (3.0, 5.0)])
def test_units_and_order_do_not_count(units: tuple[float, float]) -> None:
    order = torch.tensor([4, 2, 0, 3, 1])
    chosen, gaps = beside_gaps(FRONT[order] * torch.tensor(units) - 7.0, count=3)
    assert order[chosen].tolist() == [3, 0, 2]
    assert_close(gaps, beside_gaps(FRONT, count=3)[1], atol=1e-3, rtol=0)


def test_points_that_are_not_finite_are_never_chosen() -> None:
    points = FRONT.clone()
    points[3, 0], points[2, 1] = torch.nan, torch.inf
    assert sorted(beside_gaps(points, count=9)[0].tolist()) == [0, 1, 4]  # the last one is on the front without them
    chosen, gaps = beside_gaps(torch.full((3, 2), torch.nan), count=2)
    assert not len(chosen) and gaps.shape == (0, 2)


def test_of_equal_points_the_first_is_taken() -> None:
    assert beside_gaps(torch.ones(3, 2), count=3)[0].tolist() == [0]
