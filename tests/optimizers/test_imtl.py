"""IMTL-G: equal projections, torchjd, and the case in which its sum of 1 points uphill."""

import pytest
import torch
from torch.testing import assert_close

from moalign.optimizers.gradients import imtl_g
from tests.optimizers.conftest import equal, gains, gram_of, random_gradients


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_projections_are_equal(channels: int) -> None:
    gram = gram_of(random_gradients(10, channels, 20, seed=channels))
    weights = imtl_g(gram, equal(gram))
    projections = gains(weights, gram) / gram.diagonal(dim1=-2, dim2=-1).sqrt()
    assert_close(projections, projections[:, :1].expand_as(projections))
    assert_close(weights.sum(-1), torch.ones(10, dtype=torch.float64))


@pytest.mark.parametrize("channels", [2, 4, 8])
def test_agrees_with_torchjd(channels: int) -> None:
    from torchjd.aggregation import IMTLGWeighting

    for gram in gram_of(random_gradients(5, channels, 30, seed=channels)):
        assert_close(imtl_g(gram, equal(gram)), IMTLGWeighting()(gram), atol=1e-8, rtol=1e-8)


def test_every_channel_may_lose() -> None:
    # all three have 0.8 of (0, 1, 0) but the middle one, almost all of it: to gain no more than the others its amount
    # must be negative, and as it is short it outweighs them in the sum that is fixed to 1
    middle = torch.tensor([0.0, 1.0, 0.1]).double()
    g = torch.stack([torch.tensor([0.6, 0.8, 0.0]).double(), 0.01 * middle, torch.tensor([-0.6, 0.8, 0.0]).double()])
    weights = imtl_g(gram_of(g), torch.ones(3).double())
    assert_close(weights.sum(), torch.tensor(1.0).double())
    assert (gains(weights, gram_of(g)) < 0).all()


def test_gradients_that_cancel_out_give_zeros() -> None:
    g = torch.tensor([[1.0, 2.0], [-3.0, -6.0]])
    assert imtl_g(gram_of(g), torch.tensor([0.5, 0.5])).tolist() == [0.0, 0.0]
