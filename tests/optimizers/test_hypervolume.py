"""Hypervolume, contributions and gradient: visible arithmetic, inclusion-exclusion, botorch, finite differences."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.hypervolume import contributions, gradient, hypervolume


def random_points(n: int, m: int, seed: int) -> torch.Tensor:
    return torch.rand((n, m), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_inclusion_exclusion(points: torch.Tensor, reference: torch.Tensor) -> float:
    total = 0.0
    for size in range(1, len(points) + 1):
        for subset in itertools.combinations(range(len(points)), size):
            corner = points[list(subset)].amin(dim=0)
            total += (-1) ** (size + 1) * float((corner - reference).clamp(min=0).prod())
    return total


def test_worked_values() -> None:
    zero = torch.zeros(2)
    assert hypervolume(torch.tensor([[2.0, 1.0], [1.0, 2.0]]), zero) == 3.0  # 2 + 2 - 1
    assert hypervolume(torch.tensor([[0.5, 0.5], [1.0, -1.0]]), zero) == 0.25  # the second is below the reference
    # steps from the right: 1.0 * 0.2 + 0.6 * (0.6 - 0.2) + 0.2 * (1.0 - 0.6) = 0.52
    assert hypervolume(torch.tensor([[1.0, 0.2], [0.6, 0.6], [0.2, 1.0]]), zero) == pytest.approx(0.52)
    assert hypervolume(torch.tensor([[3.0], [2.0]]), torch.tensor([1.0])) == 2.0
    assert hypervolume(torch.zeros(0, 2), zero) == 0.0
    assert hypervolume(torch.tensor([[0.0, 5.0], [-torch.inf, 1.0]]), zero) == 0.0


@pytest.mark.parametrize("m", [1, 2, 3, 4, 6])
def test_agrees_with_inclusion_exclusion(m: int) -> None:
    points, reference = random_points(7, m, seed=m), torch.full((m,), 0.1, dtype=torch.float64)
    assert hypervolume(points, reference) == pytest.approx(by_inclusion_exclusion(points, reference), rel=1e-9)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_agrees_with_botorch(m: int) -> None:
    from botorch.utils.multi_objective.box_decompositions.dominated import DominatedPartitioning

    points, reference = random_points(12, m, seed=m), torch.zeros(m, dtype=torch.float64)
    rival = DominatedPartitioning(ref_point=reference, Y=points).compute_hypervolume()
    assert hypervolume(points, reference) == pytest.approx(float(rival), rel=1e-9)


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_contributions_are_what_is_lost_without_a_point(m: int) -> None:
    points, reference = random_points(9, m, seed=m), torch.full((m,), 0.2, dtype=torch.float64)
    points[3] = points[4]  # equal points stand in for each other
    whole = hypervolume(points, reference)
    rest = [hypervolume(points[torch.arange(9) != i], reference) for i in range(9)]
    lost = torch.tensor([whole - volume for volume in rest], dtype=torch.float64)
    assert_close(contributions(points, reference), lost, atol=1e-12, rtol=1e-9)
    assert contributions(points, reference)[3] == 0.0


def test_contributions_of_nothing() -> None:
    assert contributions(torch.zeros(0, 2), torch.zeros(2)).shape == (0,)
    assert contributions(torch.tensor([[-1.0, 2.0]]), torch.zeros(2)).tolist() == [0.0]


def test_gradient_worked_value() -> None:
    # (3, 1) and (1, 2): raising 3 sweeps the height 1; raising 1 of the first sweeps 3 - 1 = 2, of the second 2 - 1 = 1
    points = torch.tensor([[3.0, 1.0], [1.0, 2.0]])
    assert_close(gradient(points, torch.zeros(2)), torch.tensor([[1.0, 2.0], [1.0, 1.0]]))


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_gradient_agrees_with_finite_differences(m: int) -> None:
    points, reference = random_points(10, m, seed=10 + m), torch.full((m,), 0.1, dtype=torch.float64)
    numeric, step = torch.zeros_like(points), 1e-6
    for i, k in itertools.product(range(10), range(m)):
        up, down = points.clone(), points.clone()
        up[i, k] += step
        down[i, k] -= step
        numeric[i, k] = (hypervolume(up, reference) - hypervolume(down, reference)) / (2 * step)
    assert (numeric > 0.01).sum() >= m  # the check is not about zeros
    assert_close(gradient(points, reference), numeric, atol=1e-7, rtol=1e-6)


def test_gradient_agrees_with_autograd_through_botorch() -> None:
    from botorch.utils.multi_objective.box_decompositions.dominated import DominatedPartitioning

    points = random_points(8, 2, seed=22).requires_grad_()  # with three objectives botorch's has no derivative
    reference = torch.zeros(2, dtype=torch.float64)
    cells = DominatedPartitioning(ref_point=reference, Y=points)
    cells.compute_hypervolume().backward()
    assert_close(gradient(points.detach(), reference), points.grad)


def test_gradient_is_zero_for_dominated_equal_and_low_points() -> None:
    points = torch.tensor([[2.0, 2.0], [2.0, 2.0], [1.0, 1.0], [2.0, 1.0], [5.0, -1.0], [1.0, 3.0]])
    slope = gradient(points, torch.zeros(2))
    assert slope[:5].abs().sum() == 0.0  # twins, dominated, weakly dominated, below the reference
    assert_close(slope[5], torch.tensor([1.0, 1.0]))  # above the twins: 3 - 2; to the left of them: 1 - 0


def test_gradient_at_a_tie_is_the_one_of_falling() -> None:
    # equal in objective 0: when the first falls there, (1, 2] x its width of 1 in objective 1 is lost
    points, reference = torch.tensor([[2.0, 2.0, 1.0], [2.0, 1.0, 2.0]]).double(), torch.zeros(3).double()
    moved, step = points.clone(), 1e-6
    moved[0, 0] -= step
    fall = (hypervolume(points, reference) - hypervolume(moved, reference)) / step
    assert float(gradient(points, reference)[0, 0]) == pytest.approx(fall, rel=1e-5) == pytest.approx(1.0)


def test_order_of_points_and_objectives_decides_nothing() -> None:
    points, reference = random_points(8, 3, seed=3), torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64)
    order, turn = torch.tensor([3, 1, 7, 0, 6, 2, 5, 4]), torch.tensor([2, 0, 1])
    assert hypervolume(points[order][:, turn], reference[turn]) == pytest.approx(hypervolume(points, reference))
    assert_close(contributions(points[order][:, turn], reference[turn]), contributions(points, reference)[order])
    assert_close(gradient(points[order][:, turn], reference[turn]), gradient(points, reference)[order][:, turn])


def test_dtype_and_input_stay() -> None:
    points = torch.tensor([[2.0, 1.0]])
    assert gradient(points, torch.zeros(2)).dtype == contributions(points, torch.zeros(2)).dtype == torch.float32
    assert points.tolist() == [[2.0, 1.0]]


@pytest.mark.parametrize("function", [hypervolume, contributions, gradient])
def test_refusals(function) -> None:
    with pytest.raises(ConfigError, match="`points` must not hold NaN"):
        function(torch.tensor([[torch.nan, 1.0]]), torch.zeros(2))
    with pytest.raises(ConfigError, match="`points` must not hold infinity"):
        function(torch.tensor([[torch.inf, 1.0]]), torch.zeros(2))
    with pytest.raises(ConfigError, match="`reference` must be finite"):
        function(torch.ones(1, 2), torch.tensor([-torch.inf, 0.0]))
