"""Does turning a weight down work? Against the real credit, by hand, and over all groups that two rewards can make."""

import itertools
import math

import numpy as np
import pytest
import torch

from moalign.credit import CreditPipeline, trl_sum_then_normalize
from moalign.diagnostics import RewardTable, normalize_then_sum, pressure, pressure_table, shares, sum_then_normalize
from moalign.parts import bind
from moalign.records import Rewards, Rows


def table_of(values: np.ndarray, weights: np.ndarray | None = None, *, group: int = 4) -> RewardTable:
    rows, objectives = values.shape
    return RewardTable(
        names=tuple("abcdef"[:objectives]),
        values=values,
        group=np.arange(rows) // group,
        step=np.zeros(rows, dtype=np.int64),
        weights=np.broadcast_to(np.ones(objectives) if weights is None else weights, values.shape).astype(float),
        bounds=np.full((objectives, 2), np.nan),
    )


def rows_of(table: RewardTable) -> Rows:
    count = len(table.values)
    one, true = torch.zeros((count, 1), dtype=torch.long), torch.ones((count, 1), dtype=torch.bool)
    valid = torch.tensor(table.valid)
    values = torch.where(valid, torch.tensor(table.values), 0.0)
    nothing = torch.full((len(table.names),), torch.nan)
    return Rows(
        members=1,
        member=one[:, 0],
        prompt_id=one[:, 0],
        group=torch.tensor(table.group),
        prompt_tokens=one,
        prompt_mask=true,
        tokens=one,
        completion_mask=true,
        train_mask=true,
        keep=true[:, 0],
        temperature=torch.ones(count),
        index=torch.arange(count),
        rewards=Rewards(values, valid, table.names, nothing, nothing),
    )


def credited(pipeline: CreditPipeline, table: RewardTable) -> np.ndarray:
    weights = torch.tensor(table.weights[0])[None, None, None]
    state = pipeline.init(1, len(table.names))
    return pipeline(rows_of(table), weights, torch.ones(1), state)[0].advantages[:, 0, 0].numpy()


def some(seed: int, *, missing: float = 0.0) -> np.ndarray:
    made = np.random.default_rng(seed)
    values = made.normal(size=(64, 3)) * np.array([1.0, 30.0, 0.2])
    return np.where(made.random(values.shape) < missing, np.nan, values)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_schemes_are_the_trainers_credit(missing: float) -> None:
    table = table_of(some(0, missing=missing), np.array([0.5, 0.01, 2.0]))
    np.testing.assert_allclose(
        sum_then_normalize(table, table.weights), credited(trl_sum_then_normalize(), table), atol=1e-5
    )
    apart = CreditPipeline(estimate=bind(CreditPipeline().estimate, eps=1e-4), collapse="at_advantage")
    np.testing.assert_allclose(normalize_then_sum(table, table.weights), credited(apart, table), atol=1e-5)


def test_pressure_by_hand() -> None:
    # one group of four: a = (1, 0, 0, 1) and b = (10, 10, 0, 0); credit is a's deviation, ±0.5
    table = table_of(np.array([[1.0, 10.0], [0.0, 10.0], [0.0, 0.0], [1.0, 0.0]]))
    # a: mean of 0.5 * 0.5 = 0.25, over its spread 0.5; b: (0.5 * 5 - 0.5 * 5 + 0.5 * 5 - 0.5 * 5) / 4 = 0
    assert pressure(table, np.array([0.5, -0.5, -0.5, 0.5])).tolist() == [0.5, 0.0]
    # credit that goes down with b: 0.5 * -5 over four rows of four, over 5
    assert pressure(table, np.array([-0.5, -0.5, 0.5, 0.5])).tolist() == [0.0, -0.5]


def test_pressure_does_not_depend_on_units_or_order() -> None:
    table = table_of(some(1))
    advantages = sum_then_normalize(table, table.weights)
    before = pressure(table, advantages)
    scaled = table_of(7 * table.values[:, ::-1] + 3)
    np.testing.assert_allclose(pressure(scaled, advantages)[::-1], before, rtol=1e-9)


def test_shares_of_nothing_are_nothing() -> None:
    table = table_of(np.ones((8, 2)))
    assert shares(pressure(table, sum_then_normalize(table, table.weights))).tolist() == [0.0, 0.0]


def expected_ratio(easy: float, hard: float, weight: float, *, group: int = 8) -> float:
    """E[A r_easy] over E[A r_hard] of the normalised weighted sum, over all groups of two independent rewards."""
    cells = [(1, 1, easy * hard), (1, 0, easy * (1 - hard)), (0, 1, (1 - easy) * hard), (0, 0, (1 - easy) * (1 - hard))]
    found = [0.0, 0.0]
    for cuts in itertools.combinations(range(group + 3), 3):  # where 8 completions fall into four cells
        counts = [b - a - 1 for a, b in itertools.pairwise((-1, *cuts, group + 3))]
        ways, chance = math.factorial(group), 1.0
        for count, (_, _, p) in zip(counts, cells):
            ways //= math.factorial(count)
            chance *= p**count
        rows = [(e, h) for count, (e, h, _) in zip(counts, cells) for _ in range(count)]
        totals = [weight * e + h for e, h in rows]
        mean = sum(totals) / group
        std = math.sqrt(sum((t - mean) ** 2 for t in totals) / (group - 1))
        for k in range(2):
            found[k] += ways * chance * sum((t - mean) / (std + 1e-4) * row[k] for t, row in zip(totals, rows)) / group
    return found[0] / found[1]


@pytest.mark.parametrize("easy, hard, tenth", [(0.9, 0.1, 0.5), (0.5, 0.5, 0.1)])
def test_a_weight_turned_down_works_only_after_normalization(easy: float, hard: float, tenth: float) -> None:
    made = np.random.default_rng(0)
    table = table_of((made.random((40_000, 2)) < np.array([easy, hard])).astype(float), group=8)
    left = pressure_table(table)
    expected = [expected_ratio(easy, hard, factor) for factor in (0.5, 0.25, 0.1)]  # both spreads are equal
    assert expected[-1] == pytest.approx(tenth, abs=0.02)  # of the pressure is left
    assert left["sum_then_normalize"][0].tolist() == pytest.approx([1.0, *expected], rel=0.07)
    assert left["normalize_then_sum"][0].tolist() == pytest.approx([1.0, 0.5, 0.25, 0.1], rel=0.07)


def test_the_table_is_the_ratio_of_pressures() -> None:
    table = table_of(some(2), np.array([1.0, 0.02, 3.0]))
    left = pressure_table(table, (0.5,))["sum_then_normalize"]
    for k in range(3):

        def ratio(factor: float, k: int = k) -> float:
            weights = table.weights.copy()
            weights[:, k] *= factor
            found = np.abs(pressure(table, sum_then_normalize(table, weights)))
            return found[k] / (found.sum() - found[k])

        assert left[k, 0] == pytest.approx(ratio(0.5) / ratio(1.0), rel=1e-9)


def test_one_reward_has_nothing_to_be_compared_with() -> None:
    assert np.isnan(pressure_table(table_of(some(3)[:, :1]))["sum_then_normalize"]).all()
