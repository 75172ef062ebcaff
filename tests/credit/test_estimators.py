import pytest
import torch
from torch.testing import assert_close

from moalign.credit import batch_centred, batch_scaled, group_relative, leave_one_out

ESTIMATORS = [group_relative, leave_one_out, batch_centred, batch_scaled]
each_estimator = pytest.mark.parametrize("estimate", ESTIMATORS, ids=lambda f: f.__name__)


def full(rewards: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(rewards, dtype=torch.bool)


def test_group_relative_value() -> None:
    # mean 2, deviations -1 0 1, unbiased variance (1 + 0 + 1) / 2 = 1
    rewards = torch.tensor([[[1.0, 2.0, 3.0]]])
    assert_close(group_relative(rewards, full(rewards), eps=0.0), torch.tensor([[[-1.0, 0.0, 1.0]]]))
    assert_close(group_relative(rewards, full(rewards), eps=1.0), torch.tensor([[[-0.5, 0.0, 0.5]]]))
    assert_close(group_relative(rewards * 5, full(rewards), scale=False), torch.tensor([[[-5.0, 0.0, 5.0]]]))


def test_leave_one_out_value() -> None:
    # 1 - (2 + 6) / 2 = -3;  2 - (1 + 6) / 2 = -1.5;  6 - (1 + 2) / 2 = 4.5
    rewards = torch.tensor([[[1.0, 2.0, 6.0]]])
    assert_close(leave_one_out(rewards, full(rewards)), torch.tensor([[[-3.0, -1.5, 4.5]]]))


def test_batch_centred_value() -> None:
    # members apart: means (1 + 2 + 6 + 7) / 4 = 4 and 0
    rewards = torch.tensor([[[1.0, 2.0], [6.0, 7.0]], [[0.0, 0.0], [0.0, 0.0]]])
    expected = torch.tensor([[[-3.0, -2.0], [2.0, 3.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert_close(batch_centred(rewards, full(rewards)), expected)


def test_batch_scaled_uses_the_spread_of_raw_rewards() -> None:
    # deviations ±1 within groups; std of (0, 2, 10, 12): squares 36 + 16 + 16 + 36 = 104, / 3, root 5.8878
    rewards = torch.tensor([[[0.0, 2.0], [10.0, 12.0]]])
    expected = torch.tensor([[[-1.0, 1.0], [-1.0, 1.0]]]) / (104 / 3) ** 0.5
    assert_close(batch_scaled(rewards, full(rewards), eps=0.0), expected)


@each_estimator
def test_masked_entries_get_nothing_and_change_nothing(estimate) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(2, 3, 5, 2, generator=generator)
    mask = torch.rand(2, 3, 5, 2, generator=generator) < 0.7
    other = torch.where(mask, rewards, 1e6)
    got = estimate(rewards, mask)
    assert (got[~mask] == 0).all()
    assert_close(estimate(other, mask), got, rtol=0, atol=0)


@each_estimator
def test_scalar_rewards_are_a_column(estimate) -> None:
    rewards = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    assert_close(estimate(rewards, full(rewards)), estimate(rewards[..., None], full(rewards)[..., None])[..., 0])


@each_estimator
def test_equal_rewards_give_exactly_zero(estimate) -> None:
    # 0.1 and its sums are not exact in binary: a naive mean leaves a residue that the std would blow up
    rewards = torch.full((2, 2, 7), 0.1)
    assert (estimate(rewards, full(rewards)) == 0).all()


@each_estimator
def test_a_single_value_gives_exactly_zero(estimate) -> None:
    rewards = torch.tensor([[[3.0, 7.0, 9.0]]])
    assert (estimate(rewards, torch.tensor([[[False, True, False]]])) == 0).all()
    assert (estimate(rewards, torch.zeros(1, 1, 3, dtype=torch.bool)) == 0).all()


@each_estimator
def test_advantages_add_up_to_zero(estimate) -> None:
    rewards = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(2)) + 50
    assert_close(estimate(rewards, full(rewards)).sum((1, 2)), torch.zeros(2), atol=1e-4, rtol=0)


@each_estimator
def test_members_do_not_see_each_other(estimate) -> None:
    rewards = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(3))
    assert_close(estimate(rewards, full(rewards))[1:2], estimate(rewards[1:2], full(rewards[1:2])), rtol=0, atol=0)


def test_near_constant_groups_keep_their_digits() -> None:
    # spread 3e-5 on 100: a one-pass variance loses it entirely in float32
    rewards = torch.tensor([[[100.0, 100.0 + 2**-15]]])
    expected = torch.tensor([[[-1.0, 1.0]]]) * 2**-16 / (2**-15 / 2**0.5 + 1e-4)
    assert_close(group_relative(rewards, full(rewards)), expected)


@pytest.mark.parametrize(
    ("objectives", "group", "expected"), [(2, 2, [2, 3]), (2, 3, [4, 6]), (2, 4, [7, 14]), (3, 3, [6, 10])]
)
def test_patterns_that_reach_the_policy(objectives: int, group: int, expected: list[int]) -> None:
    """Count distinct advantage vectors of binary rewards, in any order of completions: summed first, one by one."""
    groups = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * (group * objectives)).view(1, -1, group, objectives)
    first = group_relative(groups.sum(-1), full(groups)[..., 0], eps=1e-12)
    each = group_relative(groups, full(groups), eps=1e-12).sum(-1)
    patterns = [len({tuple(sorted(round(v, 4) + 0.0 for v in row)) for row in x[0].tolist()}) for x in (first, each)]
    assert patterns == expected
