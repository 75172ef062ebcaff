from types import SimpleNamespace

import pytest
import torch

from moalign.errors import ConfigError
from moalign.records import Environment, Policy, Rewards, Rows
from moalign.rollouts.gfpo import GFPO

LENGTHS = [3, 1, 2, 1, 2, 2, 4, 1]  # two groups of four
REWARDS = [[3.0, 0.0], [0.0, 4.0], [4.0, 0.0], [0.5, 0.5], [1.0, 0.0], [0.0, 9.0], [6.0, 0.0], [1.0, 1.0]]


def batch(keep: list[bool] | None = None) -> Rows:
    n = len(LENGTHS)
    mask = torch.arange(4) < torch.tensor(LENGTHS)[:, None]
    ones = torch.ones(n, 1, dtype=torch.long)
    return Rows(
        members=1,
        member=torch.zeros(n, dtype=torch.long),
        prompt_id=torch.zeros(n, dtype=torch.long),
        group=torch.arange(2).repeat_interleave(4),
        prompt_tokens=ones,
        prompt_mask=ones.bool(),
        tokens=torch.zeros(n, 4, dtype=torch.long),
        completion_mask=mask,
        train_mask=mask,
        keep=torch.ones(n, dtype=torch.bool) if keep is None else torch.tensor(keep),
        temperature=torch.ones(n),
        index=torch.arange(n),
        rewards=Rewards(
            torch.tensor(REWARDS), torch.ones(n, 2, dtype=torch.bool), ("a", "b"), torch.ones(2), torch.zeros(2)
        ),
    )


class Nobody(Policy):
    """The filter reads neither policy nor environment: the wrapped collector does."""


class Nowhere(Environment):
    pass


def collect(part: GFPO, weighting=None) -> list[bool]:
    rows, state = part(Nobody(), Nowhere(), {"weighting": {}, "mark": 1}, SimpleNamespace(weighting=weighting))
    assert state["mark"] == 1
    return rows.keep.tolist()


def inner(rows: Rows):
    return lambda policy, env, state, now: (rows, state)


def test_keeps_the_shortest_of_each_group():
    # lengths 3 1 2 1 | 2 2 4 1: the two shortest; of the two of length 2 the earlier
    assert collect(GFPO(inner(batch()), retain=2)) == [False, True, False, True, True, False, False, True]


def test_keeps_the_largest_weighted_reward_per_token():
    class Weighting:
        def weigh(self, state, rows):
            return torch.tensor([0.75, 0.25])[None, None, None], torch.ones(1)

    # 0.75 a + 0.25 b over the length: 2.25/3, 1/1, 3/2, 0.5/1 | 0.75/2, 2.25/2, 4.5/4, 1/1
    kept = collect(GFPO(inner(batch()), retain=2, metric="token-efficiency"), Weighting())
    assert kept == [False, True, True, False, False, True, True, False]


def test_what_was_dropped_before_stays_dropped_and_takes_no_place():
    keep = [True, False, True, True] + [True] * 4
    assert collect(GFPO(inner(batch(keep)), retain=2))[:4] == [False, False, True, True]


def test_a_group_no_larger_than_retain_is_kept_whole():
    assert collect(GFPO(inner(batch()), retain=4)) == [True] * 8


@pytest.mark.parametrize("options", [{"retain": 0}, {"metric": "loudness"}])
def test_refuses_impossible_options(options):
    with pytest.raises(ConfigError, match=f"`{next(iter(options))}` must be"):
        GFPO(**options)
