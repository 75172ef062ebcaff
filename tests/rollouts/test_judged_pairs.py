from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from moalign.errors import ConfigError, UnknownNameError
from moalign.losses.preference._loss import pairs
from moalign.records import Environment, Policy, Rewards, Rows
from moalign.rollouts.judged_pairs import JudgedPairs

NAN = float("nan")


class Nobody(Policy):
    """Pairs are made of rewards alone."""


class Nowhere(Environment):
    pass


def batch(rewards: list[list[float]]) -> Rows:
    """Rows of one member in groups of four: reward, judge, judge; NaN where missing."""
    values = torch.tensor(rewards)
    n = len(values)
    mask = torch.ones(n, 1, dtype=torch.bool)
    nothing = torch.full((3,), NAN)
    return Rows(
        members=1,
        member=torch.zeros(n, dtype=torch.long),
        prompt_id=torch.arange(n) // 4,
        group=torch.arange(n) // 4,
        prompt_tokens=mask.long(),
        prompt_mask=mask,
        tokens=torch.arange(n)[:, None],
        completion_mask=mask,
        train_mask=mask,
        keep=mask[:, 0],
        temperature=torch.ones(n),
        index=torch.arange(n),
        rewards=Rewards(values.nan_to_num(0.0), ~values.isnan(), ("good", "safe", "true"), nothing, nothing),
        columns={"completion": list("wxyz" * (n // 4))},
    )


def paired(rewards: list[list[float]], judges: tuple[str, ...] = ("safe", "true")) -> list[tuple[str, str]]:
    """Return (better, worse) of each group."""

    class Weighting:
        def weigh(self, state, rows):
            return torch.tensor([[[[1.0, 0.0, 0.0]]]]), torch.ones(1)

    rows = batch(rewards)
    part = JudgedPairs(lambda policy, env, state, now: (rows, state), judges=judges)
    found, _ = part(Nobody(), Nowhere(), {"weighting": {}}, SimpleNamespace(weighting=Weighting()))
    words = found.columns["completion"]
    assert sorted(words) == sorted(rows.columns["completion"])
    return [(words[i], words[j]) for i, j in pairs(found).tolist()]


def test_the_best_that_passes_and_the_worst_that_fails() -> None:
    # w is best but unsafe, z the worst of all and passes: x over y, the worse of the two that fail
    assert paired([[9.0, 0.0, 1.0], [2.0, 1.0, 1.0], [0.5, 1.0, 0.0], [0.1, 1.0, 1.0]]) == [("x", "y")]
    # what fails may score higher than all that passes: it is refused all the same
    assert paired([[9.0, 0.0, 1.0], [2.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.1, 1.0, 1.0]]) == [("x", "w")]


def test_where_all_pass_the_worst_is_refused_and_where_none_does_there_is_no_pair() -> None:
    ones, none = [[float(k), 1.0, 1.0] for k in (2, 0, 3, 1)], [[float(k), 0.0, 1.0] for k in (2, 0, 3, 1)]
    assert paired(ones + none) == [("y", "x")]
    assert paired([[1.0, 1.0, 1.0]] * 4) == []  # all equal: nothing to learn


def test_a_judge_without_a_reward_does_not_apply() -> None:
    assert paired([[3.0, NAN, 1.0], [2.0, NAN, 0.0], [1.0, NAN, 1.0], [0.0, NAN, 1.0]]) == [("w", "x")]


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(UnknownNameError, match="`judges`"):
        paired([[1.0, 1.0, 1.0]] * 4, ("sfe",))
    without = JudgedPairs(lambda policy, env, state, now: (replace(batch([[1.0, 1.0, 1.0]] * 4), rewards=None), state))
    with pytest.raises(ConfigError, match="compares rewards"):
        without(Nobody(), Nowhere(), {"weighting": {}}, SimpleNamespace(weighting=None))
    assert without.problems(None) and not JudgedPairs(judges=("safe",)).problems(None)
