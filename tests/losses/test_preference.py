import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import logsigmoid
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.losses import PreferenceLoss, dpo, ipo, sequence_mean
from moalign.parts import bind, needs_of
from moalign.records import Couples, Need, Outputs


@pytest.fixture
def paired(case):
    """Return outputs, rows with all pairs kept, and credit."""
    return case(keep=torch.ones(6, dtype=torch.bool))


def margins(outputs, rows) -> torch.Tensor:
    """Return what DPO compares, row by row: (chosen − rejected) of the summed log-ratios."""
    score = ((outputs.logprobs - rows.reference_logprobs) * rows.train_mask).sum(1)
    return score[0::2] - score[1::2]


def per_member(loss, rows, credit) -> torch.Tensor:
    weighted = (loss * sequence_mean(rows, credit)[..., None]).sum((1, 2))
    return torch.zeros(rows.members).index_add(0, rows.member, weighted)


def test_dpo_equals_the_closed_form(paired) -> None:
    outputs, rows, credit = paired
    got = per_member(PreferenceLoss(link=bind(dpo, beta=0.3))(outputs, rows, credit), rows, credit)
    each = -logsigmoid(0.3 * margins(outputs, rows))  # pairs 0, 1 of member 0; pair 2 of member 1
    assert_close(got, torch.stack([each[:2].mean(), each[2]]))
    (gradient,) = torch.autograd.grad(got.sum(), outputs.logprobs)
    # d/dm of -log sigmoid(beta m) is -beta sigmoid(-beta m); member 0 averages over two pairs
    slope = -0.3 * torch.sigmoid(-0.3 * margins(outputs, rows)) * torch.tensor([0.5, 0.5, 1.0])
    signs = torch.stack([slope, -slope], 1).flatten()
    assert_close(gradient, torch.where(rows.train_mask, signs[:, None], 0))


def test_ipo_value(paired) -> None:
    outputs, rows, credit = paired
    got = per_member(PreferenceLoss(link=bind(ipo, beta=0.5))(outputs, rows, credit), rows, credit)
    each = (margins(outputs, rows) - 1.0) ** 2
    assert_close(got, torch.stack([each[:2].mean(), each[2]]))


def test_mean_score_is_per_token(paired) -> None:
    outputs, rows, credit = paired
    ratio = (outputs.logprobs - rows.reference_logprobs).detach()
    margin = ratio[4, :2].mean() - ratio[5, :4].mean()
    got = PreferenceLoss(score="mean")(outputs, rows, credit)[4, 0, 0]
    assert_close(got.detach(), -logsigmoid(0.1 * margin))


def test_at_the_start_every_pair_costs_log_two(paired) -> None:
    _, rows, credit = paired
    loss = PreferenceLoss()(Outputs(rows.reference_logprobs), rows, credit)
    assert_close(per_member(loss, rows, credit), torch.full((2,), math.log(2)))


def test_pairs_survive_any_order_of_rows(paired) -> None:
    """A micro-batch may come in any order: the chosen row is the first in the *whole* batch."""
    outputs, rows, credit = paired
    expected = PreferenceLoss()(outputs, rows, credit)
    order = torch.tensor([5, 1, 3, 0, 4, 2])
    turned = PreferenceLoss()(Outputs(outputs.logprobs[order]), rows.select(order), credit)
    assert_close(turned, expected[order])


def test_dropped_pairs_cost_nothing(paired) -> None:
    outputs, rows, credit = paired
    kept = replace(rows, keep=torch.tensor([True, True, False, False, True, True]))
    expected, got = PreferenceLoss()(outputs, rows, credit), PreferenceLoss()(outputs, kept, credit)
    assert not got[2:4].any()
    assert_close(got[[0, 1, 4, 5]], expected[[0, 1, 4, 5]])
    nothing = replace(rows, keep=torch.zeros(6, dtype=torch.bool))
    assert not PreferenceLoss()(outputs, nothing, credit).any()


def test_half_a_pair_is_refused(case) -> None:
    with pytest.raises(ConfigError, match="every group needs exactly 2 kept rows, found one with 1"):
        PreferenceLoss()(*case())  # row 3 of the fixture is filtered out


def test_beta_may_differ_between_members(paired) -> None:
    outputs, rows, credit = paired
    both = PreferenceLoss(link=bind(dpo, beta=torch.tensor([0.1, 0.7])))(outputs, rows, credit)
    one = PreferenceLoss(link=bind(dpo, beta=0.7))(outputs, rows, credit)
    assert_close(both[4:], one[4:])
    assert_close(both[:4], PreferenceLoss()(outputs, rows, credit)[:4])


def test_it_says_what_it_needs(paired) -> None:
    outputs, rows, credit = paired
    assert needs_of(PreferenceLoss()) == {Need.REFERENCE}
    assert PreferenceLoss().couples is Couples.GROUPS
    with pytest.raises(ConfigError, match="reference_logprobs` is None"):
        PreferenceLoss()(outputs, replace(rows, reference_logprobs=None), credit)
