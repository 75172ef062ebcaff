"""Preferences: on the simplex, within bounds, spread at least as well as pymoo's, the same for the same seed."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError, UnknownNameError
from moalign.optimizers import _riesz
from moalign.optimizers.simplex import Simplex, check_on_simplex, das_dennis, riesz, sample_dirichlet


def least_distance(points: torch.Tensor) -> float:
    return float(torch.pdist(points.double()).min())


def as_set(points: torch.Tensor) -> set[tuple[float, ...]]:
    return {tuple(round(v, 4) + 0.0 for v in row) for row in points.tolist()}


@pytest.mark.parametrize(("objectives", "divisions"), [(1, 3), (2, 4), (3, 3), (4, 2)])
def test_das_dennis_is_the_lattice(objectives: int, divisions: int) -> None:
    points = das_dennis(objectives, divisions)
    assert len(points) == math.comb(divisions + objectives - 1, divisions) or objectives == 1
    check_on_simplex(points)
    assert_close(points * divisions, (points * divisions).round())
    assert len(as_set(points)) == len(points)


def test_two_objectives_are_evenly_spaced() -> None:
    assert_close(riesz(2, 5)[:, 0], torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))


def test_one_point_is_the_centroid() -> None:
    assert_close(riesz(3, 1), torch.full((1, 3), 1 / 3))
    # corners (0.5, 0.5) and (0, 1)
    assert_close(riesz(2, 1, upper=torch.tensor([0.5, 1.0])), torch.tensor([[0.25, 0.75]]))


def test_where_a_lattice_is_best_it_is_found() -> None:
    for objectives, divisions in ((3, 2), (4, 2)):
        lattice = das_dennis(objectives, divisions)
        assert_close(riesz(objectives, len(lattice)), lattice, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("objectives", "points"), [(3, 8), (4, 12)])
def test_spread_is_at_least_pymoos(objectives: int, points: int) -> None:
    from pymoo.util.ref_dirs import get_reference_directions

    ours, theirs = riesz(objectives, points), get_reference_directions("energy", objectives, points, seed=1)
    exponent = float(objectives**2)
    assert _riesz.energy(ours.double().numpy(), exponent)[0] <= _riesz.energy(theirs, exponent)[0] + 1e-3
    assert least_distance(ours) >= least_distance(torch.from_numpy(theirs)) - 1e-3
    check_on_simplex(ours)
    assert as_set(torch.eye(objectives)) <= as_set(ours)  # the corners


def test_energys_gradient_is_that_of_finite_differences() -> None:
    points = np.random.default_rng(0).dirichlet(np.ones(3), size=5)
    _, slope = _riesz.energy(points, 4.0)
    moved, step = points.copy(), 1e-6
    moved[2, 1] += step
    assert slope[2, 1] == pytest.approx((_riesz.energy(moved, 4.0)[0] - _riesz.energy(points, 4.0)[0]) / step, rel=1e-4)


def test_vertices_worked_values() -> None:
    # within [.1, 1] x [.2, .5] x [.1, 1]: at the second's lower bound .2 and its upper bound .5
    found = _riesz.vertices(np.array([0.1, 0.2, 0.1]), np.array([1.0, 0.5, 1.0]))
    expected = [[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.5, 0.4], [0.1, 0.2, 0.7]]
    assert_close(torch.from_numpy(found), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("points", [2, 4, 9])
def test_bounds_hold_and_corners_are_in(points: int) -> None:
    lower, upper = torch.tensor([0.1, 0.2, 0.1]), torch.tensor([1.0, 0.5, 1.0])
    found = riesz(3, points, lower=lower, upper=upper)
    check_on_simplex(found)
    assert (found >= lower - 1e-6).all() and (found <= upper + 1e-6).all()
    assert least_distance(found) > 0.1
    if points >= 4:
        assert {(0.7, 0.2, 0.1), (0.4, 0.5, 0.1), (0.1, 0.5, 0.4), (0.1, 0.2, 0.7)} <= as_set(found)


def test_same_seed_same_points_sorted() -> None:
    first, second = riesz(3, 8, seed=3), riesz(3, 8, seed=3)
    assert torch.equal(first, second)
    assert first.tolist() == sorted(first.tolist(), reverse=True)


@pytest.mark.parametrize("points", [6, 10])
def test_exchanging_objectives_exchanges_a_lattice(points: int) -> None:
    found = riesz(3, points)
    assert as_set(found[:, [2, 0, 1]]) == as_set(found)


def test_one_point_region_repeats() -> None:
    assert riesz(1, 3).tolist() == [[1.0], [1.0], [1.0]]
    assert_close(riesz(2, 2, lower=torch.tensor([0.4, 0.6])), torch.tensor([[0.4, 0.6], [0.4, 0.6]]))


def test_dirichlet_repeats_for_a_generator_and_has_the_right_moments() -> None:
    first = sample_dirichlet(3, 4000, alpha=2.0, generator=torch.Generator().manual_seed(0))
    again = sample_dirichlet(3, 4000, alpha=2.0, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first, again)
    check_on_simplex(first)
    # mean 1/3, variance (1/3)(2/3) / (3 * 2 + 1); standard error of the mean 0.0028
    assert_close(first.mean(dim=0), torch.full((3,), 1 / 3), atol=0.012, rtol=0)
    assert_close(first.var(dim=0), torch.full((3,), 2 / 9 / 7), atol=0.003, rtol=0)


def test_names_decide_and_their_order_does_not() -> None:
    simplex = Simplex(min={"safe": 0.2}, max={"terse": 0.5})
    one = simplex.points(["helpful", "safe", "terse"], 7)
    other = simplex.points(["terse", "helpful", "safe"], 7)
    assert torch.equal(one, other[:, [1, 2, 0]])
    assert (one[:, 1] >= 0.2 - 1e-6).all() and (one[:, 2] <= 0.5 + 1e-6).all()
    assert_close(Simplex().points(["a", "b"], 3), torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Simplex(min={"a": 1.5}), r"`min\['a'\]` must be in \[0, 1\], found 1.5"),
        (lambda: Simplex(min={"a": 0.6}, max={"a": 0.5}), "no weight lies between"),
        (lambda: Simplex(min={"a": 0.6, "b": 0.6}).points(["a", "b"], 2), "`min` bounds sum to 1.2 .* lower"),
        (lambda: Simplex(max={"a": 0.3, "b": 0.3}).points(["a", "b"], 2), "`max` bounds sum to 0.6 .* raise"),
        (lambda: riesz(2, 3, lower=torch.tensor([0.8, 0.8])), "leave no weights that sum to 1"),
        (lambda: riesz(2, 3, lower=torch.tensor([0.5, 0.0]), upper=torch.tensor([0.2, 1.0])), "none may cross"),
        (lambda: riesz(2, 3, lower=torch.tensor([0.5])), "`lower` must be 2 numbers"),
        (lambda: riesz(2, 0), "`points` must be at least 1, found 0"),
        (lambda: sample_dirichlet(2, 1, alpha=0.0, generator=torch.Generator()), "`alpha` must be positive"),
        (
            lambda: check_on_simplex(torch.tensor([1.5, -0.5])),
            r"`weights` must be >= 0 and sum to 1, found \[1.5, -0.5",
        ),
        (lambda: check_on_simplex(torch.tensor([[torch.nan, 1.0]])), r"`weights\[0\]`"),
    ],
)
def test_refusals(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_unknown_names_are_told() -> None:
    with pytest.raises(UnknownNameError, match="bounds `saef`, which is no objective; did you mean safe"):
        Simplex(min={"saef": 0.1}).points(["safe", "helpful"], 2)


def test_importing_the_room_loads_nothing_heavy() -> None:
    heavy = ("transformers", "botorch", "optuna", "pymoo", "moocore", "scipy", "peft", "datasets")
    code = f"import sys, moalign.optimizers; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
