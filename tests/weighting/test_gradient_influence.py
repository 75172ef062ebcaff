import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign import recipes
from moalign.credit import AtGradient
from moalign.errors import ConfigError
from moalign.records import Signals
from moalign.training.line_search import LineSearch
from moalign.weighting import GradientInfluence

NOTHING = torch.full((1, 2), float("nan"))


def told(gradients: list[list[float]]) -> Signals:
    """Return signals of one member with these gradients, one for each objective."""
    g = torch.tensor(gradients)
    gram = g @ g.T
    metrics = {f"gram/{i}__{j}": gram[i, j][None] for i in range(len(g)) for j in range(i, len(g))}
    return Signals(0, 0.0, NOTHING, NOTHING, metrics, ("a", "b"))


def test_matches_the_formula(declare, rows):
    controller = GradientInfluence(rate=0.1)
    state = controller.init(torch.tensor([[0.6, 0.4]]), declare())
    state = controller.observe(state, told([[2.0, 0.0], [-1.0, 1.0]]))
    # (g_a + g_b) = (1, 1): influences 2 and 0; weights 0.6 e^0.2 and 0.4, over their sum
    grown = 0.6 * math.exp(0.2)
    assert_close(controller.weigh(state, rows)[0][0, 0, 0], torch.tensor([grown, 0.4]) / (grown + 0.4))
    assert {name: float(x) for name, x in controller.metrics(state, ("a", "b")).items()} == {
        "influence/a": pytest.approx(2.0),
        "influence/b": pytest.approx(0.0),
    }


def test_several_steps_count_by_their_mean(declare):
    slow, quick = GradientInfluence(every=2), GradientInfluence()
    start = quick.init(torch.tensor([[0.5, 0.5]]), declare())
    once = slow.observe(start, told([[2.0, 0.0], [0.0, 1.0]]))  # influences 4, 1
    assert_close(once["share"], start["share"])
    twice = slow.observe(once, told([[0.0, 0.0], [0.0, 3.0]]))  # 0, 9: means 2, 5
    assert_close(twice["share"], quick.observe(start, told([[math.sqrt(2.0), 0.0], [0.0, math.sqrt(5.0)]]))["share"])
    assert twice["count"].tolist() == [0] and twice["influence"].tolist() == [[0.0, 0.0]]


def test_a_floor_keeps_every_objective_alive(declare, rows):
    controller = GradientInfluence(rate=1.0, floor=0.1)
    state = controller.init(torch.tensor([[0.5, 0.5]]), declare())
    for _ in range(50):
        state = controller.observe(state, told([[3.0, 0.0], [-1.0, 0.5]]))
    assert_close(controller.weigh(state, rows)[0][0, 0, 0], torch.tensor([0.95, 0.05]))


def test_without_gradients_or_with_broken_ones_the_weights_stay(declare):
    controller = GradientInfluence()
    state = controller.init(torch.tensor([[0.3, 0.7]]), declare())
    assert controller.observe(state, replace(told([[1.0], [1.0]]), metrics={})) is state
    assert_close(controller.observe(state, told([[float("inf")], [1.0]]))["share"], state["share"])


def test_says_what_it_needs_of_a_recipe():
    fits = recipes.mgda(weighting=GradientInfluence())
    assert fits.problems() == []
    assert any(
        "credit.collapse='at-gradient'" in said for said in recipes.gdpo(weighting="gradient-influence").problems()
    )
    assert isinstance(fits.credit.collapse, AtGradient)
    assert any("update='descent'" in said for said in replace(fits, update=LineSearch()).problems())


@pytest.mark.parametrize("options", [{"rate": 0.0}, {"every": 0}, {"floor": 1.0}])
def test_refuses_impossible_options(options):
    with pytest.raises(ConfigError, match=f"`{next(iter(options))}`"):
        GradientInfluence(**options)
