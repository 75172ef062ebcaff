"""What every controller keeps: the simplex, order, missing values, gathering, restoring."""

import copy

import pytest
import torch

from moalign.parts import named
from moalign.records import Setting, Signals
from moalign.weighting import (
    Constant,
    Controller,
    FromScalarizer,
    GRPOLambda,
    HypervolumeGradient,
    Lagrangian,
    RewardWeights,
    Scheduled,
)

NAN = float("nan")
MEMBERS, NAMES = 5, ("a", "b", "c")


def smooth(rewards, weights, ideal):
    return -torch.logsumexp(weights * (ideal - rewards) / 0.1, dim=-1)


CONTROLLERS = [
    Constant(),
    Scheduled(to={"b": 1.0, "c": 3.0}, begin=0.25),
    HypervolumeGradient(warmup=2, ramp=3),
    HypervolumeGradient(dominated="chebyshev", step=0.0, warmup=2, ramp=3),
    FromScalarizer(smooth, floor=0.1),
    Lagrangian(multiplier_lr=0.5),
    RewardWeights(weights={"a": 2.0, "c": -1.0}),
]
ALONE = [c for c in CONTROLLERS if not isinstance(c, HypervolumeGradient)]  # a hypervolume belongs to all members
each = pytest.mark.parametrize("controller", CONTROLLERS, ids=lambda c: type(c).__name__)


def setting_of(order: list[int]) -> Setting:
    pick = lambda values: torch.tensor(values)[order]  # noqa: E731
    return Setting(
        names=tuple(NAMES[i] for i in order),
        ideal=pick([1.0, 1.0, 10.0]),
        nadir=pick([0.0, NAN, -10.0]),
        reference=pick([0.0, 0.1, -5.0]),
        thresholds=pick([NAN, 0.6, 5.0]),
    )


def preferences() -> torch.Tensor:
    return torch.rand(MEMBERS, len(NAMES), generator=torch.Generator().manual_seed(7)) + 0.05


def trace(steps: int = 9) -> list[Signals]:
    """Random means and spreads; from the first step on some are missing, and one member never has an objective."""
    generator = torch.Generator().manual_seed(3)
    unit, found = torch.tensor([1.0, 1.0, 20.0]), []
    for step in range(steps):
        means = torch.rand(MEMBERS, len(NAMES), generator=generator) * unit - torch.tensor([0.1, 0.1, 10.0])
        stds = torch.rand(MEMBERS, len(NAMES), generator=generator) * unit
        missing = torch.rand(MEMBERS, len(NAMES), generator=generator) < 0.3
        missing[4, 1] = True
        found.append(Signals(step, step / steps, means.masked_fill(missing, NAN), stds.masked_fill(missing, NAN)))
    return found


def run(
    controller: Controller,
    rows,
    signals: list[Signals],
    *,
    members: slice | list[int] = slice(None),
    order=(0, 1, 2),
    state=None,
) -> tuple[list[torch.Tensor], dict]:
    """Return the weights before every step and after the last, and the last state."""
    index = list(order)
    if state is None:
        state = controller.init(preferences()[members][:, index], setting_of(index))
    weights = [controller.weigh(state, rows)[0]]
    for s in signals:
        state = controller.observe(
            state, Signals(s.step, s.progress, s.means[members][:, index], s.stds[members][:, index])
        )
        weights.append(controller.weigh(state, rows)[0])
    return weights, state


def take(state: dict, parents: list[int]) -> dict:
    return {key: value[parents] for key, value in state.items()}


def test_every_registered_controller_of_this_room_is_tried():
    tried = {type(c) for c in CONTROLLERS} | {GRPOLambda}  # weighs groups of rows: its own file tries the same
    assert {m.part for m in named("controller").values() if m.part.__module__.startswith("moalign.weighting")} == tried


@each
def test_weights_stay_on_the_simplex_whatever_is_missing(controller, rows):
    weights, state = run(controller, rows, trace())
    if isinstance(controller, RewardWeights):  # a trainer's own numbers, negative ones included
        assert all(w[:, 0, 0].tolist() == [[2.0, 1.0, -1.0]] * MEMBERS for w in weights)
        return
    for w in weights:
        assert w.shape == (MEMBERS, 1, 1, len(NAMES))
        assert torch.isfinite(w).all() and (w >= 0).all()
        torch.testing.assert_close(w.sum(dim=-1), torch.ones(MEMBERS, 1, 1))
    assert controller.weigh(state, rows)[1].tolist() == [1.0] * MEMBERS


@each
def test_nothing_ever_seen_leaves_the_preference(controller, rows):
    nothing = [Signals(s.step, 0.0, torch.full_like(s.means, NAN), torch.full_like(s.stds, NAN)) for s in trace()]
    weights, _ = run(controller, rows, nothing)
    assert all(torch.isfinite(w).all() for w in weights)
    # these two do not return the preference as it is: by design, or in units of the declared range
    if not isinstance(controller, RewardWeights | HypervolumeGradient):
        expected = preferences() / preferences().sum(dim=1, keepdim=True)
        spread = 0.1 / 3 if isinstance(controller, FromScalarizer) else 0.0
        expected = expected * (0.9 if spread else 1.0) + spread
        torch.testing.assert_close(weights[-1][:, 0, 0], expected)


@each
def test_order_of_the_objectives_does_not_matter(controller, rows):
    order = [2, 0, 1]
    weights, _ = run(controller, rows, trace())
    turned, _ = run(controller, rows, trace(), order=order)
    for w, t in zip(weights, turned):
        torch.testing.assert_close(t, w[..., order], atol=1e-6, rtol=1e-5)


@each
def test_order_of_the_members_does_not_matter(controller, rows):
    order = [3, 1, 4, 0, 2]
    weights, _ = run(controller, rows, trace())
    turned, _ = run(controller, rows, trace(), members=order)
    for w, t in zip(weights, turned):
        torch.testing.assert_close(t, w[order], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("controller", ALONE, ids=lambda c: type(c).__name__)
def test_members_do_not_depend_on_their_neighbours(controller, rows):
    weights, _ = run(controller, rows, trace())
    for k in range(MEMBERS):
        alone, _ = run(controller, rows, trace(), members=[k])
        for w, a in zip(weights, alone):
            torch.testing.assert_close(a[0], w[k])


@each
def test_gathering_and_its_inverse_is_the_identity(controller, rows):
    _, state = run(controller, rows, trace())
    order = [3, 1, 4, 0, 2]
    back = take(take(state, order), [order.index(k) for k in range(MEMBERS)])
    for key, value in state.items():
        torch.testing.assert_close(back[key], value, equal_nan=True)


@each
def test_a_clone_weighs_like_its_parent(controller, rows):
    _, state = run(controller, rows, trace())
    parents = [0, 1, 2, 3, 4, 2]
    weights = controller.weigh(state, rows)[0]
    torch.testing.assert_close(controller.weigh(take(state, parents), rows)[0], weights[parents])


@each
def test_a_restored_state_goes_the_same_way_and_inputs_are_left_alone(controller, rows):
    signals = trace()
    weights, _ = run(controller, rows, signals)
    _, halfway = run(controller, rows, signals[:4])
    kept = copy.deepcopy(halfway)
    for state in (halfway, kept):  # the second time from the copy: the first run must not have written into it
        again, _ = run(controller, rows, signals[4:], state=state)
        assert all(torch.equal(a, w) for a, w in zip(again, weights[4:]))
    assert all(torch.equal(halfway[k].nan_to_num(-1), kept[k].nan_to_num(-1)) for k in kept)


@each
def test_state_is_tensors_that_lead_with_member(controller, rows):
    _, state = run(controller, rows, trace())
    assert all(isinstance(v, torch.Tensor) and v.shape[0] == MEMBERS for v in state.values())


@each
def test_metrics_are_per_member(controller, rows):
    _, state = run(controller, rows, trace())
    found = controller.metrics(state, NAMES)
    assert all(value.shape == (MEMBERS,) for value in found.values())
    assert bool(found) == isinstance(controller, Lagrangian)
