"""From two evaluations to a front: chosen on dev, valued on test, in own signs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from moalign.errors import ConfigError
from moalign.fronts import Front, Objective, build_front
from moalign.optimizers.hypervolume import hypervolume

REFERENCE = {"right": 0.0, "tokens": 32.0}


def build(dev, test, objectives, **changes) -> Front:
    count = len(dev.members)
    options = {
        "preferences": torch.full((count, 2), 0.5),
        "kinds": ["member"] * count,
        "step": 90,
        "seed": 3,
        "reference_point": REFERENCE,
    }
    return build_front(dev, test, objectives=objectives, **{**options, **changes})


def test_points_are_chosen_on_dev_and_valued_on_test(evaluation, objectives, tmp_path):
    dev = evaluation("dev")
    test = evaluation("test", m00=(0.8, 21.0, 0.2), m02=(0.99, 1.0, 1.0))  # m02 would dominate all on test
    weights = torch.tensor([[0.1, 0.9]] * 4)
    front = build(dev, test, objectives, weights=weights, paths={"m00": tmp_path})
    assert [p.id for p in front] == ["m00", "m01", "m03"] and [p.id for p in front.dominated] == ["m02"]
    point = front[0]
    assert point.values == pytest.approx({"right": 0.8, "tokens": 21.0, "polite": 0.2})
    assert point.dev_values == pytest.approx({"right": 0.9, "tokens": 20.0, "polite": 0.1})
    assert point.stderr["tokens"] == pytest.approx(float(test.stderr[0, 1]))
    assert point.preference == {"right": 0.5, "tokens": 0.5}
    assert point.weights == pytest.approx({"right": 0.1, "tokens": 0.9})
    assert (point.step, point.seed, point.kind, point.path, front[1].path) == (90, 3, "member", tmp_path, None)
    assert point.samples[0].rewards == {"right": 1.0, "tokens": 3.0, "polite": None}  # the cost is positive again
    assert (front.split, front.prompts, front.temperature) == ("test", 16, 1.0)
    assert all(o.reward is None for o in front.objectives)


def test_a_chosen_point_stays_when_test_disagrees_and_is_marked(evaluation, objectives):
    test = evaluation("test", m03=(0.45, 14.0, 0.5))  # now m01 (0.5, 8) is better in both
    front = build(evaluation("dev"), test, objectives)
    assert {p.id: p.dominated_on_test for p in front} == {"m00": False, "m01": False, "m03": True}


def test_feasible_points_come_first(evaluation, objectives):
    limited = [replace(o, threshold=0.6) if o.name == "right" else o for o in objectives]
    front = build(evaluation("dev"), evaluation("test"), limited)
    assert [p.id for p in front] == ["m00", "m03"] and all(p.feasible for p in front)
    assert {p.id: p.feasible for p in front.dominated} == {"m01": False, "m02": False}
    out_of_reach = [replace(o, threshold=1.5) if o.name == "right" else o for o in objectives]
    front = build(evaluation("dev"), evaluation("test"), out_of_reach)
    assert [p.id for p in front] == ["m00", "m01", "m03"] and not any(p.feasible for p in front)


def test_a_member_without_values_is_kept_out(evaluation, objectives):
    front = build(evaluation("dev", m01=(math.nan, 8.0, 0.9)), evaluation("test"), objectives)
    assert [p.id for p in front] == ["m00", "m02", "m03"]
    front = build(evaluation("dev"), evaluation("test", m01=(math.nan, 8.0, 0.9)), objectives)
    assert [p.id for p in front] == ["m00", "m01", "m03"] and math.isnan(front[1].values["right"])
    assert front.hypervolume().points == 2


def test_hypervolume_by_hand(evaluation, objectives):
    measure = build(evaluation("dev"), evaluation("test"), objectives).hypervolume()
    # boxes above (0, -32): m00 .9 x 12, then m03 .7 up from 12 to 18, then m01 .5 up from 18 to 24
    assert measure.value == pytest.approx(0.9 * 12 + 0.7 * 6 + 0.5 * 6)
    assert (measure.reference_point, measure.points, measure.prompts) == (REFERENCE, 3, 16)


def test_hypervolume_error_is_that_of_a_bootstrap_over_prompts(evaluation, objectives):
    test = evaluation("test", prompts=200, noise=0.5, seed=4)
    measure = build(evaluation("dev"), test, objectives).hypervolume()
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(400):
        again = test.scores[:, torch.from_numpy(rng.integers(0, 200, 200))].mean(dim=1)
        draws.append(hypervolume(again[[0, 1, 3], :2], torch.tensor([0.0, -32.0], dtype=torch.float64)))
    assert measure.stderr == pytest.approx(np.std(draws), rel=0.15)
    # the points share their prompts' luck: taken as independent they would seem more certain
    assert (
        measure.stderr > 1.2 * replace(build(evaluation("dev"), test, objectives), measured=None).hypervolume().stderr
    )


def test_order_of_objectives_changes_nothing(evaluation, objectives):
    front = build(evaluation("dev"), evaluation("test"), objectives)
    turned = build(evaluation("dev"), evaluation("test"), objectives[::-1])
    assert [p.values for p in front] == [p.values for p in turned]
    assert turned.hypervolume().value == pytest.approx(front.hypervolume().value)


def test_mistakes(evaluation, objectives):
    dev, test = evaluation("dev"), evaluation("test")
    with pytest.raises(ConfigError, match="both of split 'dev'"):
        build(dev, dev, objectives)
    with pytest.raises(ConfigError, match="different members"):
        build(dev, replace(test, members=tuple("abcd")), objectives)
    with pytest.raises(ConfigError, match="lacks polite"):
        build(dev, test, objectives[:2])
    with pytest.raises(ConfigError, match="has clarity, not evaluated"):
        build(dev, test, [*objectives, Objective("clarity")])


def test_without_reference_point_there_is_a_front_but_no_hypervolume(evaluation, objectives):
    front = build(evaluation("dev"), evaluation("test"), objectives, reference_point=None)
    assert len(front) == 3
    with pytest.raises(ConfigError, match="no `reference_point`"):
        front.hypervolume()


def test_independent_errors_by_hand():
    # one point (2, 3) above 0 with errors .1 and .2: volume 6, variance (3 * .1)² + (2 * .2)² = .25
    table = {"a": [2.0], "b": [3.0], "a_stderr": [0.1], "b_stderr": [0.2]}
    front = Front.from_frame(table, ["a", Objective("b")], reference_point={"a": 0, "b": 0})
    assert front.hypervolume().value == pytest.approx(6.0)
    assert front.hypervolume().stderr == pytest.approx(0.5)
