"""ParetoDA: worked values, its constraints, scipy's linear programs."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.gradients import paretoda
from tests.optimizers.conftest import gains, gram_of, random_gradients


def wishes(batch: int, channels: int) -> torch.Tensor:
    wish = torch.rand((batch, channels), generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    return wish / wish.sum(-1, keepdim=True)


def test_two_worked_values() -> None:
    # the guide is (1, 0.5): g1 gains 2 and g2 loses 1.5; the step (4w - 2, 1 - w ...) may cost g2 no more than that
    g = torch.tensor([[4.0, 0.0], [-2.0, 1.0]]).double()
    weights = paretoda(gram_of(g), torch.tensor([0.5, 0.5]).double())
    # d . g2 = -8 w + 5 (1 - w) = -1.5 at w = 1/2: the guide itself
    assert_close(weights, torch.tensor([0.5, 0.5]).double())
    # without conflict all goes to the gradient that gains most by the guide: (1, 0.5) . (2, 0) = 2 > 0.5
    g = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    assert_close(paretoda(gram_of(g), torch.tensor([0.5, 0.5])), torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_agrees_with_scipy(channels: int) -> None:
    wish = wishes(6, channels)
    g = random_gradients(6, channels, 3, seed=channels)
    g[:, 0] = -g[:, 1:].mean(dim=1) + 0.5 * g[:, 0]
    for gram, p in zip(gram_of(g), wish):
        slope = (gram @ p).numpy()
        floor = np.where(slope > 0, -np.inf, slope)
        floor[slope.argmax()] = 0.0
        some = np.isfinite(floor)
        one = np.ones((1, channels))
        theirs = linprog(-slope, A_ub=-gram.numpy()[some], b_ub=-floor[some], A_eq=one, b_eq=[1.0]).x
        assert_close(paretoda(gram, p), torch.tensor(theirs), atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_further_along_the_guide_and_no_worse_for_who_opposes_it(channels: int) -> None:
    g, wish = random_gradients(20, channels, 4, seed=channels), wishes(20, channels)
    g[:, 0] = -3 * g[:, 1:].mean(dim=1) + 0.5 * g[:, 0]
    gram = gram_of(g)
    weights, guided = paretoda(gram, wish), gains(wish, gram)
    assert (weights >= 0).all()
    assert_close(weights.sum(-1), torch.ones(20).double())
    assert ((weights * guided).sum(-1) >= (wish * guided).sum(-1) - 1e-9).all()
    opposed = guided <= 0
    assert opposed.any()
    assert (gains(weights, gram)[opposed] >= guided[opposed] - 1e-7).all()


def test_eight_at_most() -> None:
    with pytest.raises(ConfigError, match="`paretoda` mixes at most 8 channels, found 9"):
        paretoda(torch.eye(9), torch.ones(9))
