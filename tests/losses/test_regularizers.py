from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.losses import KL, k1, k2, k3, k3_ratio
from moalign.parts import Linear, bind, needs_of, put
from moalign.records import Need, Outputs

ESTIMATORS = [k1, k2, k3, k3_ratio]


def test_estimators_by_hand(rows) -> None:
    # d = log 2: log 2; log(2)^2 / 2; 1/2 + log 2 - 1; and with an old policy at half of the new: twice that
    log2 = torch.tensor(2.0).log()
    zeros = torch.zeros(6, 4)
    full = replace(rows, reference_logprobs=zeros - log2, old_logprobs=zeros - log2)
    got = torch.stack([f(Outputs(zeros), full)[0, 0] for f in ESTIMATORS])
    assert_close(got, torch.stack([log2, log2**2 / 2, log2 - 0.5, 2 * (log2 - 0.5)]))


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda f: f.__name__)
def test_at_the_start_there_is_no_divergence(case, estimator) -> None:
    _, rows, _ = case()
    assert not estimator(Outputs(rows.reference_logprobs), rows).any()


@pytest.mark.parametrize(("estimator", "unbiased"), [(k1, True), (k2, False), (k3, True)], ids=["k1", "k2", "k3"])
def test_the_mean_over_samples_is_the_divergence(rows, random, estimator, unbiased) -> None:
    """Average exactly, over the policy's own distribution: k1 and k3 are the KL divergence, k2 is only near it."""
    policy, reference = random(7, 1, 4).log_softmax(-1), random(8, 1, 4).log_softmax(-1)
    full = replace(rows.select(torch.tensor([0])), reference_logprobs=reference)
    mean = (policy.exp() * estimator(Outputs(policy), full)).sum()
    exact = torch.nn.functional.kl_div(reference, policy, reduction="sum", log_target=True)
    assert torch.isclose(mean, exact) == unbiased


def test_beta_may_differ_between_members(case) -> None:
    outputs, rows, credit = case()
    both = KL(beta=torch.tensor([0.5, 2.0]))(outputs, rows, credit)
    one = KL()(outputs, rows, credit)
    assert both.shape == (6, 4, 1)
    assert_close(both[:4], 0.5 * one[:4])
    assert_close(both[4:], 2.0 * one[4:])
    assert_close(one[..., 0], k3(outputs, rows))


def test_estimators_go_by_name_and_beta_may_be_scheduled() -> None:
    assert KL("k3_ratio") == KL(bind(k3_ratio)) and KL("k3") == KL()
    assert put(KL(), "beta", Linear(0.0, 0.1)).beta == Linear(0.0, 0.1)
    assert needs_of(KL()) == {Need.REFERENCE}
