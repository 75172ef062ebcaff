from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import CreditPipeline
from moalign.errors import ConfigError
from moalign.records import Environment, Policy, Rewards, Rows
from moalign.rollouts.gfpo import GFPO
from moalign.rollouts.varying import VaryingGroups
from moalign.weighting import Constant

NAN = float("nan")


def batch(rewards: torch.Tensor, keep: torch.Tensor | None = None) -> Rows:
    """Return rows of ``rewards[member prompt group objective]``; NaN is missing."""
    members, prompts, group, objectives = rewards.shape
    member, prompt, _ = torch.cartesian_prod(*map(torch.arange, (members, prompts, group))).unbind(1)
    flat, ones = rewards.reshape(-1, objectives), torch.ones(members * prompts * group, 2, dtype=torch.long)
    nothing = torch.full((objectives,), NAN)
    return Rows(
        members=members,
        member=member,
        prompt_id=prompt,
        group=prompt,
        prompt_tokens=ones,
        prompt_mask=ones.bool(),
        tokens=ones,
        completion_mask=ones.bool(),
        train_mask=ones.bool(),
        keep=ones[:, 0].bool() if keep is None else keep,
        temperature=torch.ones(len(flat)),
        index=torch.arange(len(flat)),
        rewards=Rewards(flat.nan_to_num(0.0), ~flat.isnan(), tuple("abc"[:objectives]), nothing, nothing),
    )


class Nobody(Policy):
    """The filter reads neither policy nor environment: the wrapped collector does."""


class Nowhere(Environment):
    pass


def kept(rows: Rows, preferences: list[list[float]]) -> list[list[bool]]:
    """Return which groups of each member are kept; a group goes as a whole."""
    inner = lambda policy, env, state, now: (rows, state)  # noqa: E731
    state = {"weighting": {"preferences": torch.tensor(preferences)}}
    weights = torch.tensor(preferences)[:, None, None]
    now = SimpleNamespace(weighting=SimpleNamespace(weigh=lambda s, r: (weights, torch.ones(len(weights)))))
    got, after = VaryingGroups(inner)(Nobody(), Nowhere(), state, now)
    assert after is state
    some = got.keep.view(rows.members, int(rows.group.max()) + 1, -1).any(2)
    assert (got.keep == rows.keep & some[rows.member, rows.group]).all()
    return some.tolist()


TRADE, STILL, FIRST, SECOND = (
    torch.tensor(x) for x in ([[1.0, 0], [0, 1]], [[0.3, 0.3], [0.3, 0.3]], [[1.0, 0], [0, 0]], [[0.5, 1], [0.5, 0]])
)


def test_drops_a_group_only_when_no_weighted_reward_varies() -> None:
    rows = batch(torch.stack([TRADE, STILL, FIRST, SECOND])[None])
    assert kept(rows, [[0.5, 0.5]]) == [[True, False, True, True]]  # TRADE's sum does not vary, its vector does
    assert kept(rows, [[0.0, 1.0]]) == [[True, False, False, True]]
    assert kept(rows, [[1.0, 0.0]]) == [[True, False, True, False]]


def test_members_have_their_own_weights() -> None:
    rows = batch(torch.stack([TRADE, STILL, FIRST, SECOND]).expand(2, 4, 2, 2))
    assert kept(rows, [[0.0, 1.0], [1.0, 0.0]]) == [[True, False, False, True], [True, False, True, False]]


def test_what_is_missing_or_was_dropped_before_does_not_vary() -> None:
    alone = torch.tensor([[1.0, NAN], [NAN, 0.0]])
    rows = batch(torch.stack([alone, FIRST])[None], keep=torch.tensor([True, True, True, False]))
    assert kept(rows, [[0.5, 0.5]]) == [[False, False]]
    rounding = torch.tensor([[0.1 + 0.2, 0.0], [0.3, 0.0]])
    assert kept(batch(rounding[None, None]), [[0.5, 0.5]]) == [[False]]


def test_agrees_with_what_credit_calls_silent() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards = (torch.rand(2, 30, 3, 2, generator=generator) < 0.2).float()
    rewards[torch.rand(rewards.shape, generator=generator) < 0.2] = NAN
    rows, weights = batch(rewards), torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    pipeline = CreditPipeline()
    metrics = pipeline(rows, weights[:, None, None], torch.ones(2), pipeline.init(2, 2))[0].metrics
    groups = rows.grid(rows.rewards.valid.float())[0].any(-1).any(-1)  # those without any reward are not counted there
    found = torch.tensor(kept(rows, weights.tolist()))
    assert_close(metrics["frac_vector_zero_std"], (groups & ~found).sum(1) / groups.sum(1))


def test_needs_rewards_and_asks_what_it_wraps() -> None:
    rows = Rows(**{**vars(batch(FIRST[None, None])), "rewards": None})
    with pytest.raises(ConfigError, match="judged by their rewards"):
        VaryingGroups(lambda *a: (rows, {}))(Nobody(), Nowhere(), {}, SimpleNamespace(weighting=Constant()))
    assert VaryingGroups("pairs").columns == ("chosen", "rejected") and VaryingGroups(GFPO()).columns == ()
