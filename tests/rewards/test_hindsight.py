"""A judge in hindsight."""

import pytest

from moalign.errors import ConfigError
from moalign.objectives import Objective
from moalign.rewards import Endpoint, Hindsight, Scorer
from tests.rewards.judging import serving


def test_the_judge_sees_the_outcome_that_was_simulated():
    def simulate(text):
        assert "<outcome>" not in text
        return (
            (503, "", {}) if "silent" in text else "The port was missing." if "has every port" in text else "All well."
        )

    def judge(text):
        return "<score>1</score>" if "<outcome>\nThe port was missing.\n</outcome>" in text else "<score>9</score>"

    with serving(simulate) as world, serving(judge) as server:
        reward = Hindsight(Endpoint(server.url, "judge"), simulator=Endpoint(world.url, "world", retries=0))
        assert reward.columns == ()
        with Scorer([Objective("served", reward)]) as scorer:
            result = scorer.score(["Which TV?"] * 3, ["It has every port!", "silent", "It has two ports."])
    assert result.values[:, 0].tolist() == [1.0, 0.0, 9.0] and result.valid[:, 0].tolist() == [True, False, True]
    assert result.metrics["hindsight/no_outcome"] == pytest.approx(1 / 3)
    assert len(world.bodies) == 3 and len(server.bodies) == 2  # nothing is judged without its outcome


def test_by_default_the_judge_simulates_and_a_template_must_show_it():
    model = Endpoint("http://localhost/v1", "tiny")
    assert Hindsight(model).simulator == model
    with pytest.raises(ConfigError, match=r"`template` does not name \$outcome"):
        Hindsight(model, template="$prompt $completion")
    both = Hindsight(
        model, template="$prompt $completion $outcome $goal", simulation="$prompt $completion $goal $world"
    )
    assert both.columns == ("goal", "world")
