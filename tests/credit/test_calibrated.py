"""Calibrated, constrained rewards: worked values, judges per task, the limit on the distance from the reference."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign import recipes
from moalign.credit import Calibrated, CreditPipeline
from moalign.errors import ConfigError, UnknownNameError
from moalign.parts import needs_of
from moalign.records import Credit, Need, Rows

NAN = float("nan")


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def credit_of(part: Calibrated, rows: Rows, weights: list[float]) -> Credit:
    each = torch.tensor(weights).expand(rows.members, 1, 1, -1)
    return part(rows, each, torch.ones(rows.members), part.init(rows.members, len(weights)))[0]


def per_row(credit: Credit) -> torch.Tensor:
    assert torch.equal(credit.advantages[:, 0], credit.advantages[:, 1])
    return credit.advantages[:, 0, 0]


def test_worked_values(make_rows) -> None:
    # r0 is a reward, mean 2; r1 a judge that refuses the second and the third
    rows = make_rows(torch.tensor([[[[0.0, 1.0], [4.0, 0.0], [1.0, 0.0], [3.0, 1.0]]]]))
    credit = credit_of(Calibrated(judges=("r1",)), rows, [0.5, 0.5])
    earned = torch.tensor([sigmoid(-2.0), 0.0, 0.0, sigmoid(1.0)])
    assert_close(
        per_row(credit), (earned - earned.mean())
    )  # with the judge out, the weight that is left counts for all
    assert credit.metrics["constraint/r1/violated"].tolist() == [0.5]
    assert credit.metrics["constraint/violated"].tolist() == [0.5]


def test_a_baseline_is_the_columns_where_one_is_named(make_rows) -> None:
    rows = make_rows(torch.tensor([[[[0.0, 1.0], [4.0, 1.0]], [[2.0, 1.0], [2.0, 1.0]]]]))
    rows = replace(rows, columns={"gold": [1.0, 1.0, 3.0, 3.0]})
    credit = credit_of(Calibrated(judges=("r1",), baselines={"r0": "gold"}), rows, [1.0, 0.0])
    earned = torch.tensor([sigmoid(-1.0), sigmoid(3.0), sigmoid(-1.0), sigmoid(-1.0)])
    assert_close(per_row(credit), earned - earned.mean())
    with pytest.raises(ConfigError, match=r"`baselines` names the column 'gld'.*did you mean gold"):
        credit_of(Calibrated(judges=("r1",), baselines={"r0": "gld"}), rows, [1.0, 0.0])


def test_a_judge_without_a_reward_does_not_apply(make_rows) -> None:
    rows = make_rows(torch.tensor([[[[1.0, NAN, 0.0], [1.0, NAN, 1.0]], [[1.0, 0.0, NAN], [1.0, 1.0, NAN]]]]))
    credit = credit_of(Calibrated(judges=("r1", "r2")), rows, [1.0, 0.0, 0.0])
    earned = torch.tensor([0.0, 0.5, 0.0, 0.5])
    assert_close(per_row(credit), earned - 0.25)
    assert credit.metrics["constraint/r1/violated"].tolist() == [0.5]


def test_without_judges_and_limits_it_is_the_inner_credit_of_a_sigmoid(make_rows) -> None:
    rewards = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    inner, rows = CreditPipeline(), make_rows(rewards)
    squashed = make_rows((rewards - rewards.mean(2, keepdim=True)).sigmoid())
    expected = inner(squashed, torch.tensor([[[[0.3, 0.7]]]]).expand(2, 1, 1, 2), torch.ones(2), inner.init(2, 2))[0]
    assert_close(credit_of(Calibrated(inner=inner), rows, [0.3, 0.7]).advantages, expected.advantages)


def test_what_strays_from_the_reference_earns_less(make_rows) -> None:
    part = Calibrated(judges=("r1",), max_kl=4.0)
    rows = make_rows(torch.tensor([[[[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]]]))
    log_ratio = torch.tensor([0.0, 1.0, 4.0, 9.0])[:, None] / 3  # of each of the three tokens
    rows = replace(rows, behaviour_logprobs=log_ratio.expand(-1, 3), reference_logprobs=torch.zeros(4, 3))
    earned = 0.5 * torch.tensor([1.0, 0.75, 0.0, 0.0])
    assert_close(per_row(credit_of(part, rows, [1.0, 0.0])), earned - earned.mean())
    assert Need.REFERENCE in needs_of(part) and Need.REFERENCE not in needs_of(Calibrated(judges=("r1",)))
    with pytest.raises(ConfigError, match="`max_kl` compares"):
        credit_of(part, replace(rows, reference_logprobs=None), [1.0, 0.0])


def test_the_rows_keep_the_rewards_that_were_scored(make_rows) -> None:
    rows = make_rows(torch.tensor([[[[1.0, 0.0], [2.0, 1.0]]]]))
    assert rows.rewards is not None
    before = rows.rewards.values.clone()
    credit_of(Calibrated(judges=("r1",)), rows, [0.5, 0.5])
    assert_close(rows.rewards.values, before)


def test_refuses_what_cannot_be(make_rows) -> None:
    with pytest.raises(ConfigError, match="`max_kl` must not be negative"):
        Calibrated(max_kl=-1.0)
    with pytest.raises(UnknownNameError, match="`judges`"):
        credit_of(Calibrated(judges=("safe",)), make_rows(torch.ones(1, 1, 2, 2)), [0.5, 0.5])
    assert any("has no `judges`" in said for said in recipes.reinforce(credit=Calibrated()).problems())
    assert recipes.reinforce(credit=Calibrated(judges=("safe",))).problems() == []
