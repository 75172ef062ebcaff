"""How weights move: worked values, and another library or a slow twin of the same rule."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.testing import assert_close

from moalign.optimizers.weights import dual_ascent, exponentiated_gradient, gradnorm, nelder_mead, pid, simplex_at


def test_exponentiated_gradient_by_hand() -> None:
    # 0.2 e^0.5, 0.3 e^-0.5, 0.5 e^1 = 0.32974, 0.18196, 1.35914, over their sum 1.87084
    moved = exponentiated_gradient(torch.tensor([[0.2, 0.3, 0.5]]), torch.tensor([[1.0, -1.0, 2.0]]), rate=0.5)
    assert_close(moved, torch.tensor([[0.17625, 0.09726, 0.72649]]), atol=1e-5, rtol=0)


def test_exponentiated_gradient_keeps_zeros_and_what_is_missing_and_stands_large_slopes() -> None:
    weights = torch.tensor([[0.0, 1.0], [0.4, 0.6], [0.5, 0.5], [0.0, 1.0]])
    slopes = torch.tensor([[5.0, 0.0], [1.0, torch.nan], [3e38, -3e38], [3e38, -3e38]])
    moved = exponentiated_gradient(weights, slopes, rate=10.0)
    assert moved.tolist() == [[0.0, 1.0], pytest.approx([0.4, 0.6]), [1.0, 0.0], [0.0, 1.0]]


def test_exponentiated_gradient_finds_the_best_of_linear_values() -> None:
    weights = torch.full((1, 3), 1 / 3)
    for _ in range(200):
        weights = exponentiated_gradient(weights, torch.tensor([[0.1, 0.4, 0.3]]), rate=0.5)
    assert weights[0, 1] > 0.99


def test_gradnorm_follows_the_slope_of_its_distance() -> None:
    weights = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    norms, shares = torch.tensor([[2.0, 1.0, 3.0]]).double(), torch.tensor([[0.2, 0.3, 0.5]]).double()
    target = shares * (weights * norms).sum()  # held fixed
    variable = weights.clone().requires_grad_()
    (slope,) = torch.autograd.grad((variable * norms - target).abs().sum(), variable)
    expected = weights - 0.01 * slope / norms.mean()
    moved = gradnorm(weights, norms, shares, lr=0.01, floor=1e-6)
    assert_close(moved, expected / expected.sum())


def test_gradnorm_ends_where_lengths_have_their_shares() -> None:
    weights, norms, shares = torch.full((1, 2), 0.5), torch.tensor([[4.0, 1.0]]), torch.tensor([[0.5, 0.5]])
    for step in range(400):
        weights = gradnorm(weights, norms, shares, lr=0.05 / (1 + step / 20), floor=0.01)
    assert_close(weights, torch.tensor([[0.2, 0.8]]), atol=0.005, rtol=0)  # 0.2 * 4 = 0.8 * 1
    assert_close(gradnorm(weights, torch.tensor([[torch.nan, 1.0]]), shares, lr=0.1, floor=0.01), weights)
    assert_close(gradnorm(weights, torch.zeros(1, 2), shares, lr=0.1, floor=0.01), weights)
    assert float(gradnorm(weights, torch.tensor([[100.0, 1.0]]), shares, lr=5.0, floor=0.01).min()) > 0


def test_pid_by_hand() -> None:
    integral, violation, worse = (
        torch.tensor([[0.5, 0.5, 0.0]]),
        torch.tensor([[0.2, -0.3, 9.0]]),
        torch.tensor([[0.1, 0.1, -5.0]]),
    )
    # 0.5 + 2 * 0.2 + 3 * 0.1; 0.5 - 0.6 + 0.3; 18, and getting better does not count, cut at 4
    assert_close(
        pid(integral, violation, worse, proportional=2.0, derivative=3.0, maximum=4.0), torch.tensor([[1.2, 0.2, 4.0]])
    )


def pid_twin(costs: list[float], limit: float, kp: float, ki: float, kd: float) -> list[float]:
    """Stooke et al. 2020, Algorithm 2, in plain numbers."""
    integral, before, out = 0.0, costs[0], []
    for cost in costs:
        delta = cost - limit
        integral = max(0.0, integral + ki * delta)
        out.append(max(0.0, kp * delta + integral + kd * max(0.0, cost - before)))
        before = cost
    return out


def test_pid_over_a_run_is_the_papers() -> None:
    costs = [0.2, 0.9, 1.4, 1.1, 0.3, 0.7, 0.6]
    integral, before, found = torch.zeros(1, 1), torch.tensor([[costs[0]]]), []
    for cost in costs:
        now = torch.tensor([[cost]])
        integral = dual_ascent(integral, now - 0.5, lr=0.3, maximum=100.0)
        found.append(float(pid(integral, now - 0.5, now - before, proportional=0.7, derivative=2.0, maximum=100.0)))
        before = now
    assert found == pytest.approx(pid_twin(costs, 0.5, 0.7, 0.3, 2.0), abs=1e-6)


FUNCTIONS = {
    "rosenbrock": lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2,
    "plane-and-bowl": lambda x: abs(x[0] - 0.3) + (x[1] + 0.2) ** 2 + math.sin(3 * x[0] * x[1]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nelder_mead_asks_for_the_points_that_scipy_asks_for(name: str) -> None:
    start = np.array([[-1.0, 1.0], [0.0, 1.2], [-0.7, 0.1]])
    asked: list[np.ndarray] = []

    def valued(x: np.ndarray) -> float:
        asked.append(np.array(x))
        return FUNCTIONS[name](x)

    minimize(
        valued, start[0], method="Nelder-Mead", options={"initial_simplex": start, "maxfev": 60, "xatol": 0, "fatol": 0}
    )
    state = simplex_at(torch.from_numpy(start))
    for point in asked:
        assert_close(state["trial"], torch.from_numpy(point), atol=1e-9, rtol=1e-9)
        state = nelder_mead(state, torch.tensor(-FUNCTIONS[name](point)))  # larger is better


def test_nelder_mead_leaves_a_variable_alone_that_does_not_take_part() -> None:
    nan = torch.nan
    state = simplex_at(torch.tensor([[0.0, nan], [0.5, nan]], dtype=torch.float64))
    for _ in range(60):
        assert bool(state["trial"][1].isnan())
        state = nelder_mead(state, -((state["trial"][0] - 2.0) ** 2))
    assert float(state["points"][0, 0]) == pytest.approx(2.0, abs=1e-4)


def test_nelder_mead_changes_nothing_in_place() -> None:
    state = simplex_at(torch.tensor([[0.0], [1.0]]))
    for value in (0.0, 1.0, 0.5, 0.7, 0.2, 0.9, 0.1):
        before = {name: tensor.clone() for name, tensor in state.items()}
        moved = nelder_mead(state, torch.tensor(value))
        assert_close(state, before, equal_nan=True)
        state = moved
