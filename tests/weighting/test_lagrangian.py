import pytest
import torch

from moalign.errors import ConfigError
from moalign.records import Signals
from moalign.weighting import Lagrangian
from moalign.weighting.lagrangian import constrain

NAN = float("nan")
UNIT = {"ideal": [1.0, 1.0], "nadir": [0.0, 0.0]}


@pytest.mark.parametrize(("multiplier", "expected"), [(0.0, 1.0), (1.0, 0.25), (4.0, -0.2)])
def test_mixes_like_ppo_lag(declare, rows, multiplier, expected):
    # A_reward = 1 and a cost of 0.5, here a reward of -0.5: (1 - λ 0.5) / (1 + λ); λ = 4: (1 - 2) / 5 = -0.2
    state = Lagrangian().init(torch.tensor([[1.0, 0.0]]), declare())
    state["multiplier"] = torch.tensor([[0.0, multiplier]])
    weights, _ = Lagrangian().weigh(state, rows)
    assert float(weights[0, 0, 0] @ torch.tensor([1.0, -0.5])) == pytest.approx(expected)


def test_multiplier_grows_with_the_violation_and_falls_back_to_zero(declare, show):
    controller = Lagrangian(multiplier_lr=0.5, memory=0.0)
    setting = declare(ideal=[1.0, 10.0], nadir=[0.0, 0.0], thresholds=[NAN, 6.0])
    state = controller.init(torch.tensor([[1.0, 0.0]]), setting)
    state = controller.observe(state, show([[0.2, 2.0]]))
    assert state["multiplier"].tolist() == [[0.0, pytest.approx(0.2)]]  # 0.5 * (6 - 2) / (10 - 0)
    state = controller.observe(state, show([[0.2, 9.0]]))
    assert state["multiplier"].tolist() == [[0.0, pytest.approx(0.05)]]  # 0.2 + 0.5 * (6 - 9) / 10
    state = controller.observe(state, show([[0.2, 9.0]]))
    assert state["multiplier"].tolist() == [[0.0, 0.0]]  # never below 0


def test_unit_does_not_matter_without_declared_bounds(declare, show):
    found = []
    for unit in (1.0, 1000.0):
        state = Lagrangian(multiplier_lr=0.5).init(torch.tensor([[1.0, 0.0]]), declare(thresholds=[NAN, 0.6 * unit]))
        for mean in (0.2, 0.3, 0.4):
            state = Lagrangian(multiplier_lr=0.5).observe(state, show([[0.5, mean * unit]], [[0.1, 0.2 * unit]]))
        found.append(state["multiplier"])
    torch.testing.assert_close(found[0], found[1])
    assert float(found[0][0, 1]) > 0


def test_a_collapsed_std_does_not_blow_the_multiplier_up(declare, show):
    controller = Lagrangian(multiplier_lr=0.1, maximum=100.0, memory=0.0)
    state = controller.init(torch.tensor([[1.0, 0.0]]), declare(thresholds=[NAN, 0.6]))
    for std in (0.5, 0.0, 0.0):
        state = controller.observe(state, show([[0.5, 0.1]], [[0.1, std]]))
    assert float(state["multiplier"][0, 1]) == pytest.approx(3 * 0.1 * (0.6 - 0.1) / 0.5)


def test_thresholds_belong_to_members(declare, show):
    state = Lagrangian().init(torch.tensor([[1.0, 0.0]] * 2), declare(**UNIT))
    state["threshold"] = torch.tensor([[NAN, NAN], [NAN, 0.9]])
    state = Lagrangian().observe(state, show([[0.5, 0.5]] * 2))
    assert (state["multiplier"] > 0).tolist() == [[False, False], [False, True]]


def test_metrics_name_the_constrained_objectives(declare, show):
    controller = Lagrangian(multiplier_lr=1.0, memory=0.0)
    setting = declare(**UNIT, thresholds=[NAN, 0.5])
    state = controller.init(torch.tensor([[1.0, 0.0]] * 2), setting)
    assert not controller.metrics(state, setting.names)["constraint/b/violated"].any()  # nothing seen yet
    found = controller.metrics(controller.observe(state, show([[0.0, 0.2], [0.0, 0.7]])), setting.names)
    assert sorted(found) == ["constraint/b/multiplier", "constraint/b/violated"]
    assert found["constraint/b/violated"].tolist() == [1.0, 0.0]
    assert found["constraint/b/multiplier"].tolist() == [pytest.approx(0.3), 0.0]  # 1 * (0.5 - 0.2) / 1


def test_proportional_term_adds_what_the_violation_asks_for(declare, show, rows):
    controller = Lagrangian(multiplier_lr=0.1, proportional=3.0, memory=0.0)
    state = controller.init(torch.tensor([[1.0, 0.0]]), declare(**UNIT, thresholds=[NAN, 0.5]))
    state = controller.observe(state, show([[0.9, 0.3]]))
    # violation 0.2, multiplier 0.02, pressure 0.02 + 3 * 0.2 = 0.62
    torch.testing.assert_close(controller.weigh(state, rows)[0][:, 0, 0], torch.tensor([[1 / 1.62, 0.62 / 1.62]]))
    state = controller.observe(state, show([[0.3, 0.9]]))  # met by 0.4: no pressure, never a negative weight
    assert controller.weigh(state, rows)[0][0, 0, 0].tolist() == [1.0, 0.0]


def test_meets_its_constraint_on_a_bandit(declare, bandit, rows):
    # max E[b] with E[a] >= 0.7; the front of the means is a + b = 1, so the best is (0.7, 0.3)
    controller, problem = Lagrangian(), bandit(1)
    state = controller.init(torch.tensor([[0.0, 1.0]]), declare(**UNIT, thresholds=[0.7, NAN]))
    for _ in range(500):
        problem.ascend(controller.weigh(state, rows)[0][:, 0, 0], lr=0.2)
        state = controller.observe(state, Signals(0, 0.0, problem.means, problem.stds))
    torch.testing.assert_close(problem.means, torch.tensor([[0.7, 0.3]]), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    "options",
    [{"multiplier_lr": 0.0}, {"maximum": -1.0}, {"proportional": -1.0}, {"derivative": -1.0}, {"memory": 1.0}],
)
def test_refuses_impossible_options(options):
    with pytest.raises(ConfigError, match=f"`{next(iter(options))}` must"):
        Lagrangian(**options)


@pytest.mark.parametrize(
    ("nadir", "value", "floor"),
    # z + 0.9 (r - z); and without a nadir 0.9 r for a positive r, r - 0.1 |r| for a negative one
    [(0.0, 0.4, 0.36), (-1.0, 0.4, 0.26), (NAN, 0.4, 0.36), (NAN, -10.0, -11.0)],
)
def test_a_clone_is_told_to_hold_what_its_parent_has(declare, nadir, value, floor):
    state = Lagrangian().init(torch.tensor([[0.3, 0.7], [0.5, 0.5]]), declare(ideal=[NAN, NAN], nadir=[nadir, nadir]))
    state["multiplier"] += 2.0
    before = {name: tensor.clone() for name, tensor in state.items()}
    after = constrain(state, 1, objective=0, value=torch.tensor([5.0, value]), retain=0.9)
    torch.testing.assert_close(after["threshold"], torch.tensor([[NAN, NAN], [NAN, floor]]), equal_nan=True)
    torch.testing.assert_close(after["preference"], torch.tensor([[0.3, 0.7], [1.0, 0.0]]))
    assert after["multiplier"].tolist() == [[2.0, 2.0], [0.0, 0.0]]
    torch.testing.assert_close(state, before, equal_nan=True)  # nothing is changed in place


def test_a_stricter_threshold_of_the_study_stays(declare):
    setting = declare(ideal=[1.0, 1.0], nadir=[0.0, 0.0], thresholds=[NAN, 0.8])
    state = Lagrangian().init(torch.tensor([[1.0, 0.0]]), setting)
    assert constrain(state, 0, objective=0, value=torch.tensor([0.1, 0.5]), retain=0.9)["threshold"][0, 1] == 0.8


def test_only_a_state_with_thresholds_can_be_constrained():
    with pytest.raises(ConfigError, match="needs `weighting='lagrangian'`"):
        constrain({"preference": torch.ones(1, 2)}, 0, objective=0, value=torch.ones(2), retain=0.9)


def test_derivative_term_answers_a_fall_and_not_a_rise(declare, show, rows):
    controller = Lagrangian(multiplier_lr=0.1, proportional=0.0, derivative=2.0, memory=0.0)
    state = controller.init(torch.tensor([[1.0, 0.0]]), declare(**UNIT, thresholds=[NAN, 0.5]))
    state = controller.observe(state, show([[0.9, 0.9]]))  # the first mean has nothing before it
    assert controller.weigh(state, rows)[0][0, 0, 0].tolist() == [1.0, 0.0]
    state = controller.observe(state, show([[0.9, 0.6]]))  # still met, but 0.3 lower: 2 * 0.3
    torch.testing.assert_close(controller.weigh(state, rows)[0][0, 0, 0], torch.tensor([1 / 1.6, 0.6 / 1.6]))
    state = controller.observe(state, show([[0.1, 0.8]]))  # risen; and the other one, which fell, is no constraint
    assert controller.weigh(state, rows)[0][0, 0, 0].tolist() == [1.0, 0.0]
