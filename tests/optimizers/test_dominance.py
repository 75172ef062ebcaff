"""Dominance, ranks and crowding: worked values, a loop by definition, pymoo, and invariance to order."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.dominance import crowding_distance, non_dominated, rank


def random_points(n: int, m: int, seed: int, *, grid: int | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if grid is not None:
        return torch.randint(grid, (n, m), generator=generator).double()
    return torch.rand((n, m), generator=generator, dtype=torch.float64)


def dominates(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a >= b).all() and (a > b).any())


def test_larger_dominates() -> None:
    points = torch.tensor([[1.0, 1.0], [2.0, 1.0], [1.0, 2.0], [0.0, 0.0]])
    assert non_dominated(points).tolist() == [False, True, True, False]
    assert rank(points).tolist() == [1, 0, 0, 2]


def test_duplicates_are_kept_or_the_first_is() -> None:
    points = torch.tensor([[2.0, 1.0], [1.0, 2.0], [2.0, 1.0]])
    assert non_dominated(points).tolist() == [True, True, True]
    assert non_dominated(points, keep_duplicates=False).tolist() == [True, True, False]
    assert rank(points).tolist() == [0, 0, 0]


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_agrees_with_the_definition(m: int) -> None:
    points = random_points(40, m, seed=m, grid=4)  # a coarse grid: many ties and duplicates
    expected = [not any(dominates(q, p) for q in points) for p in points]
    assert non_dominated(points).tolist() == expected
    left, layer, ranks = set(range(40)), 0, {}
    while left:
        front = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        ranks.update(dict.fromkeys(front, layer))
        left, layer = left - front, layer + 1
    assert rank(points).tolist() == [ranks[i] for i in range(40)]


def test_no_points() -> None:
    none = torch.zeros(0, 3)
    assert non_dominated(none).shape == rank(none).shape == crowding_distance(none).shape == (0,)


@pytest.mark.parametrize("function", [non_dominated, rank, crowding_distance])
def test_nan_is_refused_with_its_place(function) -> None:
    with pytest.raises(ConfigError, match=r"`points` must not hold NaN, found one at \[1, 0\]"):
        function(torch.tensor([[0.0, 1.0], [torch.nan, 1.0]]))


def test_crowding_worked_value() -> None:
    # objective 0: 0 1 3 4, objective 1: 4 3 1 0; middle points (3 - 0) / 4 + (4 - 1) / 4 = 1.5 and the same
    points = torch.tensor([[0.0, 4.0], [1.0, 3.0], [3.0, 1.0], [4.0, 0.0]])
    assert_close(crowding_distance(points), torch.tensor([torch.inf, 1.5, 1.5, torch.inf]))


def test_crowding_is_pymoos_without_ties() -> None:
    from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance

    points = random_points(30, 3, seed=0)
    theirs = calc_crowding_distance(-points.numpy()) * 3  # pymoo divides by the number of objectives
    assert_close(crowding_distance(points), torch.from_numpy(theirs))


def test_crowding_does_not_depend_on_order() -> None:
    points = random_points(20, 2, seed=1, grid=4)
    order = torch.from_numpy(np.random.default_rng(0).permutation(20))
    assert_close(crowding_distance(points[order]), crowding_distance(points)[order])


def test_tied_points_share_a_gap_and_an_equal_objective_counts_nothing() -> None:
    # objective 0: 0 1 1 2, the two tied points share (2 - 0) / 2 = 1; objective 1 says nothing
    points = torch.tensor([[0.0, 7.0], [1.0, 7.0], [1.0, 7.0], [2.0, 7.0]])
    assert_close(crowding_distance(points), torch.tensor([torch.inf, 0.5, 0.5, torch.inf]))


def test_crowding_refuses_infinity() -> None:
    with pytest.raises(ConfigError, match="`points` must be finite"):
        crowding_distance(torch.tensor([[0.0, torch.inf], [1.0, 0.0]]))
