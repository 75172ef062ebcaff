import math
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import AtAdvantage, AtGradient, AtReward, CreditPipeline, Whitened
from moalign.errors import ConfigError


def full(rewards: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(rewards, dtype=torch.bool)


def correlated(seed: int = 0) -> torch.Tensor:
    """Return three rewards, the second much like the first, in other units."""
    z = torch.randn(1, 6, 8, 3, generator=torch.Generator().manual_seed(seed))
    mix = torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.3, 0.2], [0.0, 0.0, 1.0]])
    return (z @ mix) * torch.tensor([1.0, 100.0, 0.01]) + torch.tensor([0.0, 7.0, 3.0])


def test_by_hand() -> None:
    # centred: (1 1) (-1 -1) (1 -1) (-1 1) / scale: already uncorrelated, root mean square 1, so they stay
    rewards = torch.tensor([[[[1.0, 1], [-1, -1], [1, -1], [-1, 1]]]]) * 5
    assert_close(Whitened()(rewards, full(rewards)), rewards / 5)
    # (1 1) (-1 -1): one direction of variance 2, divided by its root: each 1 / sqrt(2)
    rewards = torch.tensor([[[[3.0, 1.0], [1.0, -1.0]]]])
    assert_close(Whitened()(rewards, full(rewards)), torch.tensor([[[[1.0, 1.0], [-1.0, -1.0]]]]) / math.sqrt(2))


def test_advantages_are_uncorrelated_and_of_one_size() -> None:
    rewards = correlated()
    white = Whitened()(rewards, full(rewards)).view(48, 3)
    assert_close(white.T @ white / 48, torch.eye(3), atol=1e-4, rtol=0)
    assert_close(white.mean(0), torch.zeros(3), atol=1e-5, rtol=0)


def test_as_near_to_the_rewards_as_a_whitening_can_be() -> None:
    """Any other whitening is a rotation of this one, and correlates less with the standardized rewards."""
    rewards = correlated()
    white = Whitened()(rewards, full(rewards)).view(48, 3)
    centred = (rewards - rewards.mean(2, keepdim=True)).view(48, 3)
    standard = centred / centred.square().mean(0).sqrt()
    best = (white * standard).sum()
    for seed in range(5):
        rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))
        assert ((white @ rotation) * standard).sum() < best


def test_what_two_rewards_say_alike_counts_once() -> None:
    """A reward that is given twice outweighs another two to one in a sum of z-scores, and not after whitening."""
    z = torch.randn(1, 40, 8, 2, generator=torch.Generator().manual_seed(1))
    rewards = torch.stack([z[..., 0], z[..., 0], z[..., 1]], -1)
    total = Whitened()(rewards, full(rewards)).sum(-1)
    centred = z - z.mean(2, keepdim=True)
    share = [(total * centred[..., k]).sum() / centred[..., k].norm() for k in (0, 1)]
    assert_close(share[0] / share[1], torch.tensor(math.sqrt(2.0)), atol=0.1, rtol=0)  # not 2


def test_rows_are_whitened_with_those_that_have_the_same_rewards() -> None:
    rewards = correlated()
    mask = full(rewards)
    mask[:, ::2, :, 1] = False  # in half of the groups the second does not apply
    got = Whitened()(rewards, mask)
    assert_close(got[:, 1::2], Whitened()(rewards[:, 1::2], full(rewards[:, 1::2])))
    assert_close(got[:, ::2, :, ::2], Whitened()(rewards[:, ::2, :, ::2], full(rewards[:, ::2, :, ::2])))
    assert (got[:, ::2, :, 1] == 0).all()


def test_only_a_sum_of_advantages_may_follow() -> None:
    for collapse, count in ((AtAdvantage(), 0), (AtReward(), 1), (AtGradient(), 1)):
        recipe = SimpleNamespace(credit=CreditPipeline(estimate=Whitened(), collapse=collapse), num_generations=4)
        said = recipe.credit.problems(SimpleNamespace(**vars(recipe), collect=None))
        assert len(said) == count and all("bind collapse='at-advantage'" in line for line in said)


def test_a_tolerance_outside_its_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="`tolerance` is a share between 0 and 1, got 0"):
        Whitened(tolerance=0.0)
