"""Mixers: the closed form for two channels, optimality conditions, torchjd, scipy."""

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.gradients import linear, min_norm


def random_gradients(batch: int, channels: int, size: int, seed: int) -> torch.Tensor:
    return torch.randn((batch, channels, size), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gram_of(gradients: torch.Tensor) -> torch.Tensor:
    return gradients @ gradients.mT


def test_linear_returns_the_preferences() -> None:
    preferences = torch.tensor([[0.2, 0.8], [1.0, 0.0]])
    assert_close(linear(torch.randn(2, 2, 2, generator=torch.Generator().manual_seed(0)), preferences), preferences)


@pytest.mark.parametrize(
    ("gradients", "expected", "direction"),
    [
        # g2.(g2 - g1) / |g1 - g2|^2 = 4 / (1 + 4)
        ([[1.0, 0.0], [0.0, 2.0]], [0.8, 0.2], [0.8, 0.4]),
        # (-.5, 1).(-1.5, 0) / 1.5^2 = 0.75 / 2.25
        ([[1.0, 1.0], [-0.5, 1.0]], [1 / 3, 2 / 3], [0.0, 1.0]),
        # (3, 0).(2, 0) / 4 = 1.5, cut at 1: the shorter one alone
        ([[1.0, 0.0], [3.0, 0.0]], [1.0, 0.0], [1.0, 0.0]),
        # opposite: 2 / 3 and 1 / 3 leave nothing
        ([[1.0, 0.0], [-2.0, 0.0]], [2 / 3, 1 / 3], [0.0, 0.0]),
    ],
)
def test_min_norm_of_two_worked_values(gradients: list, expected: list, direction: list) -> None:
    g = torch.tensor(gradients)
    weights = min_norm(gram_of(g), torch.tensor([0.5, 0.5]))
    assert_close(weights, torch.tensor(expected))
    assert_close(weights @ g, torch.tensor(direction))


def test_min_norm_of_two_is_the_closed_form() -> None:
    g = random_gradients(50, 2, 3, seed=0)
    a, b = g[:, 0], g[:, 1]
    first = ((b * (b - a)).sum(-1) / (a - b).square().sum(-1)).clamp(0, 1)
    assert_close(min_norm(gram_of(g), torch.full((50, 2), 0.5).double())[:, 0], first, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("channels", [2, 3, 5])
@pytest.mark.parametrize("kind", ["independent", "alike", "long-and-short", "dependent"])
def test_min_norm_meets_the_optimality_conditions(channels: int, kind: str) -> None:
    g = random_gradients(20, channels, 2 if kind == "dependent" else 30, seed=channels)
    if kind == "alike":
        g = 0.05 * g + random_gradients(20, 1, 30, seed=9)
    if kind == "long-and-short":
        g = g * torch.logspace(-3, 2, channels, dtype=torch.float64)[:, None]
    gram = gram_of(g)
    weights = min_norm(gram, torch.ones(20, channels, dtype=torch.float64))
    assert (weights >= 0).all()
    assert_close(weights.sum(-1), torch.ones(20, dtype=torch.float64))
    slope = (gram @ weights.unsqueeze(-1)).squeeze(-1)  # inner products of the mix with each gradient
    length = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    gap = (weights * slope).sum(-1, keepdim=True) - slope  # no gradient gains less than the mix's own squared length
    assert (gap <= 1e-9 * length * length.amin(-1, keepdim=True)).all()


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_min_norm_agrees_with_torchjd(channels: int) -> None:
    from torchjd.aggregation import MGDAWeighting

    solve = MGDAWeighting(epsilon=1e-9, max_iters=5000)
    for gram in gram_of(random_gradients(5, channels, 20, seed=channels)):
        ours, theirs = min_norm(gram, torch.ones(channels).double()), solve(gram)
        assert_close(ours, theirs, atol=5e-3, rtol=0)  # Frank-Wolfe stops short of the exact weights
        assert ours @ gram @ ours <= (theirs @ gram @ theirs) * (1 + 1e-9)


def test_preferences_only_leave_channels_out() -> None:
    gram = gram_of(random_gradients(1, 3, 8, seed=1))[0]
    without = min_norm(gram, torch.tensor([0.9, 0.0, 0.1]).double())
    pair = min_norm(gram[[0, 2]][:, [0, 2]], torch.tensor([0.5, 0.5]).double())
    assert without[1] == 0.0
    assert_close(without[[0, 2]], pair)
    assert min_norm(gram, torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_order_of_channels_decides_nothing() -> None:
    gram, turn = gram_of(random_gradients(4, 4, 9, seed=2)), torch.tensor([2, 0, 3, 1])
    turned = min_norm(gram[:, turn][:, :, turn], torch.ones(4, 4))
    assert_close(turned, min_norm(gram, torch.ones(4, 4))[:, turn])


def test_one_members_nan_stays_with_it_and_zero_gradients_win() -> None:
    gram = torch.eye(3).repeat(3, 1, 1)
    gram[0, 1, 1] = torch.nan
    gram[2, 1, 1] = 0.0  # a zero gradient: nothing is shorter
    weights = min_norm(gram, torch.ones(3, 3))
    assert weights[0].isnan().all()
    assert_close(weights[1:], torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.0, 1.0, 0.0]]))


def test_shapes_dtypes_and_limit() -> None:
    gram = torch.eye(2).expand(4, 5, 2, 2)
    assert min_norm(gram, torch.ones(4, 5, 2)).shape == (4, 5, 2)
    assert min_norm(torch.eye(1), torch.ones(1)).tolist() == [1.0]
    assert min_norm(torch.eye(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)).dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="at most 12 channels, found 13"):
        min_norm(torch.eye(13), torch.ones(13))
