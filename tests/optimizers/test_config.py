"""ConFIG: its definition, torchjd, gradients that depend on each other."""

import pytest
import torch
from torch.testing import assert_close

from moalign.optimizers.gradients import config
from tests.optimizers.conftest import equal, gains, gram_of, random_gradients


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_cosines_are_the_preferences(channels: int) -> None:
    g = random_gradients(10, channels, 20, seed=channels) * torch.logspace(-3, 3, channels).double()[:, None]
    gram = gram_of(g)
    wish = torch.rand((10, channels), generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    weights = config(gram, wish)
    length = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    step = (weights * gains(weights, gram)).sum(-1, keepdim=True).sqrt()
    cosines = gains(weights, gram) / length / step
    assert_close(cosines / wish, (cosines / wish)[:, :1].expand_as(wish))
    assert (cosines > 0).all()
    assert_close(step, (cosines * length).sum(-1, keepdim=True))  # as long as the projections on it together


def test_worked_values() -> None:
    # towards (1, 1): (1 + 3) / sqrt 2 long; towards (1, 3) with a preference of 1 to 3: (1 + 9) / sqrt 10 long
    g = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    assert_close(config(gram_of(g), torch.tensor([0.5, 0.5])) @ g, torch.tensor([2.0, 2.0]))
    assert_close(config(gram_of(g), torch.tensor([0.25, 0.75])) @ g, torch.tensor([1.0, 3.0]))


@pytest.mark.parametrize("channels", [2, 4, 8])
def test_agrees_with_torchjd(channels: int) -> None:
    from torchjd.aggregation import ConFIG

    g = random_gradients(5, channels, 30, seed=channels)
    for member in g:
        gram = gram_of(member)
        assert_close(config(gram, equal(gram)) @ member, ConFIG()(member), atol=1e-8, rtol=1e-8)
    wish = torch.arange(1.0, channels + 1, dtype=torch.float64)
    assert_close(config(gram_of(g[0]), wish) @ g[0], ConFIG(wish)(g[0]), atol=1e-8, rtol=1e-8)


def test_dependent_gradients_agree_with_torchjd() -> None:
    from torchjd.aggregation import ConFIG

    for member in random_gradients(5, 4, 2, seed=3):
        gram = gram_of(member)
        assert_close(config(gram, equal(gram)) @ member, ConFIG()(member), atol=1e-6, rtol=1e-6)


def test_gradients_that_cancel_out_give_zeros() -> None:
    g = torch.tensor([[1.0, 2.0], [-3.0, -6.0]])
    assert config(gram_of(g), torch.tensor([0.5, 0.5])).tolist() == [0.0, 0.0]
