import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError, UnknownNameError
from moalign.weighting import Lagrangian, ThresholdSearch

NAN = float("nan")
FIELDS = {"ideal": [1.0, 1.0, NAN], "nadir": [0.0, 0.0, NAN], "thresholds": [0.3, NAN, NAN]}


def start(controller: ThresholdSearch, declare, members: int = 1, **changes) -> dict:
    wishes = torch.tensor([[0.0, 0.5, 0.5]] * members)
    return controller.init(wishes, declare("abc", **{**FIELDS, **changes}))


def test_finds_the_threshold_beyond_which_the_goal_falls(declare, show):
    # whatever threshold a has, the member reaches it; the goal is best where a is 0.72
    controller = ThresholdSearch("c", hold=2, width=0.2)
    state = start(controller, declare)
    for _ in range(80):
        at = float(state["threshold"][0, 0])
        state = controller.observe(state, show([[at, 0.5, -abs(at - 0.72)]]))
    assert float(state["points"][0, 0, 0]) == pytest.approx(0.72, abs=0.01)
    raised = controller.metrics(state, ("a", "b", "c"))["constraint/a/raised"]
    assert float(raised) == pytest.approx(0.42, abs=0.05)


def test_a_trial_is_worth_the_second_half_of_its_steps(declare, show):
    controller = ThresholdSearch("c", hold=4, width=0.2)
    state = start(controller, declare)
    assert_close(state["threshold"], torch.tensor([[0.3, NAN, NAN]]), equal_nan=True)
    for goal in (9.0, 9.0, 1.0):
        state = controller.observe(state, show([[0.1, 0.1, goal]]))
        assert_close(state["threshold"], torch.tensor([[0.3, NAN, NAN]]), equal_nan=True)
    state = controller.observe(state, show([[0.1, 0.1, 2.0]]))
    assert float(state["scores"][0, 0]) == 1.5
    assert_close(state["threshold"], torch.tensor([[0.5, NAN, NAN]]), equal_nan=True)  # 0.3 + 0.2 * (1 - 0)


def test_the_goal_judges_and_is_given_no_weight(declare, show, rows):
    controller = ThresholdSearch("c", hold=2)
    state = start(controller, declare)
    for _ in range(5):
        state = controller.observe(state, show([[0.1, 0.1, 0.1]]))
        weights = controller.weigh(state, rows)[0][0, 0, 0]
        assert float(weights[2]) == 0.0 and float(weights[0]) > 0
    # nothing else is free: the preference goes to what is held
    lone = controller.init(torch.tensor([[0.0, 0.0, 1.0]]), declare("abc", **{**FIELDS, "thresholds": [0.3, 0.4, NAN]}))
    assert_close(controller.weigh(lone, rows)[0][0, 0, 0], torch.tensor([0.5, 0.5, 0.0]))


def test_trials_stay_within_the_bounds_and_a_missing_goal_moves_nothing(declare, show):
    controller = ThresholdSearch("c", hold=2, width=0.5)
    state = start(controller, declare, thresholds=[0.9, NAN, NAN])
    for _ in range(30):  # the more the better: it would leave for infinity
        at = float(state["threshold"][0, 0])
        assert 0.0 <= at <= 1.0
        state = controller.observe(state, show([[at, 0.5, at]]))
    state = start(controller, declare)
    for _ in range(6):
        state = controller.observe(state, show([[0.5, 0.5, NAN]]))
    assert_close(state["threshold"], torch.tensor([[0.3, NAN, NAN]]), equal_nan=True)


def test_members_search_by_themselves(declare, show):
    controller = ThresholdSearch("c", hold=2, width=0.2)
    state = start(controller, declare, members=2)
    for _ in range(80):
        at = state["threshold"][:, 0]
        means = torch.stack([at, at * 0, -(at - torch.tensor([0.6, 0.2])).abs()], dim=1)
        state = controller.observe(state, show(means.tolist()))
    assert state["points"][:, 0, 0].tolist() == pytest.approx([0.6, 0.2], abs=0.02)


def test_refuses_what_cannot_be(declare):
    with pytest.raises(UnknownNameError, match="`goal`"):
        start(ThresholdSearch("d"), declare)
    with pytest.raises(ConfigError, match="must have no `threshold`"):
        start(ThresholdSearch("a"), declare)
    with pytest.raises(ConfigError, match="must have no `threshold`"):
        start(ThresholdSearch("c"), declare, thresholds=[NAN, NAN, NAN])
    with pytest.raises(ConfigError, match="`hold` must be at least 2"):
        ThresholdSearch("c", hold=1)
    with pytest.raises(ConfigError, match="`lagrangian` must be that controller"):
        ThresholdSearch("c", lagrangian="constant")
    assert ThresholdSearch().problems(None) and not ThresholdSearch("c", lagrangian=Lagrangian()).problems(None)
