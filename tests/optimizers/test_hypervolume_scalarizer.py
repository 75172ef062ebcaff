"""The hypervolume scalarization: its mean over directions is the hypervolume that moocore computes."""

import math

import moocore
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from moalign.optimizers.scalarizers import Axes, HypervolumeScalarizer


def directions(count: int, objectives: int) -> torch.Tensor:
    """Draw evenly from the positive part of the sphere."""
    normal = torch.randn(count, objectives, generator=torch.Generator().manual_seed(0), dtype=torch.float64).abs()
    return normal / normal.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_mean_over_directions_is_the_hypervolume(objectives: int) -> None:
    generator = torch.Generator().manual_seed(objectives)
    points = 0.2 + torch.rand(6, objectives, generator=generator, dtype=torch.float64)
    reference = {name: 0.1 * k for k, name in enumerate("abcd"[:objectives])}
    corner = np.array(list(reference.values()))
    utility = HypervolumeScalarizer(reference).told(Axes(tuple(reference), (1,) * objectives))
    weights = directions(50_000, objectives)
    best = utility(points.expand(len(weights), -1, -1), weights[:, None], torch.ones(objectives).double()).amax(dim=1)
    expected = moocore.hypervolume(points.numpy(), ref=corner, maximise=True)
    error = float(best.std() / math.sqrt(len(best)))
    assert abs(float(best.mean()) - expected) < 4 * error + 1e-9
    assert error < 0.01 * expected


def test_value_by_hand() -> None:
    # direction (0.6, 0.8): gains 1.2 and 0.8 reach lengths 2 and 1; c_2 = pi / (4 Gamma(2)) = pi / 4
    got = HypervolumeScalarizer(reference=-0.2)(torch.tensor([1.0, 0.6]), torch.tensor([3.0, 4.0]), torch.ones(2))
    assert_close(got, torch.tensor(math.pi / 4))


def test_costs_have_their_reference_in_their_own_sign() -> None:
    # 100 of at most 400 tokens: gain 300 along (0, 1), score left out; c_1 = sqrt(pi) / (2 Gamma(3/2)) = 1
    utility = HypervolumeScalarizer({"score": 0.0, "tokens": 400}).told(Axes(("score", "tokens"), (1, -1)))
    assert_close(utility(torch.tensor([-5.0, -100.0]), torch.tensor([0.0, 1.0]), torch.ones(2)), torch.tensor(300.0))


def test_points_below_the_reference_tie() -> None:
    points = torch.tensor([[-0.1, 5.0], [0.0, 0.0], [-3.0, -3.0]])
    assert HypervolumeScalarizer()(points, torch.ones(2), torch.ones(2)).tolist() == [0.0, 0.0, 0.0]
