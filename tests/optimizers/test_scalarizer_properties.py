"""What all scalarizers have in common, and what each of them declares about itself, read both ways."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from moalign.optimizers.scalarizers import (
    OWA,
    PBI,
    Achievement,
    Axes,
    Box,
    Desirability,
    Gated,
    GeometricMean,
    HypervolumeScalarizer,
    InvertedPBI,
    Maximum,
    Minimum,
    Named,
    PNorm,
    Product,
    Scalarizer,
    SmoothChebyshev,
    Target,
    Through,
)
from moalign.parts import named

AXES = Axes(("a", "b", "c"), (1, -1, 1))  # b is a cost: its own values are minus the rewards
LEVELS = {"a": 0.1, "b": 0.9, "c": -0.2}
CURVES = {"a": Maximum(-2, 2), "b": Target(-2.0, 0.5, 3.0), "c": Through(((-3, 0.1), (0, 0.5), (3, 1)))}

WITH_OPTIONS = [  # beside every registered scalarizer as it comes
    Achievement({"a": 0.1, "c": 0.5}, rho=0.1),
    Desirability(CURVES),
    Desirability({"a": Minimum(-1, 2, scale=0.5), "b": Box(-1, 1), "c": Maximum(-1, 2, scale=2)}, floor=0.01),
    Gated({"b": "a", "c": "b"}, {"a": -0.5, "b": 0.5}),
    GeometricMean(LEVELS),
    HypervolumeScalarizer(LEVELS),
    InvertedPBI(LEVELS, theta=1.0),
    OWA(decay=0.9),
    PBI(theta=0.5),
    PNorm(p=1.0),
    PNorm(p=20.0),
    Product(main="a"),
    SmoothChebyshev(mu=1e-3),
]
KINDS: dict[str, Any] = {name: method.part for name, method in named("scalarizer").items()}
EVERYONE = [kind() for kind in KINDS.values()] + [
    s.told(AXES) if isinstance(s, Named) and s.objectives else s for s in WITH_OPTIONS
]
everyone = pytest.mark.parametrize("scalarizer", EVERYONE, ids=lambda s: str(s)[:70])
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.__name__)


def of(kind: type) -> list[Scalarizer]:
    return [scalarizer for scalarizer in EVERYONE if type(scalarizer) is kind]


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def simplex(count: int, seed: int) -> torch.Tensor:
    exponential = -rand(count, 3, seed=seed).log()
    return exponential / exponential.sum(dim=-1, keepdim=True)


def without(scalarizer: Scalarizer, k: int) -> Scalarizer:
    return scalarizer.among([i != k for i in range(3)])


def test_all_are_here() -> None:
    assert {type(scalarizer) for scalarizer in EVERYONE} == set(KINDS.values())
    assert all(issubclass(kind, Scalarizer) for kind in KINDS.values())


@every_kind
def test_more_is_never_worth_less_exactly_where_that_is_declared(kind: type) -> None:
    low, weights, ideal = randn(4000, 3), simplex(4000, 1), torch.full((3,), 4.0).double()
    better = low + rand(4000, 3, seed=2) * (rand(4000, 3, seed=3) > 0.5)
    losses = [(s(low, weights, ideal) - s(better, weights, ideal)).max() for s in of(kind)]
    assert (max(losses) < 1e-9) == kind.monotone


@everyone
def test_more_of_everything_is_worth_more_near_the_best(scalarizer: Scalarizer) -> None:
    low = 0.2 + 0.3 * rand(200, 3)
    ideal, weights = torch.ones(3).double(), simplex(200, 1)
    gain = scalarizer(low + 0.2, weights, ideal) - scalarizer(low, weights, ideal)
    if scalarizer.monotone:
        assert (gain > 0).all()


@every_kind
def test_more_weight_asks_for_more_exactly_where_that_is_declared(kind: type) -> None:
    angle = torch.linspace(0, torch.pi / 2, 91).double()
    front = torch.stack([angle.cos(), angle.sin()], dim=-1)
    ideal = torch.ones(2).double()
    for weights in (torch.tensor([0.7, 0.3]).double(), torch.tensor([0.3, 0.7]).double()):
        best = front[kind()(front, weights, ideal).argmax()]
        assert bool((best[0] > best[1]) == (weights[0] > weights[1])) == kind.leans


@every_kind
def test_an_objective_without_weight_is_absent_exactly_where_that_is_declared(kind: type) -> None:
    rewards, ideal, gaps = randn(500, 3), torch.full((3,), 0.5).double(), []
    for scalarizer in of(kind):
        for k in range(3):
            weights, rest = simplex(500, 1), [i for i in range(3) if i != k]
            weights[:, k] = 0
            partial = without(scalarizer, k)(rewards[:, rest], weights[:, rest], ideal[rest])
            gaps.append((scalarizer(rewards, weights, ideal) - partial).abs().max())
    assert (max(gaps) < 1e-9) == kind.skips_weightless


@everyone
def test_order_of_objectives_decides_nothing(scalarizer: Scalarizer) -> None:
    rewards, weights, ideal, turn = randn(50, 3), simplex(50, 1), rand(3, seed=2) + 1, [2, 0, 1]
    axes = Axes(tuple(AXES.names[k] for k in turn), tuple(AXES.signs[k] for k in turn))
    turned = scalarizer.told(axes) if isinstance(scalarizer, Named) and scalarizer.objectives else scalarizer
    assert_close(turned(rewards[:, turn], weights[:, turn], ideal[turn]), scalarizer(rewards, weights, ideal))


@everyone
def test_any_batch_and_broadcast_weights(scalarizer: Scalarizer) -> None:
    ideal = torch.ones(3).double()
    for shape in [(3,), (1, 3), (2, 3, 4, 3), (0, 3)]:
        rewards = randn(*shape)
        many = shape[0] if len(shape) > 1 else 1
        weights = simplex(many, 1).view(-1, *[1] * (len(shape) - 2), 3) if len(shape) > 1 else simplex(1, 1)[0]
        whole, each = scalarizer(rewards, weights, ideal), weights.expand_as(rewards).reshape(-1, 3)
        assert whole.shape == shape[:-1]
        for k, row in enumerate(rewards.reshape(-1, 3)):
            assert_close(whole.flatten()[k], scalarizer(row, each[k], ideal))


REWARDS = {
    "constant": torch.full((2, 3), 0.5),
    "zero": torch.zeros(2, 3),
    "ideal": torch.ones(2, 3),
    "huge": torch.tensor([[1e30, -1e30, 1.0], [-1e30, 1e30, 1e30], [-1e30, -1e30, -1e30], [1e30, 1e30, 1e30]]),
    "tiny": torch.full((1, 3), 1e-30),
}
WEIGHTS = [[1 / 3] * 3, [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1e-20, 0.5, 0.5]]


@everyone
@pytest.mark.parametrize("rewards", REWARDS.values(), ids=REWARDS)
def test_values_and_gradients_are_finite(scalarizer: Scalarizer, rewards: torch.Tensor) -> None:
    for weights in WEIGHTS:
        point = rewards.clone().requires_grad_()
        utility = scalarizer(point, torch.tensor(weights), torch.ones(3))
        assert utility.isfinite().all() and utility.dtype == torch.float32, weights
        (slope,) = torch.autograd.grad(utility.sum(), point)
        assert slope.isfinite().all(), weights


@everyone
def test_gradient_is_that_of_finite_differences(scalarizer: Scalarizer) -> None:
    rewards, ideal = (0.1 + 0.8 * rand(5, 3, seed=5)).requires_grad_(), torch.full((3,), 1.5).double()
    assert torch.autograd.gradcheck(lambda r: scalarizer(r, simplex(5, 1), ideal), rewards)


@everyone
def test_single_objectives_are_kept_in_order(scalarizer: Scalarizer) -> None:
    alone = scalarizer.among([True, False, False])
    values = alone(torch.linspace(0.2, 0.9, 8)[:, None], torch.ones(1), torch.ones(1))
    if scalarizer.monotone:
        assert all(a < b for a, b in pairwise(values.tolist()))


@everyone
def test_inputs_stay_as_they_are(scalarizer: Scalarizer) -> None:
    given = randn(4, 3), simplex(4, 1), torch.ones(3).double()
    copies = [x.clone() for x in given]
    assert scalarizer(*given).dtype == torch.float64
    for before, after in zip(copies, given):
        assert_close(after, before, rtol=0, atol=0)


@every_kind
def test_says_what_it_optimises(kind: type) -> None:
    assert "E[u(r)]" in (kind.__doc__ or "") and "u(E[r])" in (kind.__doc__ or "")
