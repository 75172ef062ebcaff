"""Covariances of rewards with advantages: by hand, a plain twin, and what a step really does to the means."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.records import Credit, Rewards, Rows
from moalign.training.covariances import covariances

NAN = float("nan")


def rows_of(rewards: torch.Tensor) -> Rows:
    """Return rows of ``rewards[member prompt group objective]``, two tokens each; NaN is missing."""
    members, prompts, group, objectives = rewards.shape
    member, prompt, _ = torch.cartesian_prod(*map(torch.arange, (members, prompts, group))).unbind(1)
    n = len(member)
    ones, yes, flat = torch.ones(n, 2, dtype=torch.long), torch.ones(n, 2, dtype=torch.bool), rewards.reshape(n, -1)
    nothing = torch.full((objectives,), NAN)
    return Rows(
        members=members,
        member=member,
        prompt_id=prompt,
        group=prompt,
        prompt_tokens=ones,
        prompt_mask=yes,
        tokens=ones,
        completion_mask=yes,
        train_mask=yes,
        keep=yes[:, 0],
        temperature=torch.ones(n),
        index=torch.arange(n),
        rewards=Rewards(flat.nan_to_num(0.0), ~flat.isnan(), ("a", "b", "c")[:objectives], nothing, nothing),
    )


def credit_of(each: torch.Tensor, **fields: torch.Tensor) -> Credit:
    """Return credit that gives every token of a row the row's advantages ``[row channel]``."""
    return Credit(each[:, None].expand(-1, 2, -1).clone(), **fields)


def test_by_hand() -> None:
    rows = rows_of(torch.tensor([[[[1.0, 0.0], [0.0, 4.0]], [[1.0, 2.0], [1.0, 2.0]]]]))
    found = covariances(rows, credit_of(torch.tensor([[1.0], [-1.0], [0.5], [-0.5]])))
    # a: first group (0.5 * 1 + -0.5 * -1) / 2 = 0.5, second 0; b: (-2 * 1 + 2 * -1) / 2 = -2, and 0
    assert found["covariance/a"].tolist() == [0.25]
    assert found["covariance/b"].tolist() == [-1.0]
    # the second group has no correlation, as nothing varies in it
    assert_close(found["correlation/a"], torch.tensor([1.0]))
    assert_close(found["correlation/b"], torch.tensor([-1.0]))


def test_is_the_plain_mean_over_groups_of_what_is_there() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards = torch.rand(2, 4, 5, 3, generator=generator)
    rewards[torch.rand(rewards.shape, generator=generator) < 0.3] = NAN
    advantages = torch.randn(40, 1, generator=generator)
    found = covariances(rows_of(rewards), credit_of(advantages))
    grid = advantages.view(2, 4, 5)
    for m in range(2):
        for k, name in enumerate("abc"):
            groups = []
            for g in range(4):
                there = ~rewards[m, g, :, k].isnan()
                if there.sum() >= 2:
                    both = torch.stack([rewards[m, g, there, k], grid[m, g, there]])
                    groups.append(torch.cov(both, correction=0)[0, 1])
            assert_close(found[f"covariance/{name}"][m], torch.stack(groups).mean())


def test_channels_are_added_up_by_the_rows_weights() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = rows_of(torch.rand(1, 3, 4, 2, generator=generator))
    apart, weights = torch.randn(12, 2, generator=generator), torch.rand(12, 2, generator=generator)
    one = covariances(rows, credit_of((apart * weights).sum(1, keepdim=True)))
    assert_close(covariances(rows, credit_of(apart, weights=weights)), one)


def test_an_outlier_is_left_out_and_a_dropped_row_counts_for_nothing() -> None:
    generator = torch.Generator().manual_seed(2)
    rewards, each = torch.rand(1, 2, 6, 1, generator=generator), torch.randn(12, 1, generator=generator)
    each[3] = 1e6
    without = rewards.clone()
    without[0, 0, 3] = NAN
    found = covariances(rows_of(rewards), credit_of(each))
    assert_close(found, covariances(rows_of(without), credit_of(each.index_fill(0, torch.tensor(3), 0.1))))
    rows = rows_of(rewards)
    dropped = replace(rows, keep=rows.keep & (torch.arange(12) != 3))
    assert_close(found, covariances(dropped, credit_of(each)))


def test_nothing_to_compare_is_missing() -> None:
    rows = rows_of(torch.tensor([[[[1.0], [NAN]]], [[[1.0], [0.0]]]]))
    found = covariances(rows, credit_of(torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])))
    assert found["covariance/a"].isnan().tolist() == [True, False]
    assert covariances(replace(rows, rewards=None), credit_of(torch.zeros(4, 1))) == {}


@pytest.mark.parametrize("seed", range(5))
def test_its_sign_is_that_of_what_a_small_step_does_to_a_mean(seed: int) -> None:
    # a softmax policy over 6 answers, all of which are in the group once with equal probability: the covariance law
    generator = torch.Generator().manual_seed(seed)
    rewards, advantages = torch.randn(6, 2, generator=generator), torch.randn(6, generator=generator)
    found = covariances(rows_of(rewards[None, None]), credit_of(advantages[:, None]))
    logits = torch.zeros(6, requires_grad=True)
    (logits.log_softmax(0).exp() @ advantages).backward()
    assert logits.grad is not None
    change = ((1e-3 * logits.grad).softmax(0) - 1 / 6) @ rewards
    assert change.sign().tolist() == [float(found[f"covariance/{name}"].sign()) for name in "ab"]
