import pytest
import torch

from moalign.errors import ConfigError
from moalign.parts import build
from moalign.records import Points, Policy, Setting
from moalign.training.gap_fill import GapFill
from moalign.training.gather import gather_state

NAN = float("nan")
VALUES = torch.tensor([[0.0, 1.0], [0.1, 0.9], [0.5, 0.8], [1.0, 0.0], [0.3, 0.3]])
# In shares of the front's range the ends have gaps 0.1 + 0 and 0 + 0.8, the inner points 0.4 + 0.1 and 0.5 + 0.1;
# the last point is dominated.


class Cloned(Policy):
    """A policy that only writes down what it was asked to gather."""

    def __init__(self, names):
        self.members, self.parents = tuple(names), None

    def gather(self, parents, names):
        self.parents, self.members = list(parents), tuple(names)


def state_of(values, nadir=0.0):
    members, objectives = values.shape
    return {
        "knobs": {"learning_rate": torch.arange(float(members))},
        "update": {
            "rule": {"lora": torch.arange(2.0 * members).reshape(members, 2)},
            "active": torch.ones(members) > 0,
        },
        "weighting": {
            "preference": torch.full((members, objectives), 1 / objectives),
            "threshold": torch.full((members, objectives), NAN),
            "multiplier": torch.ones(members, objectives),
            "nadir": torch.full((members, objectives), nadir),
        },
        "breed": {},
    }


def breed(part, values=VALUES, progress=0.6, state=None):
    names = tuple(f"m{k:02}" for k in range(len(values)))
    policy, state = Cloned(names), state_of(values) if state is None else state
    return part(policy, state, Points(step=7, progress=progress, values=values, names=names))


def test_clones_the_member_beside_the_gap():
    policy, state = breed(GapFill(retain=0.9))
    # the end (1, 0) has the widest gap: 0.8 above it in the second objective, which its clone climbs
    assert policy.parents == [0, 1, 2, 3, 4, 3] and policy.members[5] == "m03.1"
    torch.testing.assert_close(state["weighting"]["threshold"][5], torch.tensor([0.9, NAN]), equal_nan=True)
    assert state["weighting"]["preference"][5].tolist() == [0.0, 1.0]
    assert state["weighting"]["multiplier"][5].tolist() == [0.0, 0.0]
    assert state["breed"]["born"].tolist() == [-1, -1, -1, -1, -1, 7]


def test_everything_else_is_the_parents_and_the_others_are_untouched():
    before = state_of(VALUES)
    _, state = breed(GapFill(), state=before)
    assert state["knobs"]["learning_rate"].tolist() == [0, 1, 2, 3, 4, 3]
    assert torch.equal(state["update"]["rule"]["lora"][5], before["update"]["rule"]["lora"][3])
    for key, value in before["weighting"].items():
        torch.testing.assert_close(state["weighting"][key][:5], value, equal_nan=True)


def test_several_parents_and_clones_cycle_through_the_objectives():
    policy, state = breed(GapFill(parents=3, clones=2))
    # ends first, the wider gap before; then the inner point with more room: crowding 0.5 + 0.2 against 0.9 + 0.9
    assert policy.members[5:] == ("m03.1", "m03.2", "m00.1", "m00.2", "m02.1", "m02.2")
    preferences = state["weighting"]["preference"][5:].argmax(dim=1).tolist()
    assert preferences == [1, 0, 0, 1, 0, 1]  # the objective with the wider gap above the parent first


@pytest.mark.parametrize(("nadir", "expected"), [(0.0, 0.36), (-1.0, 0.26), (NAN, 0.36)])
def test_threshold_is_relative_to_the_nadir(nadir, expected):
    # the front's point (0.4, 0.0): 0.9 * 0.4; -1 + 0.9 * 1.4; and, no nadir declared, 0.9 * 0.4
    values = torch.tensor([[0.4, 0.0], [0.3, 0.5]])
    _, state = breed(GapFill(), values, state=state_of(values, nadir))
    assert float(state["weighting"]["threshold"][2, 0]) == pytest.approx(expected)


def test_a_negative_value_without_nadir_is_relaxed_downwards():
    values = torch.tensor([[-10.0, -20.0], [-12.0, -5.0]])
    _, state = breed(GapFill(), values, state=state_of(values, NAN))
    # both ends have a gap of the whole range above them; the parent is the first, (-10, -20): -10 - 0.1 * 10
    torch.testing.assert_close(state["weighting"]["threshold"][2], torch.tensor([-11.0, NAN]), equal_nan=True)


def test_happens_once_and_not_before_its_time():
    policy, state = breed(GapFill(at=0.5), progress=0.4)
    assert policy.parents is None and state["breed"] == {}
    _, once = breed(GapFill(at=0.5), progress=0.5)
    values = torch.cat([VALUES, VALUES[3:4]])
    policy, twice = breed(GapFill(at=0.5), values, state=once)
    assert policy.parents is None and twice is once


def test_stopped_members_and_members_without_means_are_no_parents():
    state = state_of(VALUES)
    state["update"]["active"][3] = False
    values = VALUES.clone()
    values[2, 0] = NAN
    policy, _ = breed(GapFill(parents=5), values, state=state)
    assert sorted(policy.parents[5:]) == [0, 1, 4]  # without m02 and m03 the last one is on the front as well


def test_order_of_the_members_does_not_matter():
    order = [3, 1, 4, 0, 2]
    first, _ = breed(GapFill(parents=2))
    turned, _ = breed(GapFill(parents=2), VALUES[order])
    assert [order[p] for p in turned.parents[5:]] == first.parents[5:]


def test_says_which_controller_it_needs():
    state = state_of(VALUES)
    del state["weighting"]["threshold"]
    with pytest.raises(ConfigError, match="needs `weighting='lagrangian'`"):
        breed(GapFill(), state=state)


def test_works_on_the_state_of_the_lagrangian_controller():
    nothing = torch.full((2,), NAN)
    setting = Setting(("a", "b"), torch.ones(2), torch.zeros(2), nothing, nothing)
    controller = build("controller", "lagrangian")
    state = {**state_of(VALUES), "weighting": controller.init(torch.ones(5, 2), setting)}
    _, state = breed(GapFill(), state=state)
    assert all(len(tensor) == 6 for tensor in state["weighting"].values())


def test_refuses_more_clones_than_objectives():
    with pytest.raises(ConfigError, match="`clones` is 3 with 2 objectives"):
        breed(GapFill(clones=3))


def test_gathering_and_its_inverse_is_the_identity():
    state, order = state_of(VALUES), [3, 1, 4, 0, 2]
    back = gather_state(gather_state(state, order), [order.index(k) for k in range(5)])
    torch.testing.assert_close(back["weighting"], state["weighting"], equal_nan=True)
    torch.testing.assert_close(back["update"]["rule"], state["update"]["rule"])


def test_a_tensor_that_does_not_lead_with_member_is_named():
    with pytest.raises(ConfigError, match=r"tensor at update\.count"):
        gather_state({"knobs": torch.zeros(3), "update": {"count": torch.tensor(4)}}, [0, 1, 1])
