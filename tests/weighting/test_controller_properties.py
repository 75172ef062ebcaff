"""What every controller keeps: the simplex, order, missing values, extremes, gathering, restoring."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from moalign.parts import named
from moalign.records import Rewards, Rows, Setting, Signals
from moalign.runs.checkpoints import read_state, write_state
from moalign.training.gather import gather_state, tensors_of
from moalign.weighting import (
    ByColumn,
    Constant,
    Controller,
    CovarianceTargets,
    FromScalarizer,
    Gated,
    GradientInfluence,
    GradNorm,
    GRPOLambda,
    HypervolumeGain,
    HypervolumeGradient,
    Lagrangian,
    RewardWeights,
    SampledPreferences,
    Scheduled,
    StageAware,
    ThresholdSearch,
)

NAN = float("nan")
MEMBERS, PROMPTS, NAMES = 5, 3, ("a", "b", "c")


def smooth(rewards, weights, ideal):
    return -torch.logsumexp(weights * (ideal - rewards) / 0.1, dim=-1)


EXAMPLES: dict[str, list[Any]] = {
    "by-column": [
        ByColumn("task", {"code": GRPOLambda(), "chat": Scheduled(to={"b": 1.0})}, otherwise=Lagrangian()),
    ],
    "constant": [Constant()],
    "covariance-targets": [CovarianceTargets(rate=0.5), CovarianceTargets(targets={"b": 0.3}, correlation=True)],
    "from-scalarizer": [FromScalarizer(smooth, floor=0.1)],
    "gated": [Gated(), Gated(main="c", at=0.4, width=0.05)],
    "gradient-influence": [GradientInfluence(), GradientInfluence(every=3, floor=0.1)],
    "gradnorm": [GradNorm(lr=0.2)],
    "grpo-lambda": [GRPOLambda()],
    "hypervolume-gain": [HypervolumeGain(keep=2), HypervolumeGain(from_start=False)],
    "hypervolume-gradient": [
        HypervolumeGradient(warmup=2, ramp=3),
        HypervolumeGradient(dominated="chebyshev", step=0.0, warmup=2, ramp=3),
    ],
    "lagrangian": [Lagrangian(multiplier_lr=0.5), Lagrangian(derivative=2.0)],
    "reward-weights": [RewardWeights(weights={"a": 2.0, "c": -1.0})],
    "sampled-preferences": [SampledPreferences(), SampledPreferences(per="prompt", alpha=0.01, centred=True)],
    "schedule": [Scheduled(to={"b": 1.0, "c": 3.0}, begin=0.25)],
    "stage-aware": [StageAware()],
    "threshold-search": [ThresholdSearch("a", hold=2)],
}
CONTROLLERS = [(f"{name}-{i}", part) for name, parts in EXAMPLES.items() for i, part in enumerate(parts)]
each = pytest.mark.parametrize("controller", [c for _, c in CONTROLLERS], ids=[name for name, _ in CONTROLLERS])
# a hypervolume belongs to all members: this one alone may look at the neighbours
ALONE = [(name, c) for name, c in CONTROLLERS if not isinstance(c, HypervolumeGradient)]
# these do not begin at the preference: by design, or in units of the declared range
BY_ROWS = SampledPreferences | GRPOLambda | Gated | ByColumn | StageAware
ELSEWHERE = RewardWeights | HypervolumeGradient | BY_ROWS | ThresholdSearch


def setting_of(order: list[int]) -> Setting:
    pick = lambda values: torch.tensor(values)[order]  # noqa: E731
    return Setting(
        names=tuple(NAMES[i] for i in order),
        ideal=pick([1.0, 1.0, 10.0]),
        nadir=pick([0.0, -1.0, -10.0]),
        reference=pick([0.0, 0.1, -5.0]),
        thresholds=pick([NAN, 0.6, 5.0]),
    )


def preferences() -> torch.Tensor:
    return torch.rand(MEMBERS, len(NAMES), generator=torch.Generator().manual_seed(7)) + 0.05


@pytest.fixture
def batch(rows: Rows) -> Callable[..., Rows]:
    """Return a maker of rows: every member answers three prompts twice, some rewards are missing."""
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(MEMBERS, PROMPTS, 2, len(NAMES), generator=generator)
    valid = torch.rand(values.shape, generator=generator) < 0.8

    def make(members: list[int], order: list[int]) -> Rows:
        count = len(members) * PROMPTS * 2
        member, prompt, _ = torch.cartesian_prod(*map(torch.arange, (len(members), PROMPTS, 2))).unbind(1)
        shown = valid[members][..., order].reshape(count, -1)
        seen = torch.where(shown, values[members][..., order].reshape(count, -1), 0.0)
        nothing = torch.full((len(order),), NAN)
        rewards = Rewards(seen, shown, tuple(NAMES[i] for i in order), nothing, nothing)
        tasks = [("code", "chat", "other")[p] for p in prompt.tolist()]
        one = replace(rows, rewards=None).select(torch.zeros(count, dtype=torch.long))
        fields = {"member": member, "group": prompt, "prompt_id": prompt, "index": torch.arange(count)}
        return replace(one, members=len(members), rewards=rewards, columns={"task": tasks}, **fields)

    return make


def signals_at(step: int, means: torch.Tensor, stds: torch.Tensor, scale: float = 1.0) -> Signals:
    """Return signals with what an update tells: a Gram matrix and covariances."""
    generator = torch.Generator().manual_seed(100 + step)
    gradients = torch.randn(MEMBERS, len(NAMES), 4, generator=generator) * scale
    metrics = {
        f"gram/{i}__{j}": (gradients[:, i] * gradients[:, j]).sum(1)
        for i in range(len(NAMES))
        for j in range(i, len(NAMES))
    }
    for what in ("covariance", "correlation"):
        metrics |= {f"{what}/{name}": torch.randn(MEMBERS, generator=generator) * scale for name in NAMES}
    return Signals(step, min(step / 10, 0.9), means, stds, metrics, NAMES)


def trace(steps: int = 9) -> list[Signals]:
    """Random means and spreads; from the first step on some are missing, and one member never has an objective."""
    generator = torch.Generator().manual_seed(3)
    unit, found = torch.tensor([1.0, 1.0, 20.0]), []
    for step in range(steps):
        means = torch.rand(MEMBERS, len(NAMES), generator=generator) * unit - torch.tensor([0.1, 0.1, 10.0])
        stds = torch.rand(MEMBERS, len(NAMES), generator=generator) * unit
        missing = torch.rand(MEMBERS, len(NAMES), generator=generator) < 0.3
        missing[4, 1] = True
        found.append(signals_at(step, means.masked_fill(missing, NAN), stds.masked_fill(missing, NAN)))
    return found


def of(signals: Signals, members: list[int], order: list[int]) -> Signals:
    """Return what these members showed, objectives in this order."""
    metrics = {
        f"gram/{i}__{j}": signals.metrics[f"gram/{min(order[i], order[j])}__{max(order[i], order[j])}"]
        for i in range(len(order))
        for j in range(i, len(order))
    } | {name: value for name, value in signals.metrics.items() if not name.startswith("gram/")}
    return replace(
        signals,
        means=signals.means[members][:, order],
        stds=signals.stds[members][:, order],
        metrics={name: value[members] for name, value in metrics.items()},
        names=tuple(signals.names[i] for i in order),
    )


def run(
    controller: Controller,
    batch: Callable[..., Rows],
    signals: list[Signals],
    *,
    members: list[int] | None = None,
    order: list[int] | None = None,
    state: Any = None,
) -> tuple[list[torch.Tensor], Any]:
    """Return the weights of every group, and the gain beside them, before every step and after the last."""
    members, order = members or list(range(MEMBERS)), order or [0, 1, 2]
    rows = batch(members, order)
    if state is None:
        state = controller.init(preferences()[members][:, order], setting_of(order))
    seen = [shown(controller, state, rows)]
    for s in signals:
        state = controller.observe(state, of(s, members, order))
        seen.append(shown(controller, state, rows))
    return seen, state


def shown(controller: Controller, state: Any, rows: Rows) -> torch.Tensor:
    """Return ``[member, prompt, objective + 1]``: the weights of every group, and the gain."""
    weights, gain = controller.weigh(state, rows)
    many = weights.expand(rows.members, PROMPTS, 2, len(NAMES))
    assert gain.shape == (rows.members,)
    assert torch.equal(many[:, :, 0], many[:, :, 1])
    return torch.cat([many[:, :, 0], gain[:, None, None].expand(-1, PROMPTS, 1)], dim=2)


def assert_on_simplex(controller: Controller, seen: list[torch.Tensor]) -> None:
    for weights, gain in (x.split((len(NAMES), 1), dim=2) for x in seen):
        assert torch.isfinite(weights).all() and torch.isfinite(gain).all() and (gain > 0).all()
        assert controller.moves_gain or (gain == 1).all()
        if not isinstance(controller, RewardWeights):  # a trainer's own numbers, negative ones included
            assert (weights >= 0).all()
            assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:2]))


def test_every_registered_controller_of_this_room_is_tried():
    room = {m.name: m.part for m in named("controller").values() if m.part.__module__.startswith("moalign.weighting")}
    assert room.keys() == EXAMPLES.keys()
    assert all(type(part) is room[name] for name, parts in EXAMPLES.items() for part in parts)


@each
def test_weights_stay_on_the_simplex_whatever_is_missing(controller, batch):
    assert_on_simplex(controller, run(controller, batch, trace())[0])


EXTREMES = [0.3, 1e30, -1e30, float("inf"), -float("inf"), NAN]


@each
def test_weights_stay_on_the_simplex_for_constant_and_extreme_signals(controller, batch):
    for value in EXTREMES:
        full = torch.full((MEMBERS, len(NAMES)), value)
        odd = trace(2) + [signals_at(2 + k, full, full.abs() * (k % 2), scale=full[0, 0].item()) for k in range(3)]
        assert_on_simplex(controller, run(controller, batch, odd + trace(2))[0])


@each
def test_nothing_ever_seen_leaves_the_preference(controller, batch):
    nothing = [replace(s, means=s.means * NAN, stds=s.stds * NAN, metrics={}, progress=0.0) for s in trace()]
    state = controller.init(preferences(), setting_of([0, 1, 2]))
    rows = batch(list(range(MEMBERS)), [0, 1, 2])
    for signals in nothing:
        state = controller.observe(state, signals)
    weights = controller.weigh(state, rows)[0]
    assert torch.isfinite(weights).all()
    if not isinstance(controller, ELSEWHERE):
        preference = preferences() / preferences().sum(dim=1, keepdim=True)
        # a floor is shared out equally; GradNorm's is a bound, and does not mix anything in
        floor = 0.0 if isinstance(controller, GradNorm) else getattr(controller, "floor", 0.0)
        assert_close(weights[:, 0, 0], (1 - floor) * preference + floor / 3)


@each
def test_order_of_the_objectives_does_not_matter(controller, batch):
    order = [2, 0, 1]
    seen, _ = run(controller, batch, trace())
    turned, _ = run(controller, batch, trace(), order=order)
    for one, other in zip(seen, turned):
        assert_close(other, one[..., [*order, 3]], atol=1e-5, rtol=1e-5)


@each
def test_order_of_the_members_does_not_matter(controller, batch):
    order = [3, 1, 4, 0, 2]
    seen, _ = run(controller, batch, trace())
    turned, _ = run(controller, batch, trace(), members=order)
    for one, other in zip(seen, turned):
        assert_close(other, one[order], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("controller", [c for _, c in ALONE], ids=[name for name, _ in ALONE])
def test_members_do_not_depend_on_their_neighbours(controller, batch):
    seen, _ = run(controller, batch, trace())
    for k in range(MEMBERS):
        alone, _ = run(controller, batch, trace(), members=[k])
        for one, other in zip(seen, alone):
            assert_close(other[0], one[k])


@each
def test_gathering_and_its_inverse_is_the_identity(controller, batch):
    _, state = run(controller, batch, trace())
    order = [3, 1, 4, 0, 2]
    back = gather_state(gather_state(state, order), [order.index(k) for k in range(MEMBERS)])
    assert_close(back, state, rtol=0, atol=0, equal_nan=True)


@each
def test_a_clone_weighs_like_its_parent(controller, batch):
    _, state = run(controller, batch, trace())
    parents = [0, 1, 2, 3, 4, 2]
    seen = shown(controller, state, batch(list(range(MEMBERS)), [0, 1, 2]))
    assert_close(shown(controller, gather_state(state, parents), batch(parents, [0, 1, 2])), seen[parents])


@each
def test_a_checkpoint_restores_the_state_bit_for_bit_and_inputs_are_left_alone(controller, batch, tmp_path: Path):
    signals = trace()
    seen, _ = run(controller, batch, signals)
    _, halfway = run(controller, batch, signals[:4])
    write_state(tmp_path, 4, {"weighting": halfway})
    restored = read_state(tmp_path, 4)["weighting"]
    assert [(path, x.dtype) for path, x in sorted(tensors_of(restored), key=lambda x: x[0])] == [
        (path, x.dtype) for path, x in sorted(tensors_of(halfway), key=lambda x: x[0])
    ]
    kept = copy.deepcopy(halfway)
    for state in (halfway, restored):
        again, _ = run(controller, batch, signals[4:], state=state)
        assert all(torch.equal(a, w) for a, w in zip(again, seen[4:]))
    for changed in (halfway, restored):  # what ran from it must not have written into it
        assert_close(changed, kept, rtol=0, atol=0, equal_nan=True)


@each
def test_state_is_tensors_that_lead_with_member(controller, batch):
    _, state = run(controller, batch, trace())
    assert tensors_of(state) and all(x.shape[0] == MEMBERS for _, x in tensors_of(state))

    def leaves(value: Any) -> list[Any]:
        return [leaf for item in value.values() for leaf in leaves(item)] if isinstance(value, dict) else [value]

    assert all(isinstance(leaf, torch.Tensor) for leaf in leaves(state))


@each
def test_metrics_are_per_member(controller, batch):
    _, state = run(controller, batch, trace())
    found = controller.metrics(state, NAMES)
    assert all(value.shape == (MEMBERS,) for value in found.values())
