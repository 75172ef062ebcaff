"""Nash-MTL and FairGrad: worked values, the equations they solve, torchjd."""

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.gradients import fairgrad, nash_mtl
from tests.optimizers.conftest import equal, gains, gram_of, random_gradients


def test_nash_of_two_worked_values() -> None:
    # orthogonal: |g|^2 w = p / w, so w = sqrt p / |g|; preferences 1 to 3 are p = 1/2 and 3/2
    g = torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    assert_close(nash_mtl(gram_of(g), torch.tensor([0.5, 0.5])), torch.tensor([1.0, 0.25]))
    assert_close(nash_mtl(gram_of(g), torch.tensor([0.25, 0.75])), torch.tensor([0.5**0.5, 1.5**0.5 / 4]))
    # cosine -1/2, length 1: w - w / 2 = 1 / w
    g = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5]])
    assert_close(nash_mtl(gram_of(g), torch.tensor([0.5, 0.5])), torch.tensor([2**0.5, 2**0.5]))


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_nash_solves_its_equation(channels: int) -> None:
    g = random_gradients(50, channels, 12, seed=channels) * torch.logspace(-6, 6, channels).double()[:, None]
    wish = torch.rand((50, channels), generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    weights = nash_mtl(gram_of(g), wish)
    assert (weights > 0).all()
    share = wish / wish.mean(-1, keepdim=True)
    assert_close(weights * gains(weights, gram_of(g)), share, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("channels", [2, 3, 8])
@pytest.mark.parametrize("alpha", [0.5, 2.0, 5.0])
def test_fairgrad_solves_its_equation(channels: int, alpha: float) -> None:
    gram = gram_of(random_gradients(50, channels, 12, seed=channels))
    wish = torch.rand((50, channels), generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    weights = fairgrad(gram, wish, alpha=alpha)
    share = wish / wish.mean(-1, keepdim=True)
    assert_close(gains(weights, gram), (weights / share) ** (-1 / alpha), atol=1e-6, rtol=1e-5)


def test_fairgrad_of_two_worked_values() -> None:
    # w = w^(-1/2) and 16 w = w^(-1/2), so w = 16^(-2/3)
    g = torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    assert_close(fairgrad(gram_of(g), torch.tensor([0.5, 0.5])), torch.tensor([1.0, 16 ** (-2 / 3)]))


def test_fairgrad_at_one_is_nash() -> None:
    gram = gram_of(random_gradients(9, 4, 12, seed=1))
    assert_close(fairgrad(gram, equal(gram), alpha=1.0), nash_mtl(gram, equal(gram)), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_fairgrad_agrees_with_torchjd(alpha: float) -> None:
    from torchjd.aggregation import FairGradWeighting

    for gram in gram_of(random_gradients(4, 4, 20, seed=6)):
        ours = fairgrad(gram, equal(gram), alpha=alpha)
        assert_close(ours, FairGradWeighting(alpha=alpha)(gram), atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*not DPP:UserWarning")
def test_nash_agrees_with_torchjd() -> None:
    from torchjd.aggregation import NashMTL

    for g in random_gradients(3, 4, 20, seed=6):
        theirs = NashMTL(n_tasks=4, max_norm=0.0, optim_niter=100)(g)
        assert_close(nash_mtl(gram_of(g), equal(gram_of(g))) @ g, theirs, atol=1e-3, rtol=1e-3)


def test_gradients_that_cancel_out_give_no_step() -> None:
    g = torch.tensor([[1.0, 2.0], [-3.0, -6.0]]).double()
    for mix in (nash_mtl, fairgrad):
        weights = mix(gram_of(g), torch.tensor([0.5, 0.5]).double())
        assert weights.isfinite().all() and (weights > 0).all()
        assert (weights @ g).norm() < 1e-3 * (weights[0] * g[0]).norm()


def test_alpha_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"`alpha` is 0.0; it must be above 0"):
        fairgrad(torch.eye(2), torch.ones(2), alpha=0.0)
