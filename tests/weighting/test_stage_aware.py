from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.records import Rewards, Rows
from moalign.weighting import StageAware

NAN = float("nan")


def scored(rows: Rows, rewards: torch.Tensor) -> Rows:
    """Return a group of rows of each member with ``rewards[member row objective]``; NaN is missing."""
    members, size, objectives = rewards.shape
    flat, member = rewards.reshape(-1, objectives), torch.arange(members).repeat_interleave(size)
    nothing = torch.full((objectives,), NAN)
    found = Rewards(flat.nan_to_num(0.0), ~flat.isnan(), tuple("abc"[:objectives]), nothing, nothing)
    one = replace(rows, rewards=None).select(torch.zeros(len(flat), dtype=torch.long))
    group, index = torch.zeros_like(member), torch.arange(len(flat))
    return replace(one, members=members, member=member, group=group, index=index, rewards=found)


def weigh(rows: Rows, declare, rewards, preference, *, delta: float = 1e-9, nadir=None) -> torch.Tensor:
    x = torch.as_tensor(rewards)
    x = x if x.ndim == 3 else x[None]
    names = "abc"[: x.shape[2]]
    part = StageAware(delta)
    state = part.init(torch.tensor([preference] * len(x)), declare(names, nadir=nadir or [0.0] * x.shape[2]))
    weights, gain = part.weigh(state, scored(rows, x))
    assert gain.tolist() == [1.0] * len(x)
    return weights[:, 0, 0]


GOLDEN = [[1.0, 0.5], [1.0, 0.1], [0.0, 0.9], [1.0, 0.5]]  # c = .5/.75 = .6667 and .3266/.5 = .6532


def test_golden_weights(rows, declare) -> None:
    # 2 c / (.6667 + .6532) = 1.0102 and .9898 for equal preferences, half of it on the simplex
    got = weigh(rows, declare, GOLDEN, [1.0, 1.0])
    assert_close(2 * got, torch.tensor([[1.0102, 0.9898]]), atol=5e-5, rtol=0)


def test_what_has_become_alike_loses_its_weight(rows, declare) -> None:
    rewards = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert_close(weigh(rows, declare, rewards, [0.9, 0.1]), torch.tensor([[0.0, 1.0]]))


def test_where_nothing_varies_the_preference_stays(rows, declare) -> None:
    assert_close(weigh(rows, declare, torch.ones(3, 2), [3.0, 1.0]), torch.tensor([[0.75, 0.25]]))
    assert_close(weigh(rows, declare, torch.full((3, 2), NAN), [3.0, 1.0]), torch.tensor([[0.75, 0.25]]))


def test_the_unit_of_a_reward_does_not_matter_but_its_zero_does(rows, declare) -> None:
    rewards = torch.tensor(GOLDEN)
    plain = weigh(rows, declare, rewards, [1.0, 1.0])
    assert_close(weigh(rows, declare, rewards * torch.tensor([100.0, 1.0]), [1.0, 1.0]), plain)
    shifted = weigh(rows, declare, rewards - torch.tensor([3.0, 0.0]), [1.0, 1.0], nadir=[-3.0, 0.0])
    assert_close(shifted, plain)
    assert not torch.allclose(weigh(rows, declare, rewards + torch.tensor([3.0, 0.0]), [1.0, 1.0]), plain)


def test_an_objective_nobody_wants_takes_no_share(rows, declare) -> None:
    wide = torch.cat([torch.tensor(GOLDEN), torch.tensor([[0.0], [9.0], [0.0], [0.0]])], 1)
    got = weigh(rows, declare, wide, [1.0, 1.0, 0.0])
    assert_close(got, torch.cat([weigh(rows, declare, GOLDEN, [1.0, 1.0]), torch.zeros(1, 1)], 1))


def test_members_and_missing_rewards_are_apart(rows, declare) -> None:
    more = torch.cat([torch.tensor(GOLDEN), torch.tensor([[NAN, NAN], [NAN, NAN]])])
    other = torch.rand(6, 2, generator=torch.Generator().manual_seed(0))
    got = weigh(rows, declare, torch.stack([more, other]), [1.0, 1.0])
    assert_close(got[:1], weigh(rows, declare, GOLDEN, [1.0, 1.0]))
    assert_close(got[1:], weigh(rows, declare, other, [1.0, 1.0]))


def test_rewards_without_bounds_are_refused(declare) -> None:
    with pytest.raises(ConfigError, match="give `bounds` to b"):
        StageAware().init(torch.ones(1, 2), declare("ab", nadir=[0.0, NAN]))
    with pytest.raises(ConfigError, match="`delta` must be a positive number, got 0"):
        StageAware(delta=0.0)
