"""What every registered estimator and normalizer does, whatever its formula: all of the registry, by name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import moalign.credit  # noqa: F401 - fills the registry
from moalign.parts import build, named
from moalign.records import State

SCALING = {  # what a thousand times the rewards of one objective does to its advantages
    "group-relative": "nothing",
    "batch-scaled": "nothing",
    "leave-one-out-scaled": "nothing",
    "whitened": "nothing",
    "leave-one-out": "the same",
    "batch-centred": "the same",
}
EXACT = {"none": "the same", "group": "nothing", "batch": "nothing", "running": "nothing", "quantile": "nothing"}

estimators = pytest.mark.parametrize("name", named("estimator"))
normalizers = pytest.mark.parametrize("name", named("normalizer"))


def data(seed: int = 0, *, missing: float = 0.3, objectives: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(2, 4, 5, objectives, generator=generator)
    return rewards, torch.rand(rewards.shape, generator=generator) >= missing


def estimator(name: str, **options: Any) -> Callable[[Tensor, Tensor], Tensor]:
    return build("estimator", name, **options)


def fitted(name: str, values: Tensor, mask: Tensor) -> tuple[Tensor, State]:
    """Return values normalized by what was fitted to them, 0 where masked, and the state."""
    part = build("normalizer", name)
    state = part.init(len(values), values.shape[-1]) if hasattr(part, "init") else {}
    affine, state = part(values, mask, state)
    return torch.where(mask, affine(values), 0), state


def of(kind: str, name: str) -> Callable[[Tensor, Tensor], Tensor]:
    return estimator(name) if kind == "estimator" else lambda values, mask: fitted(name, values, mask)[0]


both = pytest.mark.parametrize(("kind", "name"), [(k, n) for k in ("estimator", "normalizer") for n in named(k)])


def test_every_one_states_its_scaling() -> None:
    assert SCALING.keys() == named("estimator").keys() and EXACT.keys() == named("normalizer").keys()


@both
def test_the_order_of_objectives_prompts_and_completions_does_not_matter(kind: str, name: str) -> None:
    rewards, mask = data()
    apply = of(kind, name)
    expected = apply(rewards, mask)
    for dim, order in ((3, [2, 0, 1]), (1, [3, 1, 0, 2]), (2, [4, 2, 0, 1, 3])):
        turn = torch.tensor(order)
        got = apply(rewards.index_select(dim, turn), mask.index_select(dim, turn))
        assert_close(got, expected.index_select(dim, turn), atol=1e-5, rtol=1e-5)


@both
def test_what_is_missing_gets_nothing_and_changes_nothing(kind: str, name: str) -> None:
    rewards, mask = data(1)
    apply = of(kind, name)
    got = apply(rewards, mask)
    assert got.shape == rewards.shape and (got[~mask] == 0).all()
    for other in (0.0, 1e6, torch.nan):
        assert_close(apply(torch.where(mask, rewards, other), mask), got, rtol=0, atol=0)


@both
def test_missing_is_not_zero(kind: str, name: str) -> None:
    rewards, mask = data(2)
    filled = torch.where(mask, rewards + 5, 0)
    if name == "none":
        return  # the only one for which the others' rewards do not matter
    apply = of(kind, name)
    assert not torch.allclose(apply(filled, mask)[mask], apply(filled, torch.ones_like(mask))[mask], atol=0.1)


@both
def test_members_do_not_see_each_other(kind: str, name: str) -> None:
    rewards, mask = data(3)
    apply = of(kind, name)
    alone = apply(rewards[1:], mask[1:])
    assert_close(apply(rewards, mask)[1:], alone, atol=1e-6, rtol=1e-6)
    assert_close(apply(torch.cat([rewards[:1] * 1e6, rewards[1:]]), mask)[1:], alone, atol=1e-6, rtol=1e-6)


@both
@pytest.mark.parametrize("size", [1, 2, 7])
def test_constant_groups_are_finite_and_teach_nothing(kind: str, name: str, size: int) -> None:
    # sums of 0.1 and of a seventh are not exact in binary: a naive mean leaves a residue that a spread would blow up
    rewards = torch.tensor([0.1, 1 / 7, -1e30]).expand(2, 3, size, 3).clone()
    got = of(kind, name)(rewards, torch.ones_like(rewards, dtype=torch.bool))
    assert got.isfinite().all()
    assert name == "none" or (got == 0).all()


@both
def test_a_group_with_a_single_reward_or_none_is_finite(kind: str, name: str) -> None:
    rewards, _ = data(4)
    mask = torch.zeros_like(rewards, dtype=torch.bool)
    mask[:, :, 2, 1] = True
    got = of(kind, name)(rewards, mask)
    assert got.isfinite().all() and (got[~mask] == 0).all()
    assert (of(kind, name)(rewards, torch.zeros_like(mask)) == 0).all()


@both
def test_huge_rewards_are_finite(kind: str, name: str) -> None:
    rewards, mask = data(5)
    huge = of(kind, name)(rewards * 1e30, mask)
    assert huge.isfinite().all()


@estimators
def test_huge_rewards_still_teach(name: str) -> None:
    rewards, mask = data(5)
    options = {"eps": 1e-12} if name in ("group-relative", "batch-scaled", "leave-one-out-scaled") else {}
    estimate = estimator(name, **options)
    expected = estimate(rewards, mask) * (1.0 if SCALING[name] == "nothing" else 1e30)
    assert_close(estimate(rewards * 1e30, mask), expected, rtol=1e-4, atol=expected.abs().max().item() * 1e-5)


@estimators
def test_scaling_one_objective(name: str) -> None:
    rewards, mask = data(6)
    factor = torch.tensor([1.0, 1000.0, 1.0])
    options = {"eps": 1e-12} if name in ("group-relative", "batch-scaled", "leave-one-out-scaled") else {}
    estimate = estimator(name, **options)
    expected = estimate(rewards, mask) * (1.0 if SCALING[name] == "nothing" else factor)
    assert_close(estimate(rewards * factor, mask), expected, rtol=1e-4, atol=1e-4)


@estimators
def test_shifting_rewards_changes_no_advantage(name: str) -> None:
    rewards, mask = data(7)
    estimate = estimator(name)
    assert_close(estimate(rewards + 4.0, mask), estimate(rewards, mask), rtol=1e-4, atol=1e-4)


@estimators
def test_one_objective_may_come_without_an_axis(name: str) -> None:
    rewards, mask = data(8, objectives=1)
    estimate = estimator(name)
    assert_close(estimate(rewards[..., 0], mask[..., 0]), estimate(rewards, mask)[..., 0], rtol=0, atol=0)


@normalizers
def test_scaling_and_shifting_what_is_normalized(name: str) -> None:
    rewards, mask = data(9)
    factor, shift = torch.tensor([1.0, 1000.0, 0.01]), torch.tensor([0.0, -7.0, 3.0])
    expected = fitted(name, rewards, mask)[0]
    if EXACT[name] == "the same":
        expected = torch.where(mask, expected * factor + shift, 0)
    assert_close(fitted(name, rewards * factor + shift, mask)[0], expected, rtol=1e-3, atol=1e-3)


@normalizers
def test_state_leads_with_member(name: str) -> None:
    rewards, mask = data(10)
    _, state = fitted(name, rewards, mask)
    _, second = fitted(name, rewards[1:], mask[1:])
    assert all(x.shape[0] == 2 for x in state.values())
    for key, x in state.items():
        assert_close(x[1:], second[key])
