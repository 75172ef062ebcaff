from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign import recipes
from moalign.errors import ConfigError, UnknownNameError
from moalign.records import Rows
from moalign.weighting import ByColumn, Constant, GRPOLambda, HypervolumeGain, Lagrangian, RewardWeights

NAN = float("nan")


@pytest.fixture
def tasks(rows: Rows) -> Rows:
    """Two members: the first answers a code and a chat prompt twice each, the second an unknown and a code prompt."""
    one = replace(rows, rewards=None).select(torch.zeros(8, dtype=torch.long))
    columns = {"task": ["code", "code", "chat", "chat", 7, 7, "code", "code"], "prompt": ["p"] * 8}
    member, group = torch.tensor([0] * 4 + [1] * 4), torch.tensor([0, 0, 1, 1] * 2)
    return replace(one, members=2, member=member, group=group, columns=columns)


def test_each_group_is_weighed_by_the_case_of_its_task(declare, tasks):
    controller = ByColumn("task", {"code": RewardWeights({"b": 0.25}), "chat": "constant"}, RewardWeights({"a": 9.0}))
    assert controller.cases["chat"] == Constant()
    state = controller.init(torch.tensor([[0.7, 0.3], [0.2, 0.8]]), declare())
    weights, gain = controller.weigh(state, tasks)
    assert weights.shape == (2, 2, 2, 2) and gain.tolist() == [1.0, 1.0]
    assert torch.equal(weights[:, :, 0], weights[:, :, 1])
    assert_close(weights[:, :, 0], torch.tensor([[[1.0, 0.25], [0.7, 0.3]], [[9.0, 1.0], [1.0, 0.25]]]))


def test_a_number_in_the_column_is_compared_as_text(declare, tasks):
    controller = ByColumn(cases={"7": RewardWeights({"a": 3.0})})
    weights, _ = controller.weigh(controller.init(torch.tensor([[0.5, 0.5]] * 2), declare()), tasks)
    assert weights[1, 0, 0].tolist() == [3.0, 1.0] and weights[0, 0, 0].tolist() == [0.5, 0.5]


def test_cases_that_learn_do_so_and_say_so_under_their_names(declare, show, tasks):
    controller = ByColumn(cases={"code": Lagrangian(multiplier_lr=1.0, memory=0.0, proportional=0.0)})
    setting = declare(ideal=[1.0, 1.0], nadir=[0.0, 0.0], thresholds=[NAN, 0.5])
    state = controller.init(torch.tensor([[1.0, 0.0]] * 2), setting)
    state = controller.observe(state, show([[0.5, 0.0], [0.5, 0.9]]))
    weights, _ = controller.weigh(state, tasks)
    assert_close(weights[0, 0, 0], torch.tensor([1 / 1.5, 0.5 / 1.5]))  # (p + q) / (1 + q), q = 0.5
    assert_close(weights[0, 1, 0], torch.tensor([1.0, 0.0]))  # chat is otherwise: the preference
    assert_close(weights[1, 1, 0], torch.tensor([1.0, 0.0]))  # met
    assert sorted(controller.metrics(state, setting.names)) == [
        "task=code/constraint/b/multiplier",
        "task=code/constraint/b/violated",
    ]
    assert controller.holds_thresholds and not ByColumn().holds_thresholds and not ByColumn.holds_thresholds


def test_a_path_reaches_the_options_of_a_case():
    recipe = recipes.gdpo(weighting=ByColumn(cases={"code": GRPOLambda()}), **{"weighting.cases.code.share": 0.4})
    assert recipe.weighting.cases["code"].share == 0.4
    assert recipe.problems() == []


def test_refuses_what_cannot_be(declare, tasks):
    with pytest.raises(ConfigError, match="moves the gain"):
        ByColumn(cases={"code": HypervolumeGain()})
    with pytest.raises(UnknownNameError, match="no controller is called `constnt`"):
        ByColumn(cases={"code": "constnt"})
    controller = ByColumn("tasks")
    with pytest.raises(ConfigError, match=r"`column` is 'tasks'.*did you mean task"):
        controller.weigh(controller.init(torch.tensor([[0.5, 0.5]] * 2), declare()), tasks)
