from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError, UnknownNameError
from moalign.records import Rewards, Rows
from moalign.weighting import Gated

NAN = float("nan")
UNIT = {"ideal": [1.0, 10.0], "nadir": [0.0, -10.0]}


@pytest.fixture
def scored(rows: Rows):
    """Return a maker of rows of one member from ``rewards[prompt group objective]``; NaN is missing."""

    def make(rewards: torch.Tensor) -> Rows:
        prompts, group, objectives = rewards.shape
        n = prompts * group
        flat, nothing = rewards.reshape(n, objectives), torch.full((objectives,), NAN)
        found = Rewards(flat.nan_to_num(0.0), ~flat.isnan(), ("a", "b"), nothing, nothing)
        one = replace(rows, rewards=None).select(torch.zeros(n, dtype=torch.long))
        prompt = torch.arange(prompts).repeat_interleave(group)
        return replace(one, members=1, member=torch.zeros(n, dtype=torch.long), group=prompt, rewards=found)

    return make


def test_the_gate_opens_with_the_groups_own_mean(declare, scored):
    a = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.4], [1.0, 1.0]])  # shares of success 0, 0.5, 0.7, 1
    rows = scored(torch.stack([a, torch.full_like(a, 3.0)], dim=2))
    controller = Gated(at=0.5, width=0.1)
    weights, gain = controller.weigh(controller.init(torch.tensor([[0.6, 0.4]]), declare(**UNIT)), rows)
    gate = torch.tensor([-5.0, 0.0, 2.0, 5.0]).sigmoid()
    assert_close(weights[0, :, 0], torch.stack([1 - 0.4 * gate, 0.4 * gate], dim=1))
    assert gain.tolist() == [1.0]


def test_place_between_bounds_is_what_counts_not_the_unit(declare, scored):
    rewards = torch.tensor([[[0.3, -8.0], [0.3, 2.0]]])  # b: mean -3, 0.35 of the way from -10 to 10
    controller = Gated(main="b", at=0.35, width=0.01)
    weights, _ = controller.weigh(controller.init(torch.tensor([[0.9, 0.1]]), declare(**UNIT)), scored(rewards))
    assert_close(weights[0, 0, 0], torch.tensor([0.45, 0.55]))  # half-way between (0, 1) and (0.9, 0.1)
    turned = torch.tensor([0.5, 0.5])
    both = controller.init(turned[None], declare(**UNIT))
    assert_close(both["main"], torch.tensor([[0.0, 1.0]]))


def test_without_a_reward_of_the_main_objective_the_preference_holds(declare, scored, rows):
    controller = Gated()
    state = controller.init(torch.tensor([[0.6, 0.4]]), declare(**UNIT))
    rewards = torch.tensor([[[NAN, 1.0], [NAN, 1.0]], [[NAN, 1.0], [0.0, 1.0]]])
    weights, _ = controller.weigh(state, scored(rewards))
    assert_close(weights[0, 0, 0], torch.tensor([0.6, 0.4]))
    assert float(weights[0, 1, 0, 0]) > 0.99
    assert_close(controller.weigh(state, replace(rows, rewards=None))[0][0, 0, 0], torch.tensor([0.6, 0.4]))


def test_a_narrow_gate_is_a_switch(declare, scored):
    a = torch.tensor([[0.49], [0.51]])
    controller = Gated(width=1e-6)
    rows = scored(torch.stack([a, a], dim=2))
    weights, _ = controller.weigh(controller.init(torch.tensor([[0.6, 0.4]]), declare(**UNIT)), rows)
    assert_close(weights[0, :, 0], torch.tensor([[1.0, 0.0], [0.6, 0.4]]))


def test_refuses_what_it_cannot_read(declare):
    with pytest.raises(ConfigError, match="`width` must be positive"):
        Gated(width=0.0)
    with pytest.raises(UnknownNameError, match="`main`"):
        Gated(main="c").init(torch.tensor([[0.5, 0.5]]), declare(**UNIT))
    with pytest.raises(ConfigError, match="where a stands between its bounds"):
        Gated(main="a").init(torch.tensor([[0.5, 0.5]]), declare(ideal=[NAN, 1.0], nadir=[0.0, 0.0]))
