import math

import pytest
import torch
from torch.testing import assert_close

from moalign import recipes
from moalign.errors import ConfigError, UnknownNameError
from moalign.records import Signals
from moalign.training.line_search import LineSearch
from moalign.weighting import CovarianceTargets

NAN = float("nan")


def told(values: list[float], means: list[float] | None = None, what: str = "covariance") -> Signals:
    metrics = {f"{what}/{name}": torch.tensor([value]) for name, value in zip("ab", values)}
    return Signals(0, 0.0, torch.tensor([means or [NAN, NAN]]), torch.full((1, 2), NAN), metrics, ("a", "b"))


def ratio(state: dict) -> float:
    return math.log(float(state["share"][0, 0] / state["share"][0, 1]))


def test_matches_the_formula(declare):
    controller = CovarianceTargets(target=0.1, targets={"b": 0.5}, rate=2.0, memory=0.9)
    state = controller.init(torch.tensor([[0.5, 0.5]]), declare())
    state = controller.observe(state, told([0.02, 0.9]))  # the first covariance is taken as it is: a lacks 0.08
    assert ratio(state) == pytest.approx(2.0 * 0.08, abs=1e-5)
    state = controller.observe(state, told([0.12, -4.1]))
    # running: 0.03 and 0.4; a lacks 0.07, b 0.1
    assert ratio(state) == pytest.approx(2.0 * (0.08 + 0.07 - 0.1), abs=1e-5)
    assert {name: float(x) for name, x in controller.metrics(state, ("a", "b")).items()} == {
        "covariance/a/deficit": pytest.approx(0.07),
        "covariance/b/deficit": pytest.approx(0.1),
    }


def test_only_ratios_of_the_papers_growing_weights_count(declare):
    # log w_k += rate * deficit_k, never divided by a sum
    generator, controller = torch.Generator().manual_seed(0), CovarianceTargets(target=0.3, rate=0.7, memory=0.0)
    state = controller.init(torch.tensor([[0.2, 0.8]]), declare())
    logs = torch.tensor([0.2, 0.8]).log()
    for _ in range(20):
        found = torch.randn(2, generator=generator)
        state = controller.observe(state, told(found.tolist()))
        logs = logs + 0.7 * (0.3 - found).clamp(min=0)
    assert_close(state["share"][0], logs.softmax(0))


def test_what_meets_its_threshold_is_not_raised(declare):
    controller = CovarianceTargets(target=1.0, rate=1.0)
    state = controller.init(torch.tensor([[0.5, 0.5]]), declare(thresholds=[0.6, NAN]))
    below, met = (
        controller.observe(state, told([0.5, 2.0], [0.5, 0.9])),
        controller.observe(state, told([0.5, 2.0], [0.6, 0.9])),
    )
    assert ratio(below) == pytest.approx(0.5, abs=1e-5) and ratio(met) == pytest.approx(0.0, abs=1e-6)


def test_may_go_by_correlations_and_what_is_missing_moves_nothing(declare):
    controller = CovarianceTargets(target=0.5, rate=1.0, correlation=True)
    state = controller.init(torch.tensor([[0.5, 0.5]]), declare())
    assert_close(controller.observe(state, told([0.0, 0.1]))["share"], state["share"])  # no correlations
    assert_close(controller.observe(state, told([NAN, 0.6], what="correlation"))["share"], state["share"])
    assert ratio(controller.observe(state, told([0.3, NAN], what="correlation"))) == pytest.approx(0.2, abs=1e-5)


def test_says_what_it_needs():
    assert recipes.gdpo(weighting=CovarianceTargets()).problems() == []
    lacks = recipes.trust_region(weighting=CovarianceTargets())
    assert isinstance(lacks.update, LineSearch)
    assert any("does not tell" in said for said in lacks.problems())


def test_refuses_impossible_options(declare):
    with pytest.raises(ConfigError, match="`rate` must be positive"):
        CovarianceTargets(rate=0.0)
    with pytest.raises(ConfigError, match="`memory` must"):
        CovarianceTargets(memory=1.0)
    with pytest.raises(UnknownNameError, match="`targets`"):
        CovarianceTargets(targets={"bb": 1.0}).init(torch.tensor([[0.5, 0.5]]), declare())
