from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.losses import PolicyLoss, constant_bounds, dcpo_bounds, plain, sequence_ratio, token_ratio
from moalign.parts import bind, put
from moalign.records import Credit, Outputs


def test_token_ratio_value(case) -> None:
    outputs, rows, _ = case()
    got = token_ratio(outputs, rows)
    assert_close(got[rows.train_mask], (outputs.logprobs - rows.old_logprobs)[rows.train_mask])
    assert (got[~rows.train_mask] == 0).all()


def test_without_old_logprobs_the_ratio_is_one(case) -> None:
    outputs, rows, credit = case(old_logprobs=None)
    assert not token_ratio(outputs, rows).any()
    loss = PolicyLoss()(outputs, rows, credit)
    assert_close(loss, -credit.advantages)
    loss[..., 0].sum().backward()
    expected = torch.where(rows.train_mask, -credit.advantages[..., 0], 0)  # the plain policy gradient
    assert_close(outputs.logprobs.grad, expected)


def test_sequence_ratio_is_the_mean(case) -> None:
    outputs, rows, _ = case()
    each = token_ratio(outputs, rows)
    got = sequence_ratio(outputs, rows)
    assert_close(got[0], each[0].mean().expand(4))
    assert_close(got[1], torch.cat([each[1, :2].mean().expand(2), torch.zeros(2)]))


def test_clipping_by_hand(rows) -> None:
    # ratios 1.5, 0.5 with bounds [.8, 1.2]: A > 0 keeps 1.2, .5; A < 0 keeps 1.5, .8
    ratio = torch.tensor([1.5, 0.5, 1.1, 0.9]).expand(6, 4)
    full = replace(rows, old_logprobs=torch.zeros(6, 4))
    up = PolicyLoss()(Outputs(ratio.log()), full, Credit(torch.ones(6, 4, 1)))
    down = PolicyLoss()(Outputs(ratio.log()), full, Credit(-torch.ones(6, 4, 1)))
    assert_close(up[0, :, 0], -torch.tensor([1.2, 0.5, 1.1, 0.9]))
    assert_close(down[0, :, 0], torch.tensor([1.5, 0.8, 1.1, 0.9]))
    higher = PolicyLoss(bounds=bind(constant_bounds, epsilon=0.2, epsilon_high=0.28))
    assert_close(higher(Outputs(ratio.log()), full, Credit(torch.ones(6, 4, 1)))[0, 0, 0], torch.tensor(-1.28))


def test_clipped_tokens_have_no_gradient(rows) -> None:
    logprobs = torch.tensor([1.5, 0.5, 1.1, 0.9]).log().repeat(6, 1).requires_grad_()
    full = replace(rows, old_logprobs=torch.zeros(6, 4))
    PolicyLoss()(Outputs(logprobs), full, Credit(torch.ones(6, 4, 1))).sum().backward()
    assert logprobs.grad is not None
    assert_close(logprobs.grad[0], -torch.tensor([0.0, 0.5, 1.1, 0.9]))


def test_epsilon_may_differ_between_members(case) -> None:
    outputs, rows, credit = case()
    both = PolicyLoss(bounds=bind(constant_bounds, epsilon=torch.tensor([0.1, 0.3])))(outputs, rows, credit)
    for member, epsilon in enumerate((0.1, 0.3)):
        one = put(PolicyLoss(), "bounds.epsilon", epsilon)(outputs, rows, credit)
        assert_close(both[rows.member == member], one[rows.member == member])
    dcpo = PolicyLoss(bounds=bind(dcpo_bounds, epsilon_high=torch.tensor([0.1, 0.3])))(outputs, rows, credit)
    assert_close(
        dcpo[rows.member == 1],
        PolicyLoss(bounds=bind(dcpo_bounds, epsilon_high=0.3))(outputs, rows, credit)[rows.member == 1],
    )


def test_dcpo_bounds_of_the_paper(rows) -> None:
    """The table of the authors' page: at q = .9 the new probability may reach .69 and 1.07, at q = .01 .005 and .05."""
    old = torch.tensor([0.9, 0.01, 1e-4, 1.0]).expand(6, 4)
    full = replace(rows, old_logprobs=old.log())
    low, high = dcpo_bounds(Outputs(old.log()), full)
    assert_close((old * (1 - low))[0, :2], torch.tensor([0.6919, 0.0050]), atol=5e-5, rtol=0)
    assert_close((old * (1 + high))[0, :2], torch.tensor([1.0685, 0.0500]), atol=5e-5, rtol=0)
    assert_close(high[0, 2], torch.tensor(9.0))  # r_max 10
    # where neither end is cut off, |(r - 1) p| is exactly epsilon
    ratio = 1 - low[0, 0]
    assert_close((1 - ratio) * ratio * 0.9, torch.tensor(0.16))
    # certain and impossible tokens stay finite
    low, high = dcpo_bounds(Outputs(old.log()), replace(rows, old_logprobs=torch.full((6, 4), -200.0)))
    assert_close((low[0, 0], high[0, 0]), (torch.tensor(0.5), torch.tensor(9.0)))


def test_plain_is_reinforce(case) -> None:
    outputs, rows, credit = case()
    PolicyLoss(surrogate=plain)(outputs, rows, credit)[..., 1].sum().backward()
    assert_close(outputs.logprobs.grad, torch.where(rows.train_mask, -credit.advantages[..., 1], 0))


@pytest.mark.parametrize("ratio", ["token", "sequence"])
@pytest.mark.parametrize("bounds", ["constant", "dcpo"])
@pytest.mark.parametrize("surrogate", ["clipped", "plain"])
def test_padding_may_hold_anything(case, ratio, bounds, surrogate) -> None:
    """What stands at untrained tokens changes neither loss nor gradient of the others, even where exp() overflows."""
    outputs, rows, credit = case()
    loss = PolicyLoss(ratio=ratio, bounds=bounds, surrogate=surrogate)
    clean = loss(outputs, rows, credit)[rows.train_mask]
    wild = torch.where(rows.train_mask, outputs.logprobs.detach(), 500.0).requires_grad_()
    dirty = loss(Outputs(wild), rows, credit)[rows.train_mask]
    assert_close(dirty, clean)
    dirty.sum().backward()
    assert wild.grad is not None
    assert wild.grad.isfinite().all() and not wild.grad[~rows.train_mask].any()
