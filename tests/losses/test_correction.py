"""Importance weights for another engine's samples: by hand, bounds, and that agreement changes nothing."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.losses import PolicyLoss, masked, truncated
from moalign.parts import bind, build, needs_of
from moalign.records import Need, Rows

NAN = float("nan")


def apart(rows: Rows, *differences: list[float]) -> Rows:
    """Return two rows of the first member, the trainer's log-probabilities this far above the engine's."""
    mask = torch.tensor([[True, True, True], [True, True, False]])
    two, engine = rows.select(torch.tensor([0, 1])), torch.full((2, 3), -5.0)
    return replace(
        two,
        tokens=two.tokens[:, :3],
        train_mask=mask,
        completion_mask=mask,
        behaviour_logprobs=engine,
        old_logprobs=engine + torch.tensor(differences),
    )


LN2, LN4 = math.log(2.0), math.log(4.0)


def test_by_hand(rows) -> None:
    # the trainer finds a token twice, four times, half as likely as the engine; the last one is masked
    given = apart(rows, [LN2, LN4, -LN2], [0.0, -LN4, 9.0])
    assert_close(truncated(given), torch.tensor([[2.0, 3.0, 0.5], [1.0, 0.25, 1.0]]))
    assert_close(truncated(given, floor=0.5, cap=2.0), torch.tensor([[2.0, 2.0, 0.5], [1.0, 0.5, 1.0]]))
    assert_close(truncated(given, cap=None), torch.tensor([[2.0, 4.0, 0.5], [1.0, 0.25, 1.0]]))
    assert_close(masked(given), torch.tensor([[2.0, 0.0, 0.5], [1.0, 0.25, 1.0]]))
    assert_close(masked(given, floor=0.4, cap=None), torch.tensor([[2.0, 4.0, 0.5], [1.0, 0.0, 1.0]]))
    # sequences: 2 · 4 · ½ = 4 and 1 · ¼, one weight for all tokens
    assert_close(truncated(given, level="sequence"), torch.tensor([[3.0], [0.25]]))
    assert_close(masked(given, level="sequence"), torch.tensor([[0.0], [0.25]]))


def test_what_the_engine_does_not_know_is_not_corrected(rows) -> None:
    given = apart(rows, [NAN, LN2, 0.0], [LN2, LN2, NAN])
    assert_close(truncated(given), torch.tensor([[1.0, 2.0, 1.0], [2.0, 2.0, 1.0]]))
    assert_close(truncated(given, level="sequence", cap=None), torch.tensor([[2.0], [4.0]]))
    assert PolicyLoss(correction=truncated).metrics(given)["sampling/sampling_logp_difference/mean"].isfinite().all()


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("correction", [truncated, masked])
def test_agreement_changes_nothing_bit_for_bit(case, correction, level) -> None:
    outputs, rows, credit = case()
    rows = replace(rows, behaviour_logprobs=rows.old_logprobs.clone())
    plain = PolicyLoss()(outputs, rows, credit)
    corrected = PolicyLoss(correction=bind(correction, level=level))(outputs, rows, credit)
    assert torch.equal(plain, corrected)
    (one,) = torch.autograd.grad(plain.sum(), outputs.logprobs)
    (other,) = torch.autograd.grad(corrected.sum(), outputs.logprobs)
    assert torch.equal(one, other) and one.any()


def test_a_token_is_multiplied_and_its_weight_has_no_gradient(case, random) -> None:
    outputs, rows, credit = case()
    rows = replace(rows, behaviour_logprobs=rows.old_logprobs + random(9, 6, 4))
    weights = truncated(rows)
    loss = PolicyLoss(correction="truncated", coefficient=2.0)(outputs, rows, credit)
    assert_close(loss, 2.0 * weights[..., None] * PolicyLoss()(outputs, rows, credit))
    old = rows.old_logprobs.requires_grad_()
    assert not truncated(replace(rows, old_logprobs=old)).requires_grad


def test_metrics_by_hand(rows) -> None:
    given = apart(rows, [LN2, LN4, -LN2], [0.0, -LN4, 9.0])
    assert PolicyLoss().metrics(given) == {}
    said = PolicyLoss(correction=truncated).metrics(given)
    # distances ln 2 · (1, 2, 1, 0, 2) and weights 2, 3, ½, 1, ¼
    expected = {
        "sampling/sampling_logp_difference/mean": 6 / 5 * LN2,
        "sampling/sampling_logp_difference/max": LN4,
        "sampling/importance_sampling_ratio/min": 0.25,
        "sampling/importance_sampling_ratio/mean": 6.75 / 5,
        "sampling/importance_sampling_ratio/max": 3.0,
    }
    assert said.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(said[name], torch.tensor([value, 0.0]))  # the second member has no rows here
    by_sequence = PolicyLoss(correction=bind(truncated, level="sequence")).metrics(given)
    assert_close(by_sequence["sampling/importance_sampling_ratio/mean"], torch.tensor([3.25 / 2, 0.0]))


def test_metrics_are_each_members_own(case) -> None:
    _, rows, _ = case()
    away = rows.old_logprobs - torch.tensor([0.0, 1.0])[rows.member][:, None]
    said = PolicyLoss(correction=truncated).metrics(replace(rows, behaviour_logprobs=away))
    assert_close(said["sampling/sampling_logp_difference/max"], torch.tensor([0.0, 1.0]))
    assert_close(said["sampling/importance_sampling_ratio/mean"], torch.tensor([1.0, math.e]))
    none = PolicyLoss(correction=truncated).metrics(replace(rows, behaviour_logprobs=away, keep=rows.member == 0))
    assert_close(none["sampling/importance_sampling_ratio/mean"], torch.tensor([1.0, 0.0]))


def test_it_needs_the_old_logprobs() -> None:
    assert needs_of(PolicyLoss(correction="masked")) == {Need.OLD}
    assert needs_of(PolicyLoss()) == frozenset()
    assert build("correction", "truncated", cap=2.0) == bind(truncated, cap=2.0)


def test_wrong_options(case) -> None:
    _, rows, _ = case()
    sampled = replace(rows, behaviour_logprobs=rows.old_logprobs)
    with pytest.raises(ConfigError, match="`level` must be 'token' or 'sequence', got 'tokens'"):
        truncated(sampled, level="tokens")
    with pytest.raises(ConfigError, match="`floor` must be below `cap`"):
        masked(sampled, floor=3.0)
    with pytest.raises(ConfigError, match="`correction`"):
        truncated(rows)
