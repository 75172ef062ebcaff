import math

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import leave_one_out, leave_one_out_scaled
from moalign.errors import ConfigError


def full(rewards: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(rewards, dtype=torch.bool)


def test_value() -> None:
    # 6 against 1 2 3: (6 - 2) / 1;  1 against 2 3 6: mean 11/3, variance (25 + 4 + 49) / 9 / 2
    rewards = torch.tensor([[[1.0, 2.0, 3.0, 6.0]]])
    got = leave_one_out_scaled(rewards, full(rewards), eps=0.0).flatten()
    assert_close(got[3], torch.tensor(4.0))
    assert_close(got[0], torch.tensor((1 - 11 / 3) / math.sqrt(78 / 18)))


def test_where_the_others_agree() -> None:
    # 0 against 1 1 1: -1, in units of the group's std of 1/2, or as it is; each 1 against 1 1 0: (1 - 2/3) / sqrt(1/3)
    rewards = torch.tensor([[[0.0, 1.0, 1.0, 1.0]]])
    for agreed, first in (("group", -2.0), ("undivided", -1.0)):
        got = leave_one_out_scaled(rewards, full(rewards), eps=0.0, agreed=agreed).flatten()
        assert_close(got, torch.tensor([first, *[math.sqrt(1 / 3)] * 3]))


def test_two_completions_have_nobody_to_measure_a_spread_by() -> None:
    # .75 apart: the group's std is .75 / sqrt(2)
    rewards = torch.tensor([[[0.25, 1.0]]])
    got = leave_one_out_scaled(rewards, full(rewards), eps=0.0).flatten()
    assert_close(got, torch.tensor([-1.0, 1.0]) * math.sqrt(2))
    got = leave_one_out_scaled(rewards, full(rewards), agreed="undivided")
    assert_close(got, leave_one_out(rewards, full(rewards)))


@pytest.mark.parametrize("agreed", ["group", "undivided"])
def test_what_rounding_leaves_is_not_divided_by(agreed: str) -> None:
    """One step of float32 between rewards of .3, divided by its own spread, would pass for a whole advantage."""
    group = [0.3 + 2**-25, *[0.3] * 7]
    rewards = torch.tensor([[group, [0.0, 1.0] * 4]])
    assert rewards[0, 0, 0] != rewards[0, 0, 1]
    assert not leave_one_out_scaled(rewards, full(rewards), agreed=agreed)[0, 0].any()
    assert not leave_one_out_scaled(rewards[:, :1], full(rewards[:, :1]), agreed=agreed).any()


def test_a_spread_is_judged_by_the_range_of_the_rewards() -> None:
    small = torch.tensor([0.0, 1e-5, 2e-5, 3e-5])
    rewards = torch.stack([small, torch.tensor([0.0, 1.0, 0.0, 1.0])])[None]
    got = leave_one_out_scaled(rewards, full(rewards), eps=0.0)
    assert_close(got[0, 0, 3], torch.tensor(2e-5 / 1e-3))  # 3 against 0 1 2, over a thousandth of the range
    assert_close(leave_one_out_scaled(rewards, full(rewards), eps=0.0, tolerance=0.0)[0, 0, 3], torch.tensor(2.0))
    assert_close(
        leave_one_out_scaled(small.view(1, 1, 4), full(small.view(1, 1, 4)), eps=0.0)[0, 0, 3], torch.tensor(2.0)
    )


@pytest.mark.parametrize("group", [2, 4, 16])
def test_no_advantage_is_larger_than_the_root_of_the_groups_size_where_the_others_agree(group: int) -> None:
    rewards = torch.zeros(1, 1, group)
    rewards[..., 0] = 1e4
    got = leave_one_out_scaled(rewards, full(rewards), eps=0.0)
    assert_close(got[0, 0, 0], torch.tensor(math.sqrt(group)))  # n/(n-1) (1 - 1/n) / sqrt(1/n)


def test_an_unknown_rule_is_refused() -> None:
    rewards = torch.zeros(1, 1, 2)
    with pytest.raises(ConfigError, match="`agreed` must be one of group, undivided, got 'none'"):
        leave_one_out_scaled(rewards, full(rewards), agreed="none")
