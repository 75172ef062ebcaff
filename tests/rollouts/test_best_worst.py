from types import SimpleNamespace

import pytest
import torch

from moalign.errors import ConfigError
from moalign.losses.preference._loss import pairs
from moalign.optimizers.scalarizers import Chebyshev
from moalign.records import Environment, Policy, Rewards, Rows
from moalign.rollouts.best_worst import BestWorst

NAN = float("nan")
# one group of four for each of two members, the same completions
REWARDS = [[0.0, 1.0], [0.6, 0.6], [1.0, 0.0], [0.2, 0.2]]
APART = [[1.0, 0.0], [0.0, 1.0]]  # what the members want


def batch(rewards, *, members: int = 2, ideal: float = NAN, keep=None) -> Rows:
    """Rewards by row of one member, NaN where missing; the same for every member, in groups of four."""
    values = torch.tensor(rewards).repeat(members, 1)
    n, each = len(values), len(rewards)
    mask = torch.ones(n, 1, dtype=torch.bool)
    member = torch.arange(members).repeat_interleave(each)
    return Rows(
        members=members,
        member=member,
        prompt_id=torch.zeros(n, dtype=torch.long),
        group=(torch.arange(each) // 4).repeat(members),
        prompt_tokens=mask.long(),
        prompt_mask=mask,
        tokens=torch.arange(n)[:, None],
        completion_mask=mask,
        train_mask=mask,
        keep=torch.ones(n, dtype=torch.bool) if keep is None else torch.tensor(keep * members),
        temperature=torch.ones(n),
        index=torch.arange(n),
        rewards=Rewards(
            values.nan_to_num(0.0), ~values.isnan(), ("a", "b"), torch.full((2,), ideal), torch.full((2,), NAN)
        ),
        columns={"completion": [f"{k}{'wxyz'[i % 4]}" for k in range(members) for i in range(each)]},
    )


class Nobody(Policy):
    """Pairs are made of rewards alone."""


class Nowhere(Environment):
    pass


def collect(rows: Rows, weights=APART, **options) -> Rows:
    class Weighting:
        def weigh(self, state, rows):
            return torch.tensor(weights)[:, None, None, :], torch.ones(rows.members)

    inner = lambda policy, env, state, now: (rows, state)  # noqa: E731
    part = BestWorst(inner, **options)
    found, state = part(Nobody(), Nowhere(), {"weighting": {}, "mark": 1}, SimpleNamespace(weighting=Weighting()))
    assert state["mark"] == 1
    return found


def chosen(rows: Rows) -> list[tuple[str, str]]:
    """The pairs as the loss reads them, by completion."""
    text = rows.columns["completion"]
    return [(text[good], text[bad]) for good, bad in pairs(rows).tolist()]


def test_pairs_by_weights() -> None:
    # member 0 wants a: 0, 0.6, 1, 0.2 for w x y z; member 1 wants b: 1, 0.6, 0, 0.2
    rows = collect(batch(REWARDS))
    assert chosen(rows) == [("0y", "0w"), ("1w", "1y")]
    # 0.9 a + 0.1 b: 0.1, 0.6, 0.9, 0.2; and a + b: 1, 1.2, 1, 0.4
    assert chosen(collect(batch(REWARDS), [[0.9, 0.1], [0.5, 0.5]])) == [("0y", "0w"), ("1x", "1z")]


def test_all_rows_stay_and_belong_together() -> None:
    before, rows = batch(REWARDS), collect(batch(REWARDS))
    assert rows.keep.tolist() == [True, True, False, False] * 2 and rows.index.tolist() == list(range(8))
    assert rows.columns["completion"] == ["0y", "0w", "0x", "0z", "1w", "1y", "1x", "1z"]
    order = rows.tokens[:, 0]  # of the first batch
    assert torch.equal(rows.rewards.values, before.rewards.values[order])
    assert torch.equal(rows.member, before.member) and torch.equal(rows.group, before.group)


def test_equal_completions_make_no_pair() -> None:
    twins = [[0.5, 0.1]] * 4 + [[0.5, 0.1], [0.5, 0.2], [0.4, 0.1], [0.5, 0.1]]
    rows = collect(batch(twins))  # the first group is a tie for both
    assert rows.keep.view(2, 2, 4).sum(2).tolist() == [[0, 2], [0, 2]]
    assert chosen(rows) == [("0w", "0y"), ("1x", "1w")]  # equally good ones: the earlier
    assert not collect(batch([[0.5, 0.1]] * 4)).keep.any()
    assert not collect(batch([[0.5, 0.1]])).keep.any()  # one completion is no pair


def test_what_was_dropped_before_is_not_compared() -> None:
    rows = collect(batch(REWARDS, keep=[True, True, False, True]))
    assert chosen(rows) == [("0x", "0w"), ("1w", "1z")]
    assert not collect(batch(REWARDS, keep=[True, False, False, False])).keep.any()


def test_a_completion_that_lacks_a_reward_of_weight_is_not_compared() -> None:
    lacking = [[0.0, 1.0], [0.6, 0.6], [NAN, 0.0], [0.2, 0.2]]
    assert chosen(collect(batch(lacking))) == [("0x", "0w"), ("1w", "1y")]  # member 1 does not ask for a
    assert chosen(collect(batch(lacking), [[0.9, 0.1]] * 2)) == [("0x", "0w"), ("1x", "1w")]
    # what no completion of the group has does not apply to it: the other objective decides
    nowhere = [[NAN, value] for value in (0.3, 0.1, 0.9, 0.5)]
    assert chosen(collect(batch(nowhere), [[0.9, 0.1]] * 2)) == [("0y", "0x"), ("1y", "1x")]
    assert not collect(batch([[NAN, NAN]] * 4)).keep.any()


@pytest.mark.parametrize("ideal", [NAN, 1.0])
def test_another_oracle(ideal: float) -> None:
    # the worst regret from (1, 1), declared or the best seen: 0.5 max(1 - a, 1 - b) = 0.5, 0.2, 0.5, 0.4
    rows = collect(batch(REWARDS, ideal=ideal), [[0.5, 0.5]] * 2, oracle=Chebyshev())
    assert chosen(rows) == [("0x", "0w"), ("1x", "1w")]
    assert collect(batch(REWARDS), [[0.5, 0.5]] * 2, oracle="chebyshev").index.equal(rows.index)


def test_rows_without_rewards_are_refused() -> None:
    rows = batch(REWARDS)
    with pytest.raises(ConfigError, match="`best-worst` compares rewards"):
        collect(Rows(**{**vars(rows), "rewards": None}))
