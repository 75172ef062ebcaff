from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.losses import value_mse
from moalign.parts import bind, needs_of
from moalign.records import Need


def test_value_by_hand(case) -> None:
    outputs, rows, credit = case()
    got = value_mse(outputs, rows, credit)
    error = (outputs.values - credit.targets) ** 2
    assert_close(got[0, :, 0], error[0].sum(-1))
    assert_close(got[5, :, 0], error[5, :, 0])  # the last row's second reward is missing
    assert_close(bind(value_mse, coefficient=0.1)(outputs, rows, credit), 0.1 * got)


def test_it_needs_value_heads(case) -> None:
    outputs, rows, credit = case()
    assert needs_of(value_mse) == {Need.VALUES}
    with pytest.raises(ConfigError, match="`value_mse` needs a policy with value heads"):
        value_mse(replace(outputs, values=None), rows, credit)


def test_the_best_head_is_the_mean_reward(case, random) -> None:
    """Its gradient vanishes where every head predicts the mean of its rewards."""
    outputs, rows, credit = case()
    complete = replace(rows, rewards=replace(rows.rewards, valid=torch.ones(6, 2, dtype=torch.bool)))
    head = credit.targets.mean((0, 1)).clone().requires_grad_()
    value_mse(replace(outputs, values=head.expand(6, 4, 2)), complete, credit).sum().backward()
    assert_close(head.grad, torch.zeros(2), atol=1e-5, rtol=0)
