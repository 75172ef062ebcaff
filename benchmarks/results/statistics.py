"""Summaries of few runs: interquartile means, bootstrap intervals, probability of improvement; scipy does the work.

Agarwal et al. 2021, Deep reinforcement learning at the edge of the statistical precipice, arXiv:2108.13264.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 10_000


class Interval(NamedTuple):
    """An estimate and its 95 % percentile bootstrap interval over seeds; NaN ends below three seeds."""

    value: float
    low: float
    high: float


def interquartile_mean(values: Sequence[float]) -> Interval:
    """Return the mean of the middle half.

    >>> interquartile_mean([0.0, 1.0, 2.0, 9.0]).value
    1.5
    """
    return _interval(np.asarray(values, dtype=float), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis))


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Return the interquartile mean of ours minus theirs, seed by seed.

    >>> round(paired_difference([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0]).value, 6)
    1.0
    """
    return interquartile_mean(np.subtract(ours, theirs).tolist())


def sign_flip(differences: Sequence[float]) -> float:
    """Return the exact two-sided p-value of a mean difference under random signs; 2 / 2^n at its least.

    >>> sign_flip([1.0, 2.0, 3.0, 4.0, 5.0])
    0.0625
    """
    if len(differences) < 2:
        return 1.0
    found: Any = stats.permutation_test(
        (np.asarray(differences, dtype=float),), np.mean, permutation_type="samples", n_resamples=2**12,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(found.pvalue)


def probability_of_improvement(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Return how often a run of ours beats a run of theirs, over all pairs of runs, ties counting half.

    >>> probability_of_improvement([1.0, 2.0, 3.0], [0.0, 2.0, 2.5]).value  # 1 + 1.5 + 3 of 9
    0.6111111111111112
    """
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)

    def share(a: np.ndarray, b: np.ndarray) -> float:
        return float((np.sign(a[:, None] - b[None, :]) / 2 + 0.5).mean())

    if min(len(a), len(b)) < 3:
        return Interval(share(a, b), float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    drawn = [share(rng.choice(a, len(a)), rng.choice(b, len(b))) for _ in range(RESAMPLES // 5)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(share(a, b), float(low), float(high))


def rank_correlation(wished: Sequence[float], got: Sequence[float]) -> float:
    """Return Spearman's correlation; NaN where one of the two does not vary.

    >>> rank_correlation([0.0, 0.5, 1.0], [0.1, 0.2, 0.9])
    1.0
    """
    if len(set(wished)) < 2 or len(set(got)) < 2:
        return float("nan")
    found: Any = stats.spearmanr(wished, got)
    return float(found.statistic)


def _interval(values: np.ndarray, statistic: object) -> Interval:
    value = float(statistic(values, axis=-1))  # type: ignore[operator]
    if len(values) < 3 or np.ptp(values) == 0:
        return Interval(value, *((value, value) if len(values) >= 3 else (float("nan"), float("nan"))))
    found = stats.bootstrap(
        (values,), statistic, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    )
    return Interval(value, float(found.confidence_interval.low), float(found.confidence_interval.high))
