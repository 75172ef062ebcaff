"""How hard credit pulls on each reward, and whether a smaller weight pulls less."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from moalign.diagnostics._table import Moments, RewardTable, Row, Values, moments

EPS = 1e-4  # that trainers add to a standard deviation
FACTORS = (1.0, 0.5, 0.25, 0.1)
LEAST = 0.05  # of the others' pressure: a change of less is noise
SCHEMES = ("sum_then_normalize", "normalize_then_sum")


def sum_then_normalize(table: RewardTable, weights: Values) -> Row:
    r"""Return the advantages of GRPO, :math:`(R_i-\mu_g)/(\sigma_g+\epsilon)` with :math:`R_i=\sum_k w_k r_{ik}`.

    A missing reward adds 0, as TRL counts it; a completion without any reward has no part and gets 0.
    """
    total = np.where(table.valid, table.values * weights, 0).sum(axis=1)
    found = moments(np.where(table.valid.any(axis=1), total, np.nan), table.starts)
    return found.deviations / (found.std + EPS)


def normalize_then_sum(table: RewardTable, weights: Values) -> Row:
    r"""Return the advantages of MO-GRPO, :math:`\sum_k w_k (r_{ik}-\mu_{gk})/(\sigma_{gk}+\epsilon)`.

    GDPO divides them by one number for the whole batch, which leaves their proportions. A missing reward adds 0.
    """
    return _normalized(moments(table.values, table.starts), weights)


def _normalized(each: Moments, weights: Values) -> Row:
    return (weights * each.deviations / (each.std + EPS)).sum(axis=1)


def pressure(table: RewardTable, advantages: Row) -> Float[np.ndarray, "objective"]:
    r"""Return how hard credit pulls each reward up, :math:`p_k=E[A\,(r_k-\mu_{gk})]/\sigma_k`.

    :math:`\mu_{gk}` is the group's mean and :math:`\sigma_k` the root mean square within groups, so that the unit of a
    reward does not count; means go over the completions that have the reward. To first order a small step of policy
    gradient raises the reward by so many :math:`\sigma_k` per unit of step; a negative pressure lowers it.
    """
    return advantages @ _directions(table, moments(table.values, table.starts))


def _directions(table: RewardTable, each: Moments) -> Values:
    r"""Return what credit is multiplied by and summed for the pressures, :math:`(r_k-\mu_{gk})/(n_k\sigma_k)`."""
    count = np.maximum(table.valid.sum(axis=0), 1)
    spread = np.sqrt((each.deviations**2).sum(axis=0) / count)
    return each.deviations / np.where(spread > 0, spread * count, 1)


def shares(values: Float[np.ndarray, "objective"]) -> Float[np.ndarray, "objective"]:
    """Return values divided by the sum of their sizes; all 0 where there is nothing to divide.

    >>> shares(np.array([3.0, -1.0])).tolist(), shares(np.zeros(2)).tolist()
    ([0.75, -0.25], [0.0, 0.0])
    """
    total = np.abs(values).sum()
    return values / total if total > 0 else np.zeros_like(values)


def pressure_table(
    table: RewardTable, factors: Sequence[float] = FACTORS
) -> dict[str, Float[np.ndarray, "objective factor"]]:
    """Answer "does turning a weight down work?" by scheme: what is left of an objective's pressure against the others'.

    Entry [k, f] is the ratio of objective k's pressure to the sum of the others' when k's weight is multiplied by
    `factors[f]`, over the same ratio with the weights as they are. A weight that works leaves its factor. NaN where
    there is nothing to compare: one objective, or one that is hardly pulled up at all. Below 0 the others push it down.
    """
    each = moments(table.values, table.starts)
    directions = _directions(table, each)
    out: dict[str, Float[np.ndarray, "objective factor"]] = {}
    for scheme in SCHEMES:
        left = np.full((len(table.names), len(factors)), np.nan)
        for k in range(len(table.names)):
            ratios = []
            for factor in (1.0, *factors):
                weights = _scaled(table.weights, k, factor)
                apart = scheme == SCHEMES[1]
                credit = _normalized(each, weights) if apart else sum_then_normalize(table, weights)
                ratios.append(_ratio(credit @ directions, k))
            if ratios[0] > LEAST:
                left[k] = np.array(ratios[1:]) / ratios[0]
        out[scheme] = left
    return out


def _scaled(weights: Values, k: int, factor: float) -> Values:
    scaled = weights.copy()
    scaled[:, k] *= factor
    return scaled


def _ratio(size: Float[np.ndarray, "objective"], k: int) -> float:
    others = np.abs(np.delete(size, k)).sum()
    return float(size[k] / others) if others > 1e-9 else float("nan")
