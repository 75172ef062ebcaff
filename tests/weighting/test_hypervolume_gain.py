import math

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.weighting import HypervolumeGain

UNIT = {"ideal": [1.0, 1.0], "nadir": [0.0, 0.0]}


def gains(controller: HypervolumeGain, means: list[list[float]], declare, show, rows, **declared) -> list[float]:
    state = controller.init(torch.tensor([[0.7, 0.3]]), declare(**declared))
    found = []
    for mean in means:
        state = controller.observe(state, show([mean]))
        weights, gain = controller.weigh(state, rows)
        assert_close(weights[:, 0, 0], torch.tensor([[0.7, 0.3]]))
        found.append(float(gain))
    return found


def test_worked_values(declare, show, rows):
    means = [[0.0, 0.0], [0.5, 0.1], [0.5, 0.1], [0.1, 0.5], [1.0, 1.0]]
    # the first mean is the reference; then 0.05 is added, nothing, 0.1 * 0.5 - 0.1 * 0.1 = 0.04, and 1 - 0.09 = 0.91
    expected = [1.0, 0.5 + 1.5 * math.tanh(0.05), 0.5, 0.5 + 1.5 * math.tanh(0.04), 0.5 + 1.5 * math.tanh(0.91)]
    assert gains(HypervolumeGain(memory=0.0), means, declare, show, rows, **UNIT) == pytest.approx(expected, abs=1e-5)
    assert [round(0.5 + 1.5 * math.tanh(x), 3) for x in (0.05, 0.1, 0.5, 1.0)] == [0.575, 0.65, 1.193, 1.642]


def test_a_mean_below_the_reference_adds_nothing_whatever_else_it_has(declare, show, rows):
    # with an unclamped reference, a point (1, -1) would add -1, and a later one would be refused
    means = [[0.0, 0.0], [0.5, 0.5], [1.0, -1.0], [0.6, 0.6]]
    found = gains(HypervolumeGain(memory=0.0), means, declare, show, rows, **UNIT)
    assert found[2] == 0.5
    assert found[3] == pytest.approx(0.5 + 1.5 * math.tanh(0.36 - 0.25), abs=1e-5)


def test_may_measure_from_the_studys_reference_point(declare, show, rows):
    controller = HypervolumeGain(from_start=False, memory=0.0)
    found = gains(controller, [[0.4, 0.5], [0.5, 0.5]], declare, show, rows, reference=[0.0, 0.0], **UNIT)
    assert found == pytest.approx([1.0, 0.5 + 1.5 * math.tanh(0.25)], abs=1e-5)
    with pytest.raises(ConfigError, match="`reference_point` has no value for a, b"):
        controller.init(torch.tensor([[0.5, 0.5]]), declare(**UNIT))


@pytest.mark.parametrize("declared", [True, False])
def test_units_do_not_matter(declare, show, rows, declared):
    def found(unit: float) -> list[float]:
        means = [[0.0, 0.0], [0.2, 0.3 * unit], [0.4, 0.1 * unit]]
        state = HypervolumeGain().init(
            torch.tensor([[0.5, 0.5]]), declare(ideal=[1.0, unit], nadir=[0.0, 0.0]) if declared else declare()
        )
        out = []
        for mean in means:
            state = HypervolumeGain().observe(state, show([mean], [[0.5, 0.5 * unit]]))
            out.append(float(state["gain"]))
        return out

    assert found(1000.0) == pytest.approx(found(1.0), abs=1e-4)


def test_keeps_a_bounded_front_without_what_is_dominated(declare, show):
    controller = HypervolumeGain(keep=3, memory=0.0)
    state = controller.init(torch.tensor([[0.5, 0.5]]), declare(**UNIT))
    corners = [[0.1, 0.9], [0.3, 0.8], [0.31, 0.79], [0.8, 0.3], [0.9, 0.1]]
    for mean in [[0.0, 0.0], [0.05, 0.05], *corners]:
        state = controller.observe(state, show([mean]))
    kept = state["front"][0]
    assert len(kept) == 3 and bool(kept.isfinite().all())
    assert not any(torch.allclose(point, torch.tensor([0.05, 0.05])) for point in kept)
    assert sum(torch.allclose(point, torch.tensor(near)) for point in kept for near in corners[1:3]) == 1


def test_a_missing_mean_leaves_the_gain(declare, show):
    state = HypervolumeGain(memory=0.0).init(torch.tensor([[0.5, 0.5]]), declare(**UNIT))
    for mean in ([0.0, 0.0], [0.5, 0.5]):
        state = HypervolumeGain(memory=0.0).observe(state, show([mean]))
    after = HypervolumeGain(memory=0.0).observe(state, show([[float("nan")] * 2]))
    assert_close(after["gain"], state["gain"])


@pytest.mark.parametrize("options", [{"low": 0.0}, {"span": -1.0}, {"keep": 0}, {"memory": 1.0}])
def test_refuses_impossible_options(options):
    with pytest.raises(ConfigError, match=f"`{next(iter(options))}`"):
        HypervolumeGain(**options)
