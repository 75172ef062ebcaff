from dataclasses import replace

import pytest
import torch
from torch.nn.functional import logsigmoid
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.losses import MODPO, PreferenceLoss, dpo
from moalign.parts import bind, needs_of
from moalign.records import Couples, Credit, Need

ROWS = [0, 2, 4]  # the chosen rows; the rejected ones follow them


@pytest.fixture
def paired(case):
    """Return outputs and rows with all pairs kept and two rewards, a and b; b is missing in the last row."""
    outputs, rows, _ = case(keep=torch.ones(6, dtype=torch.bool))
    return outputs, rows


def weights(rows, *each: list[float]) -> Credit:
    return Credit(torch.zeros(6, 4, 1), weights=torch.tensor(each)[rows.member])


def margins(outputs, rows) -> torch.Tensor:
    score = ((outputs.logprobs - rows.reference_logprobs) * rows.train_mask).sum(1)
    return (score[0::2] - score[1::2]).detach()


def test_equals_the_closed_form(paired) -> None:
    outputs, rows = paired
    loss = MODPO(objective="a", beta=0.3)(outputs, rows, weights(rows, [0.4, 0.6], [0.8, 0.2]))
    b = rows.rewards.values[0::2, 1] - rows.rewards.values[1::2, 1]
    b[2] = 0.0  # pair 2 lacks the reward of its rejected row: no margin
    own, other = torch.tensor([0.4, 0.4, 0.8]), torch.tensor([0.6, 0.6, 0.2])
    expected = -logsigmoid((0.3 * margins(outputs, rows) - other * b) / own)
    assert_close(loss[ROWS, 0, 0].detach(), expected)
    assert (loss[0::2] == loss[1::2]).all() and (loss == loss[:, :1]).all()  # every token carries its pair's loss


def test_is_dpo_exactly_when_the_others_weigh_nothing(paired) -> None:
    outputs, rows = paired
    for k, name in enumerate(("a", "b")):
        credit = weights(rows, *[[float(j == k) for j in range(2)]] * 2)
        ours = MODPO(objective=name, beta=0.3)(outputs, rows, credit)
        plain = PreferenceLoss(link=bind(dpo, beta=0.3))(outputs, rows, credit)
        assert torch.equal(ours, plain)
        gradients = [torch.autograd.grad(loss.sum(), outputs.logprobs)[0] for loss in (ours, plain)]
        assert torch.equal(*gradients)


def test_a_pair_is_pulled_further_where_the_other_objective_agrees(paired) -> None:
    # at the optimum beta m = w_k m_k + w_b m_b: the larger the other's margin, the further the pair must go
    outputs, rows = paired
    rewards = replace(rows.rewards, values=torch.tensor([[0.0, 1.0], [0.0, 0.0]] * 3), valid=torch.ones(6, 2) > 0)
    agree, against = (replace(rows, rewards=replace(rewards, values=s * rewards.values)) for s in (1, -1))
    credit = weights(rows, [0.5, 0.5], [0.5, 0.5])
    pulls = [
        torch.autograd.grad(MODPO(objective="a")(outputs, r, credit)[ROWS, 0].sum(), outputs.logprobs)[0][0, 0]
        for r in (agree, against)
    ]
    assert pulls[0] < pulls[1] < 0  # the chosen completion's gradient is downhill to more likely


def test_no_weight_of_its_own_is_finite(paired) -> None:
    outputs, rows = paired
    assert MODPO(objective="a")(outputs, rows, weights(rows, [0.0, 1.0], [0.0, 1.0])).isfinite().all()


def test_beta_per_member(paired) -> None:
    outputs, rows = paired
    credit = weights(rows, [0.4, 0.6], [0.8, 0.2])
    both = MODPO(objective="a", beta=torch.tensor([0.1, 0.5]))(outputs, rows, credit)
    each = [MODPO(objective="a", beta=b)(outputs, rows, credit) for b in (0.1, 0.5)]
    assert_close(both, torch.cat([each[0][:4], each[1][4:]]))


def test_micro_batches_keep_pairs_whole_and_add_up(paired) -> None:
    outputs, rows = paired
    credit, loss = weights(rows, [0.4, 0.6], [0.8, 0.2]), MODPO(objective="b")
    assert credit.weights is not None
    assert loss.couples is Couples.GROUPS and Need.REFERENCE in needs_of(loss)
    part = torch.tensor([2, 3])
    cut = replace(outputs, logprobs=outputs.logprobs[part], values=None)
    alone = loss(cut, rows.select(part), Credit(credit.advantages[part], weights=credit.weights[part]))
    assert_close(alone, loss(outputs, rows, credit)[part])


def test_asks_for_the_objective_of_the_pairs_and_for_rewards(paired) -> None:
    outputs, rows = paired
    credit = weights(rows, [0.4, 0.6], [0.8, 0.2])
    with pytest.raises(ConfigError, match=r"one of \('a', 'b'\), got 'c'"):
        MODPO(objective="c")(outputs, rows, credit)
    with pytest.raises(ConfigError, match="`objective`"):
        MODPO(objective="a")(outputs, replace(rows, rewards=None), credit)
