"""Generalized advantages by hand, against a slow second writing of them, and what heads may not do to each other."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import GAE
from moalign.credit._generalized import explained, generalized_advantages
from moalign.errors import ConfigError
from moalign.losses import PolicyLoss, value_mse
from moalign.parts import bind
from moalign.records import Credit, Rows


@pytest.fixture
def rows(make_rows) -> Rows:
    """Return two members' groups of two, lengths 3 2 1 3, two objectives; row 1 misses objective 1."""
    rewards = torch.tensor([[[[1.0, 2.0], [0.5, torch.nan]]], [[[0.0, -1.0], [3.0, 1.0]]]])
    made = make_rows(rewards)
    mask = torch.arange(3) < torch.tensor([[3], [2], [1], [3]])
    values = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    return replace(made, completion_mask=mask, train_mask=mask, old_values=values * mask[..., None])


def run(rows: Rows, *, weights: torch.Tensor | None = None, gain: torch.Tensor | None = None, **options) -> Credit:
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0]])[:, None, None] if weights is None else weights
    return GAE(**options)(rows, weights, torch.ones(2) if gain is None else gain, {})[0]


def naive(rewards: list[float], values: list[float], lam: float, gamma: float) -> list[float]:
    """Sum the discounted surprises of one completion, each from its definition."""
    n = len(values)
    deltas = [rewards[t] + (gamma * values[t + 1] if t + 1 < n else 0.0) - values[t] for t in range(n)]
    return [sum((gamma * lam) ** (s - t) * deltas[s] for s in range(t, n)) for t in range(n)]


def test_by_hand(make_rows) -> None:
    # three tokens, alpha 1: lambda = 1 - 1/3 = 2/3; reward 1, values 0.5 0.2 0.8
    # surprises: 0.2 - 0.5 = -0.3, 0.8 - 0.2 = 0.6, 1 - 0.8 = 0.2
    # advantages: 0.2, 0.6 + 2/3 * 0.2 = 11/15, -0.3 + 2/3 * 11/15 = 17/90
    rows = replace(make_rows(torch.tensor([[[[1.0]]]])), old_values=torch.tensor([[[0.5], [0.2], [0.8]]]))
    credit, state = GAE(alpha=1.0)(rows, torch.full((1, 1, 1, 1), 0.5), torch.tensor([10.0]), {})
    assert_close(credit.advantages.flatten(), 10 * 0.5 * torch.tensor([17 / 90, 11 / 15, 0.2]))
    assert_close(credit.targets.flatten(), torch.ones(3))  # lambda_critic 1: the reward, whatever the values
    # with lambda_critic 0.5: V + A = 0.5 - 0.3 + 0.5 * 0.7, 0.2 + 0.6 + 0.5 * 0.2, 0.8 + 0.2
    half, _ = GAE(lambda_critic=0.5)(rows, torch.ones(1, 1, 1, 1), torch.ones(1), {})
    assert_close(half.targets.flatten(), torch.tensor([0.55, 0.9, 1.0]))
    assert state == {} and credit.weights.tolist() == [[0.5]]


@pytest.mark.parametrize(("alpha", "gamma", "critic"), [(0.05, 1.0, 1.0), (0.8, 0.9, 0.7), (5.0, 1.0, 0.0)])
def test_it_is_the_definition(rows, alpha: float, gamma: float, critic: float) -> None:
    credit = run(rows, alpha=alpha, gamma=gamma, lambda_critic=critic, gain=torch.tensor([2.0, 0.5]))
    for i, length in enumerate([3, 2, 1, 3]):
        lam, total = max(0.0, 1 - 1 / (alpha * length)), [0.0] * length
        for k in range(2):
            terminal = [0.0] * (length - 1) + [float(rows.rewards.values[i, k])]
            values = rows.old_values[i, :length, k].tolist()
            wanted = [v + a for v, a in zip(values, naive(terminal, values, critic, gamma))]
            assert_close(credit.targets[i, :length, k], torch.tensor(wanted))
            weight = [[0.25, 0.75], [1.0, 0.0]][i // 2][k] * (2.0 if i < 2 else 0.5) * bool(rows.rewards.valid[i, k])
            total = [s + weight * a for s, a in zip(total, naive(terminal, values, lam, gamma))]
        assert_close(credit.advantages[i, :length, 0], torch.tensor(total))
        assert not credit.advantages[i, length:].any() and not credit.targets[i, length:].any()


def test_without_values_and_with_lambda_one_it_is_the_return(rows) -> None:
    credit = run(replace(rows, old_values=torch.zeros(4, 3, 2)), alpha=1e9)
    returns = torch.tensor([0.25 * 1 + 0.75 * 2, 0.25 * 0.5, 0.0, 3.0])  # what is missing adds nothing
    assert_close(credit.advantages[..., 0], returns[:, None] * rows.completion_mask)


def test_short_completions_look_one_token_ahead(rows) -> None:
    """Below 1 / alpha tokens the length-adaptive λ would be negative; it stays at 0."""
    only = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2).expand(2, 1, 1, 2)
    v = rows.old_values[0, :, 0]
    assert_close(run(rows, weights=only).advantages[0, :, 0], torch.stack([v[1] - v[0], v[2] - v[1], 1 - v[2]]))


def test_the_heads_do_not_mix(rows) -> None:
    """Other values, rewards and holes of the second objective change nothing of the first."""
    other = rows.old_values.clone()
    other[..., 1] = 100.0 * rows.completion_mask
    valid = rows.rewards.valid.clone()
    valid[2, 1] = False
    values = torch.where(valid, rows.rewards.values * torch.tensor([1.0, 7.0]), 0)
    changed = replace(rows, old_values=other, rewards=replace(rows.rewards, values=values, valid=valid))
    first = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2).expand(2, 1, 1, 2)
    options = {"alpha": 0.7, "lambda_critic": 0.6, "weights": first}
    before, after = run(rows, **options), run(changed, **options)
    assert torch.equal(before.targets[..., 0], after.targets[..., 0])
    assert torch.equal(before.advantages, after.advantages)
    assert not torch.allclose(before.targets[..., 1], after.targets[..., 1])


def test_members_do_not_mix_and_what_is_not_kept_is_nothing(rows) -> None:
    whole, part = run(rows, alpha=1.0), run(replace(rows, keep=torch.tensor([True, False, True, True])), alpha=1.0)
    assert torch.equal(whole.advantages[[0, 2, 3]], part.advantages[[0, 2, 3]]) and not part.advantages[1].any()


def test_weights_may_differ_between_groups(rows) -> None:
    weights = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]], [[[0.5, 0.5], [0.5, 0.5]]]])
    each = run(rows, weights=weights).weights
    assert_close(each, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.5, 0.5]]))


def test_how_much_the_values_explain(rows) -> None:
    known, targets = rows.rewards.valid, run(rows, gamma=0.5).targets
    assert_close(explained(rows, targets, targets, known), torch.ones(2, 2))
    assert_close(explained(rows, torch.zeros_like(targets), targets, known), torch.zeros(2, 2), atol=1e-6, rtol=0)
    assert_close(explained(rows, 3 * targets, targets, known), torch.full((2, 2), -3.0))  # 1 - (1 - 3)² of the variance
    assert not explained(rows, targets + 1, torch.ones_like(targets), known).any()
    assert run(rows).metrics.keys() == {"values/r0/explained", "values/r1/explained"}


def test_only_the_last_token_is_rewarded() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False]])
    found = generalized_advantages(torch.ones(2, 1), torch.full((2, 3, 1), 9.0), mask, torch.zeros(2))
    assert_close(found[..., 0], torch.tensor([[0.0, -8.0, 0.0], [0.0, 0.0, 0.0]]))


def test_what_it_needs(rows) -> None:
    with pytest.raises(ConfigError, match="value heads"):
        run(replace(rows, old_values=None))
    with pytest.raises(ConfigError, match="rewards"):
        run(replace(rows, rewards=None))
    alone, taught = {"policy": PolicyLoss()}, {"policy": PolicyLoss(), "value": bind(value_mse)}
    assert "no loss trains them" in GAE().problems(SimpleNamespace(losses=alone))[0]
    assert GAE().problems(SimpleNamespace(losses=taught)) == []


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"gamma": 0.0}, {"gamma": 1.1}, {"lambda_critic": -0.1}])
def test_options_have_a_range(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="`alpha` must be positive"):
        GAE(**options)
