import pytest
import torch
from torch.testing import assert_close

from moalign import recipes
from moalign.errors import ConfigError
from moalign.optimizers.weights import gradnorm
from moalign.records import Signals
from moalign.weighting import GradNorm

NAN = float("nan")
UNIT = {"ideal": [1.0, 1.0], "nadir": [0.0, 0.0]}


def told(norms: list[float], means: list[float] | None = None) -> Signals:
    gram = {f"gram/{i}__{j}": torch.tensor([norms[i] ** 2 if i == j else 0.0]) for i in range(2) for j in range(i, 2)}
    return Signals(0, 0.0, torch.tensor([means or [NAN, NAN]]), torch.full((1, 2), NAN), gram, ("a", "b"))


def settled(controller: GradNorm, wish: list[float], signals: list[Signals], declare, **declared) -> torch.Tensor:
    state = controller.init(torch.tensor([wish]), declare(**declared))
    for s in signals:
        state = controller.observe(state, s)
    tail = []
    for _ in range(60):
        state = controller.observe(state, signals[-1])
        tail.append(state["share"][0])
    return torch.stack(tail[-20:]).mean(0)


def test_weighted_gradients_become_equally_long(declare):
    found = settled(GradNorm(lr=0.01), [0.5, 0.5], [told([3.0, 1.0])], declare)
    assert_close(found, torch.tensor([0.25, 0.75]), atol=0.02, rtol=0)  # 0.25 * 3 = 0.75 * 1
    found = settled(GradNorm(lr=0.01), [0.8, 0.2], [told([1.0, 1.0])], declare)
    assert_close(found, torch.tensor([0.8, 0.2]), atol=0.02, rtol=0)  # the preference says what is equal


def test_who_is_behind_gets_a_longer_gradient(declare):
    # a has half of its way left, b all: r = (2/3, 4/3), targets as 1 : 2 ** alpha
    signals = [told([1.0, 1.0], [0.2, 0.2]), told([1.0, 1.0], [0.6, 0.2])]
    found = settled(GradNorm(lr=0.005, alpha=1.0, memory=0.0), [0.5, 0.5], signals, declare, **UNIT)
    assert_close(found, torch.tensor([1 / 3, 2 / 3]), atol=0.02, rtol=0)
    without = settled(GradNorm(lr=0.005, alpha=0.0, memory=0.0), [0.5, 0.5], signals, declare, **UNIT)
    assert_close(without, torch.tensor([0.5, 0.5]), atol=0.02, rtol=0)


def test_one_step_is_the_rules(declare):
    controller = GradNorm(lr=0.1, alpha=1.0, memory=0.0)
    state = controller.init(torch.tensor([[0.5, 0.5]]), declare(**UNIT))
    state = controller.observe(state, told([2.0, 1.0], [0.5, 0.5]))  # nobody is behind yet
    expected = gradnorm(
        torch.tensor([[0.5, 0.5]]), torch.tensor([[2.0, 1.0]]), torch.tensor([[0.5, 0.5]]), lr=0.1, floor=0.01
    )
    assert_close(state["share"], expected)
    assert controller.metrics(state, ("a", "b"))["gradients/a/norm"].tolist() == [2.0]


@pytest.mark.parametrize("means", [[1.0, 0.5], [NAN, 0.5], [5.0, 0.5]])
def test_a_baseline_that_says_nothing_counts_as_average(declare, means):
    # begun at its ideal, never seen, begun above it: no ratio blows up
    found = settled(GradNorm(lr=0.005, memory=0.0), [0.5, 0.5], [told([1.0, 1.0], means)], declare, **UNIT)
    assert_close(found, torch.tensor([0.5, 0.5]), atol=0.02, rtol=0)


def test_says_what_it_needs():
    assert recipes.mgda(weighting=GradNorm()).problems() == []
    assert any("at-gradient" in said for said in recipes.gdpo(weighting=GradNorm()).problems())


@pytest.mark.parametrize("options", [{"alpha": -1.0}, {"lr": 0.0}, {"floor": 0.0}, {"memory": 1.0}])
def test_refuses_impossible_options(options):
    with pytest.raises(ConfigError, match=f"`{next(iter(options))}`"):
        GradNorm(**options)
