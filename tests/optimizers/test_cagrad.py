"""CAGrad: worked values, a certificate of optimality, scipy and, where its solver is there, torchjd."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.gradients import cagrad, linear, min_norm
from tests.optimizers.conftest import equal, gains, gram_of, random_gradients


def test_two_worked_values() -> None:
    # g0 = (0, 1); within 1/2 of it g1 gains x and g2 gains 2y - x, which is more: x is made as large as it can be
    g = torch.tensor([[1.0, 0.0], [-1.0, 2.0]])
    weights = cagrad(gram_of(g), torch.tensor([0.5, 0.5]), c=0.5)
    assert_close(weights @ g, torch.tensor([0.5, 1.0]))
    assert_close(weights, torch.tensor([1.0, 0.5]))  # half of both, and half of g1


@pytest.mark.parametrize("channels", [2, 3, 8])
@pytest.mark.parametrize("c", [0.2, 0.5, 2.0])
def test_no_step_in_the_ball_has_a_better_worst_case(channels: int, c: float) -> None:
    gram = gram_of(random_gradients(30, channels, 12, seed=channels))
    wish = torch.rand((30, channels), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    extra = cagrad(gram, wish, c=c) - wish
    assert (extra >= -1e-12).all()
    radius = c * (wish * gains(wish, gram)).sum(-1).sqrt()
    assert_close((extra * gains(extra, gram)).sum(-1).sqrt(), radius)
    # the dual g_w . g_0 + c |g_0| |g_w| is above every worst case, so where both are equal both are optimal
    w = extra / extra.sum(-1, keepdim=True)
    bound = (w * gains(wish, gram)).sum(-1) + radius * (w * gains(w, gram)).sum(-1).sqrt()
    assert_close(gains(wish + extra, gram).amin(-1), bound, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("channels", [2, 4])
def test_agrees_with_scipy(channels: int) -> None:
    for gram in gram_of(random_gradients(3, channels, 20, seed=5)):
        matrix, p = gram.numpy(), np.full(channels, 1 / channels)
        radius = 0.5 * np.sqrt(p @ matrix @ p)

        def dual(w: np.ndarray) -> float:
            return w @ matrix @ p + radius * np.sqrt(w @ matrix @ w)  # noqa: B023 - called within the round

        simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
        w = minimize(dual, p, bounds=[(0, 1)] * channels, constraints=simplex, options={"ftol": 1e-14}).x
        theirs = p + radius / np.sqrt(w @ matrix @ w) * w
        assert_close(cagrad(gram, equal(gram)), torch.tensor(theirs), atol=1e-4, rtol=1e-4)


def test_agrees_with_torchjd() -> None:
    from torchjd.aggregation import CAGradWeighting

    for gram in gram_of(random_gradients(5, 4, 20, seed=6)):
        assert_close(cagrad(gram, equal(gram)), CAGradWeighting(c=0.5)(gram), atol=1e-4, rtol=1e-4)


def test_small_and_large_radius() -> None:
    gram = gram_of(random_gradients(6, 3, 9, seed=3))
    assert_close(cagrad(gram, equal(gram), c=0.0), linear(gram, equal(gram)))
    far, direction = cagrad(gram, equal(gram), c=1e6), min_norm(gram, equal(gram))
    assert_close(far / far.sum(-1, keepdim=True), direction, atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match=r"`c` is -0.1"):
        cagrad(gram, equal(gram), c=-0.1)


def test_gradients_that_cancel_out_leave_no_step() -> None:
    g = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    assert_close(cagrad(gram_of(g), torch.tensor([0.5, 0.5])) @ g, torch.zeros(2))
