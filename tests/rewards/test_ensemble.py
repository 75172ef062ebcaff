"""Ensembles of rewards."""

import statistics
import threading
import time

import pytest
import torch

from moalign.errors import ConfigError, RewardError
from moalign.objectives import Objective
from moalign.parts import spec
from moalign.rewards import Ensemble, Scorer
from moalign.rewards.ensemble import less_variance, mean_of, worst_of


def constant(*values):
    return lambda completions, **columns: list(values)


A, B, C = constant(1.0, 0.0), constant(3.0, 0.0), constant(5.0, 6.0)


def test_three_ways_by_hand():
    """Of 1, 3, 5: the mean is 3, the least 1, the variance ((-2)² + 0² + 2²) / 3 = 8/3."""
    values = torch.tensor([[1.0], [3.0], [5.0]])
    assert mean_of(values).tolist() == [3.0]
    assert worst_of(values).tolist() == [1.0]
    assert less_variance(values, coefficient=0.5).tolist() == pytest.approx([3 - 0.5 * 8 / 3])
    for name, expected in (("mean", [3.0, 2.0]), ("worst-case", [1.0, 0.0]),
                           ("uncertainty-weighted", [3 - 0.5 * 8 / 3, 2 - 0.5 * 8])):  # fmt: skip
        assert Ensemble((A, B, C), name)(completions=["x", "y"]) == pytest.approx(expected)


def test_uncertainty_is_the_variance_of_the_population():
    numbers = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_hand = [statistics.fmean(row) - 0.3 * statistics.pvariance(row) for row in numbers.T.tolist()]
    assert less_variance(numbers, coefficient=0.3).tolist() == pytest.approx(by_hand)


def test_the_order_of_rewards_does_not_matter_and_agreement_costs_nothing():
    for combine in ("mean", "worst-case", "uncertainty-weighted"):
        forth, back = (Ensemble(some, combine)(completions=["x", "y"]) for some in ((A, B, C), (C, B, A)))
        assert forth == back
        assert Ensemble((A, A), combine)(completions=["x", "y"]) == [1.0, 0.0]


def test_the_worst_of_costs_is_the_highest():
    assert Ensemble((A, C), "worst-case", maximize=False)(completions=["x", "y"]) == [5.0, 6.0]
    # mean 3, variance ((-2)² + 2²) / 2 = 4: disagreement makes a cost dearer
    doubted = Ensemble((A, C), maximize=False)(completions=["x", "y"])
    assert doubted[0] == 3 + 0.5 * 4


def test_a_missing_value_leaves_none():
    assert Ensemble((A, constant(None, 2.0)), "mean")(completions=["x", "y"]) == [None, 1.0]


def test_dicts_are_combined_name_by_name():
    def two(completions, **columns):
        return {"kind": [1.0], "true": [4.0]}

    def other(completions, **columns):
        return {"true": [2.0], "kind": [0.0]}

    with Scorer([Objective("kind", both := Ensemble((two, other), "worst-case")), Objective("true", both)]) as scorer:
        assert scorer.score(["p"], ["x"]).values.tolist() == [[0.0, 2.0]]
        assert len(scorer._calls) == 1
    with pytest.raises(RewardError, match="dicts of the same names"):
        Ensemble((two, A))(completions=["x"])


def test_members_run_at_the_same_time_and_are_told_what_they_ask_for():
    together = threading.Barrier(2, timeout=5)

    def waits(completions, answer, log_metric, log_extra):
        together.wait()
        log_metric("seen", 1.0)
        log_extra("upper", [text.upper() for text in completions])
        return [float(x) for x in answer]

    async def also(completions, level):
        together.wait()
        return [float(x) for x in level]

    both = Ensemble((waits, also), "mean", name="pair")
    assert both.columns == ("answer", "level")
    with Scorer([Objective("o", both)]) as scorer:
        assert len(scorer.problems(["prompt", "answer"])) == 1
        result = scorer.score(["p"], ["x"], None, {"answer": [1], "level": [3]})
    assert result.values.tolist() == [[2.0]] and result.extras == {"upper": ["X"]}
    assert result.metrics["seen"] == 1.0 and result.metrics["pair/std"] == 1.0


def test_what_a_member_loads_does_not_count_against_the_timeout():
    class Slow:
        ready = False

        def prepare(self):
            time.sleep(0.2)
            self.ready = True

        def __call__(self, completions):
            return [float(self.ready)]

    with Scorer([Objective("o", Ensemble((Slow(),), "mean"))], timeout=0.15) as scorer:
        assert scorer.score(["p"], ["x"]).values.tolist() == [[1.0]]
    with pytest.raises(ConfigError, match="there is no such path here"):  # before any step is trained
        Scorer([Objective("o", Ensemble(("./nowhere",)))])


def test_records_and_refusals():
    record = spec(Ensemble(("path/a", "path/b"), "worst-case"))
    assert record["part"] == "ensemble" and record["rewards"] == ["path/a", "path/b"]
    with pytest.raises(ConfigError, match="must be several rewards, not 'path/a'"):
        Ensemble("path/a")
    with pytest.raises(ConfigError, match="no ensemble is called `wrst-case`; did you mean worst-case"):
        Ensemble((A,), "wrst-case")
