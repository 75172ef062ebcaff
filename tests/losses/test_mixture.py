"""INPO's loss: the score `mixture` under the link `ipo`."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.losses import PreferenceLoss, ipo, mixture
from moalign.parts import bind, needs_of
from moalign.records import Couples, Need, Outputs

CHOSEN, REJECTED = [0, 2, 4], [1, 3, 5]


def inpo(beta, share) -> PreferenceLoss:
    return PreferenceLoss(score=bind(mixture, share=share), link=bind(ipo, beta=beta))


@pytest.fixture
def paired(case, random):
    """Return outputs, rows with all pairs kept and a previous iterate, and credit."""
    old = -random(1, 6, 4).abs()
    return case(keep=torch.ones(6, dtype=torch.bool), previous_logprobs=old + 0.3 * random(7, 6, 4))


def test_worked_value(paired) -> None:
    _, rows, credit = paired
    # one token each: log π = (-1, -2), log ref = (-3, -1), log π_t = (-2, -4); τ/η = 1/4, η = 1/2
    # h = (-1 + 2) - 1/4 (-3 + 1) - 3/4 (-2 + 4) = 1 + 1/2 - 3/2 = 0, loss (0 - 1)² = 1
    first = torch.tensor([True, False, False, False]).expand(6, 4)
    column = lambda good, bad: torch.tensor([[good], [bad]] * 3).expand(6, 4)  # noqa: E731
    rows = replace(rows, train_mask=first, reference_logprobs=column(-3.0, -1.0), previous_logprobs=column(-2.0, -4.0))
    loss = inpo(0.5, 0.25)(Outputs(column(-1.0, -2.0)), rows, credit)
    assert_close(loss, torch.ones(6, 4, 1))
    # h = (-1 + 5) - 1 = 3 where log π(y_l) is -5: (3 - 1)² = 4
    assert_close(inpo(0.5, 0.25)(Outputs(column(-1.0, -5.0)), rows, credit), torch.full((6, 4, 1), 4.0))


def test_inpo_equals_the_papers_formula(paired) -> None:
    outputs, rows, credit = paired
    eta, tau = 0.4, 0.1

    def between(logprobs: torch.Tensor) -> torch.Tensor:
        """log p(y_w) - log p(y_l)"""
        whole = (logprobs * rows.train_mask).sum(1)
        return whole[CHOSEN] - whole[REJECTED]

    h = (
        between(outputs.logprobs)
        - tau / eta * between(rows.reference_logprobs)
        - (eta - tau) / eta * between(rows.previous_logprobs)
    )
    loss = inpo(eta, tau / eta)(outputs, rows, credit)
    assert_close(loss[CHOSEN, 0, 0], (h - 1 / (2 * eta)) ** 2)
    assert_close(loss[REJECTED], loss[CHOSEN])
    (gradient,) = torch.autograd.grad(loss[CHOSEN, 0].sum(), outputs.logprobs)
    slope = torch.stack([2 * (h - 1 / (2 * eta)), -2 * (h - 1 / (2 * eta))], 1).flatten().detach()
    assert_close(gradient, torch.where(rows.train_mask, slope[:, None], 0))


def test_short_of_its_margin_a_pair_is_pulled_apart_and_beyond_it_together(paired) -> None:
    _, rows, credit = paired
    for beta, sign in ((0.01, -1), (1e6, 1)):  # margins of 50, and of almost 0
        at = rows.previous_logprobs + torch.tensor([0.2, -0.2] * 3)[:, None]  # h between 0 and 50
        near = replace(rows, reference_logprobs=rows.previous_logprobs)
        logprobs = at.clone().requires_grad_()
        loss = inpo(beta, 0.5)(Outputs(logprobs), near, credit)
        (gradient,) = torch.autograd.grad(loss[:, 0].sum(), logprobs)
        assert (sign * gradient[CHOSEN, 0] > 0).all() and (sign * gradient[REJECTED, 0] < 0).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_while_the_iterate_is_the_start_it_is_ipo(paired, share: float) -> None:
    outputs, rows, credit = paired
    first = replace(rows, previous_logprobs=rows.reference_logprobs)
    plain = PreferenceLoss(link=bind(ipo, beta=0.3))
    assert_close(inpo(0.3, share)(outputs, first, credit), plain(outputs, first, credit))
    # later only with τ = η, when the iterate plays no part; with τ = 0 the start plays none
    assert torch.allclose(inpo(0.3, share)(outputs, rows, credit), plain(outputs, rows, credit)) == (share == 1.0)
    alone = plain(outputs, replace(rows, reference_logprobs=rows.previous_logprobs), credit)
    assert torch.allclose(inpo(0.3, share)(outputs, rows, credit), alone) == (share == 0.0)


def test_share_and_beta_may_differ_between_members(paired) -> None:
    outputs, rows, credit = paired
    both = inpo(torch.tensor([0.3, 0.7]), torch.tensor([0.25, 1.0]))(outputs, rows, credit)
    assert_close(both[:4], inpo(0.3, 0.25)(outputs, rows, credit)[:4])
    assert_close(both[4:], inpo(0.7, 1.0)(outputs, rows, credit)[4:])


def test_a_micro_batch_of_whole_pairs_has_their_loss(paired) -> None:
    outputs, rows, credit = paired
    part = torch.tensor([2, 3])
    alone = inpo(0.3, 0.25)(Outputs(outputs.logprobs[part]), rows.select(part), credit)
    assert_close(alone, inpo(0.3, 0.25)(outputs, rows, credit)[part])


def test_it_says_what_it_needs(paired) -> None:
    outputs, rows, credit = paired
    assert needs_of(inpo(0.3, 0.25)) == {Need.REFERENCE, Need.PREVIOUS}
    assert inpo(0.3, 0.25).couples is Couples.GROUPS
    with pytest.raises(ConfigError, match=r"previous_logprobs` is None.*PreviousIterate"):
        inpo(0.3, 0.25)(outputs, replace(rows, previous_logprobs=None), credit)
