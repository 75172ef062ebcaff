"""Correlation, opposition and saturation within groups: against scipy, by hand, and where nothing can be said."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from moalign.diagnostics import RewardTable, opposed, rank_correlation, saturation
from moalign.diagnostics._relations import ranks
from moalign.diagnostics._table import moments


def table_of(values: np.ndarray, group: np.ndarray, bounds: np.ndarray | None = None) -> RewardTable:
    rows, objectives = values.shape
    nothing = np.full((objectives, 2), np.nan)
    return RewardTable(
        names=tuple("abc"[:objectives]),
        values=values,
        group=group,
        step=np.zeros(rows, dtype=np.int64),
        weights=np.ones_like(values),
        bounds=nothing if bounds is None else bounds,
    )


def test_ranks_are_scipys_in_each_group() -> None:
    made = np.random.default_rng(0)
    group = np.sort(made.integers(0, 9, 80))
    group = np.unique(group, return_inverse=True)[1]
    values = made.integers(0, 4, 80).astype(float)
    expected = np.concatenate([rankdata(values[group == g]) for g in range(group.max() + 1)])
    assert ranks(values, group).tolist() == expected.tolist()


def test_one_group_is_spearman() -> None:
    made = np.random.default_rng(1)
    a, b = made.integers(0, 5, 40).astype(float), made.normal(size=40)
    expected = float(spearmanr(a, b).statistic)  # pyright: ignore[reportAttributeAccessIssue]
    assert rank_correlation(a, b, np.zeros(40, dtype=np.int64)) == pytest.approx(expected, abs=1e-12)


def test_differences_between_groups_do_not_count() -> None:
    group = np.repeat(np.arange(20), 4)
    noise = np.random.default_rng(2).normal(size=(80, 2))
    a, b = noise[:, 0] + 100 * group, noise[:, 1] + 100 * group  # prompts of different difficulty
    assert abs(rank_correlation(a, b, group)) < 0.3
    assert rank_correlation(a, b, np.zeros(80, dtype=np.int64)) > 0.9


def test_missing_rewards_are_left_out_in_pairs() -> None:
    group = np.array([0, 0, 0, 0, 1, 1, 1])
    a = np.array([1.0, 2.0, 3.0, np.nan, 1.0, np.nan, 5.0])
    b = np.array([1.0, 3.0, 2.0, 9.0, np.nan, 2.0, 1.0])
    # both: the first three rows, ranks (1, 2, 3) and (1, 3, 2): (1 * 1 + 0 * 1 - 0) / 2 = 0.5; the last stands alone
    assert rank_correlation(a, b, group) == pytest.approx(0.5)
    assert np.isnan(rank_correlation(a, np.full(7, np.nan), group))
    assert np.isnan(rank_correlation(a, np.ones(7), group))


def test_opposed_by_hand() -> None:
    group = np.array([0, 0, 0, 0])
    a, b = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.0, 1.0, 1.0, 0.0])
    assert opposed(a, b, group) == 0.5
    assert opposed(a, -a, group) == 1.0 and opposed(a, a, group) == 0.0
    assert np.isnan(opposed(a, np.ones(4), group))


def test_saturation_by_hand() -> None:
    nan = np.nan
    values = np.array([[1, 0.1], [1, 0.1], [1, 0.5], [0, 0.9], [1, nan], [1, nan]])  # groups of two
    found = saturation(table_of(values, np.repeat(np.arange(3), 2), np.array([[0.0, 1.0], [nan, nan]])))
    assert found.valid.tolist() == [1.0, 4 / 6]
    assert found.silent.tolist() == [2 / 3, 1 / 2]  # a: the first and the last; b: the first of two that it has
    assert found.at_best.tolist() == [5 / 6, 1 / 4]  # b has no bounds: its best seen
    assert found.at_worst.tolist() == [1 / 6, 2 / 4]


def test_a_reward_that_nobody_has_says_nothing() -> None:
    found = saturation(table_of(np.array([[1.0, np.nan], [0.0, np.nan]]), np.array([0, 0])))
    assert found.valid.tolist() == [1.0, 0.0]
    assert np.isnan([found.silent[1], found.at_best[1], found.at_worst[1]]).all()


def test_moments_are_numpys() -> None:
    values = np.array([0.1, 0.1, 0.1, 1e6, 1e6 + 1, np.nan, np.nan])
    found = moments(values, np.array([0, 3, 6]))
    assert found.deviations.tolist() == [0.0, 0.0, 0.0, -0.5, 0.5, 0.0, 0.0]
    assert found.std[:4].tolist() == pytest.approx([0, 0, 0, np.std([0, 1], ddof=1)])
    assert found.count.tolist() == [3, 2, 0]
    assert found.varies.tolist() == [False, False, False]  # one in a million is rounding
