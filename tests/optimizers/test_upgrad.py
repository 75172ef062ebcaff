"""UPGrad: worked values and non-negative least squares on the gradients themselves."""

import pytest
import torch
from scipy.optimize import nnls
from torch.testing import assert_close

from moalign.optimizers.gradients import upgrad
from tests.optimizers.conftest import equal, gains, gram_of, random_gradients


def test_of_two_worked_values() -> None:
    # (1, 1) without its part along (-3, 0) is (0, 1); (-3, 0) without its part along (1, 1) is (-1.5, 1.5)
    g = torch.tensor([[1.0, 1.0], [-3.0, 0.0]])
    assert_close(upgrad(gram_of(g), torch.tensor([0.5, 0.5])) @ g, torch.tensor([-0.75, 1.25]))
    assert_close(upgrad(gram_of(g), torch.tensor([1.0, 0.2])) @ g, torch.tensor([-0.3, 1.3]))


def test_without_conflict_it_is_the_weighted_sum() -> None:
    g = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert_close(upgrad(gram_of(g), torch.tensor([0.3, 0.7])), torch.tensor([0.3, 0.7]))


@pytest.mark.parametrize(("channels", "size"), [(2, 10), (3, 2), (5, 5), (8, 20), (8, 4)])
def test_agrees_with_projections_by_scipy(channels: int, size: int) -> None:
    g = random_gradients(4, channels, size, seed=channels + size)
    ours = (upgrad(gram_of(g), equal(gram_of(g))).unsqueeze(-2) @ g).squeeze(-2)
    for member, step in zip(g, ours):
        bent = [row + member.mT @ torch.tensor(nnls(member.mT.numpy(), -row.numpy())[0]) for row in member]
        assert_close(step, torch.stack(bent).mean(0), atol=1e-6, rtol=1e-6)


def test_agrees_with_torchjd() -> None:
    from torchjd.aggregation import UPGradWeighting

    for gram in gram_of(random_gradients(5, 4, 20, seed=6)):
        assert_close(upgrad(gram, equal(gram)), UPGradWeighting()(gram), atol=1e-3, rtol=1e-3)  # it adds 1e-4


def test_nobody_loses() -> None:
    g = random_gradients(50, 6, 4, seed=2)  # more gradients than dimensions
    gram = gram_of(g)
    assert (gains(upgrad(gram, equal(gram)), gram) >= -1e-7).all()
