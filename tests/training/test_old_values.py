"""Values of the policy that sampled, a critic that learns alone at first, and VAPO in a world of known rewards."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from moalign import recipes
from moalign.credit import GAE
from moalign.losses import PolicyLoss, value_mse
from moalign.optimizers.steps import SGD
from moalign.parts import After, PerMember, bind
from moalign.policies import Tabular
from moalign.records import Couples, Credit, Need, Rewards, Rows
from moalign.training.descent import Descent
from moalign.training.losses import TotalLoss, complete
from moalign.training.recipe import Recipe

Go = Callable[..., Any]
WORTH = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.4, 0.4]]  # word objective
CORNERS = [[1.0, 0.0], [0.0, 1.0]]
SMALL: dict[str, Any] = {"prompts_per_step": 2, "num_generations": 8, "max_completion_length": 2, "learning_rate": 0.1}


@pytest.fixture
def policy() -> Tabular:
    """Return two members with values from a seed, that see two rows at a time."""
    made = Tabular(members=["a", "b"], prompts=2, tokens=3, vocabulary=4, value_heads=2, micro_rows=2)
    made.tensors["values"].data.normal_(generator=torch.Generator().manual_seed(0))
    made.tensors["logits"].data.normal_(generator=torch.Generator().manual_seed(1))
    return made


@pytest.fixture
def rows() -> Rows:
    """Return six rows of up to three tokens, the fourth not kept."""
    mask = torch.arange(3) < torch.tensor([3, 1, 2, 3, 2, 3])[:, None]
    zero = torch.zeros(6, dtype=torch.long)
    return Rows(
        2, torch.tensor([0, 0, 0, 1, 1, 1]), zero, zero, torch.tensor([[0], [1], [1], [0], [1], [0]]),
        torch.ones(6, 1, dtype=torch.bool), torch.arange(18).view(6, 3) % 4, mask, mask,
        torch.tensor([True, True, True, False, True, True]), torch.ones(6), torch.arange(6),
    )  # fmt: skip


def completed(policy: Tabular, rows: Rows, passes: int, *needs: Need) -> Rows:
    return complete(policy, rows, needs=frozenset(needs), couples=Couples.ROWS, passes=passes)


@pytest.mark.parametrize("passes", [1, 2])
def test_old_values_are_those_before_the_update(policy: Tabular, rows: Rows, passes: int) -> None:
    found = completed(policy, rows, passes, Need.OLD_VALUES)
    at_once = policy.forward(rows, frozenset({Need.VALUES}))
    kept = rows.keep[:, None]
    assert found.old_values is not None and not found.old_values.requires_grad
    assert_close(found.old_values, (at_once.values * kept[..., None]).detach())
    if passes == 1:
        assert found.old_logprobs is None  # one pass: the ratio is exactly 1
    else:
        assert_close(found.old_logprobs, (at_once.logprobs * kept).detach())
    part = found.select(torch.tensor([2, 0]))
    assert torch.equal(part.old_values, found.old_values[[2, 0]])


def test_old_logprobs_are_there_where_a_part_needs_them(policy: Tabular, rows: Rows) -> None:
    assert completed(policy, rows, 1).old_logprobs is None
    several = completed(policy, rows, 2).old_logprobs
    for needs in ([Need.OLD], [Need.OLD, Need.OLD_VALUES]):
        assert torch.equal(completed(policy, rows, 1, *needs).old_logprobs, several)


def test_values_are_read_only_where_a_part_needs_them_and_in_one_pass(policy: Tabular, rows: Rows, monkeypatch) -> None:
    asked: list[frozenset[Need]] = []
    forward = policy.forward
    monkeypatch.setattr(policy, "forward", lambda part, needs, **at: asked.append(needs) or forward(part, needs, **at))
    assert completed(policy, rows, 1, Need.VALUES).old_values is None and not asked
    completed(policy, rows, 2, Need.VALUES)
    assert set(asked) == {frozenset({Need.LOGPROBS})}
    parts = len(asked)
    completed(policy, rows, 2, Need.OLD_VALUES)
    assert len(asked) == 2 * parts and asked[-1] == {Need.LOGPROBS, Need.VALUES}


def test_a_batch_without_kept_rows_has_values(policy: Tabular, rows: Rows) -> None:
    none = completed(policy, replace(rows, keep=torch.zeros(6, dtype=torch.bool)), 2, Need.OLD_VALUES)
    assert none.old_values.shape == (6, 3, 2) and not none.old_values.any() and not none.old_logprobs.any()


def recipe(**changes: Any) -> Recipe:
    losses = {"policy": PolicyLoss(), "value": bind(value_mse)}
    return Recipe(**{"name": "test", "credit": GAE(alpha=10.0), "losses": losses, "steps": 40} | SMALL | changes)


def test_members_learn_what_they_prefer_from_their_heads(world: Go, go: Go) -> None:
    run = go(recipe(steps=25, learning_rate=0.2), world(WORTH), CORNERS, value_heads=2)
    odds = run.odds()
    assert (odds[0, :, :, 1] > 0.8).all() and (odds[1, :, :, 2] > 0.8).all()  # words 1 and 2 are worth most to them
    assert_close(run.policy.tensors["values"].detach()[0, :, 0, 0], torch.full((2,), 2.0), atol=0.3, rtol=0)


def test_the_policy_stays_while_the_heads_learn_alone(world: Go, go: Go) -> None:
    wait = {"policy": PolicyLoss(coefficient=After(0.5)), "value": bind(value_mse)}
    first, both = (go(recipe(losses=wait, steps=n), world(WORTH), CORNERS, value_heads=2) for n in (1, 2))
    assert first.policy.tensors["values"].any() and not first.policy.tensors["logits"].any()  # where it started
    assert both.policy.tensors["logits"].any()


def test_the_size_of_the_policy_loss_may_differ_between_members(world: Go, go: Go) -> None:
    sizes = {"policy": PolicyLoss(coefficient=PerMember([3.0, 0.0])), "value": bind(value_mse)}
    plain_sgd = {"steps": 1, "update": Descent(rule=SGD(), max_grad_norm=0.0)}
    run = go(recipe(losses=sizes, **plain_sgd), world(WORTH), CORNERS, value_heads=2)
    plain = go(recipe(**plain_sgd), world(WORTH), CORNERS, value_heads=2)
    logits, one = run.policy.tensors["logits"], plain.policy.tensors["logits"]
    assert one[0].any() and not logits[1].any()
    assert_close(logits[0], 3 * one[0])


def test_vapo_learns_what_each_member_wishes(world: Go, go: Go) -> None:
    quick = SMALL | {"steps": 14, "learning_rate": 0.3}
    made = recipes.vapo(**quick, **{"reduce.terms.positive.solved": 2.0})  # both words are the wished one
    run = go(made, world(WORTH), CORNERS, value_heads=2)
    odds = run.odds()
    assert (odds[0, :, :, 1] > 0.8).all() and (odds[1, :, :, 2] > 0.8).all()
    explained = torch.tensor([[r["values/a/explained"], r["values/b/explained"]] for r in run.records])
    assert explained[0].abs().max() < 1e-4  # the heads start at zero


def test_a_micro_batch_has_its_own_targets(policy: Tabular, rows: Rows) -> None:
    """Rows two at a time lose together what they lose at once."""
    generator = torch.Generator().manual_seed(2)
    targets, weights = torch.randn(6, 3, 2, generator=generator), torch.rand(6, 3, generator=generator)
    nothing = torch.full((2,), torch.nan)
    rewards = Rewards(targets[:, 0], torch.ones(6, 2, dtype=torch.bool), ("a", "b"), nothing, nothing)
    losses = TotalLoss(
        policy=policy,
        terms={"value": bind(value_mse)},
        credit=Credit(torch.zeros(6, 3, 1), targets=targets),
        token_weights=weights * (rows.train_mask & rows.keep[:, None]),
        preferences=torch.ones(2, 1),
        needs=frozenset({Need.VALUES}),
        couples=Couples.ROWS,
    )
    whole = replace(rows, rewards=rewards)
    parts = list(policy.split(whole, couples=Couples.ROWS))
    assert len(parts) == 3
    assert_close(torch.stack([losses(part) for part in parts]).sum(0), losses(whole))
