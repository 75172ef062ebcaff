"""What rewards have to do with each other within groups, and how much each of them still says."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from moalign.diagnostics._table import RewardTable, Row, moments, renumbered


@dataclass(frozen=True)
class Saturation:
    """How much of each reward is left to learn from; shares in [0, 1], NaN where nothing can be said."""

    valid: Float[np.ndarray, "objective"]  # completions that have the reward
    silent: Float[np.ndarray, "objective"]  # groups with two or more values in which it does not vary
    at_best: Float[np.ndarray, "objective"]  # valid values at the best bound, or the best value seen
    at_worst: Float[np.ndarray, "objective"]


def saturation(table: RewardTable) -> Saturation:
    """Return where each reward has no signal: missing, equal within its group, or at the end of its range."""
    found = moments(table.values, table.starts)
    compared = found.count >= 2
    count = table.valid.sum(axis=0)
    low, high = (
        np.where(np.isnan(declared), np.where(count > 0, seen, np.nan), declared)
        for declared, seen in (
            (table.bounds[:, 0], np.where(table.valid, table.values, np.inf).min(axis=0)),
            (table.bounds[:, 1], np.where(table.valid, table.values, -np.inf).max(axis=0)),
        )
    )
    near = 1e-6 * np.maximum(np.abs(low), np.abs(high))
    return Saturation(
        valid=count / max(len(table.values), 1),
        silent=_share(compared & ~found.varies, compared),
        at_best=_share(table.valid & (table.values >= high - near), table.valid),
        at_worst=_share(table.valid & (table.values <= low + near), table.valid),
    )


def _share(some: np.ndarray, of: np.ndarray) -> Float[np.ndarray, "objective"]:
    total = of.sum(axis=0)
    return np.where(total > 0, (some & of).sum(axis=0) / np.maximum(total, 1), np.nan)


def ranks(values: Row, group: Int[np.ndarray, "row"]) -> Row:
    """Return each value's rank within its group from 1, ties sharing the mean of theirs.

    >>> ranks(np.array([5.0, 2.0, 2.0, 9.0]), np.array([0, 0, 0, 1])).tolist()
    [3.0, 1.5, 1.5, 1.0]
    """
    order = np.lexsort((values, group))
    ordered, key = values[order], group[order]
    new_group = np.diff(key, prepend=-1) != 0
    new_value = new_group | (np.diff(ordered, prepend=np.nan) != 0)
    first = np.flatnonzero(new_value)
    last = np.append(first[1:], len(values)) - 1
    begin = np.repeat(np.flatnonzero(new_group), np.diff(np.flatnonzero(new_group), append=len(values)))
    out = np.empty(len(values))
    out[order] = np.repeat((first + last) / 2, last - first + 1) - begin + 1
    return out


def rank_correlation(first: Row, second: Row, group: Int[np.ndarray, "row"]) -> float:
    """Return Spearman's correlation within groups: of ranks in the group, less their mean, over all groups together.

    Only rows where both are finite count; `group` ascends. NaN where either never varies within a group.

    >>> a, b = np.array([1.0, 2.0, 30.0, 2.0, 1.0]), np.array([1.0, 4.0, 9.0, 0.0, 5.0])
    >>> round(rank_correlation(a, b, np.array([0, 0, 0, 1, 1])), 6)  # (2 - 0.5) / (2 + 0.5)
    0.6
    """
    both = np.isfinite(first) & np.isfinite(second)
    if not both.any():
        return float("nan")
    key = renumbered(group[both])
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    x, y = (moments(ranks(v[both], key), starts).deviations for v in (first, second))
    size = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / size) if size > 0 else float("nan")


def opposed(first: Row, second: Row, group: Int[np.ndarray, "row"]) -> float:
    """Return the share of completions that one reward credits and the other blames, of those where both say something.

    >>> opposed(np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 0.0]), np.array([0, 0, 0]))  # the middle says nothing
    1.0
    """
    both = np.isfinite(first) & np.isfinite(second)
    if not both.any():
        return float("nan")
    starts = np.flatnonzero(np.diff(renumbered(group[both]), prepend=-1))
    product = moments(first[both], starts).deviations * moments(second[both], starts).deviations
    said = product != 0
    return float((product[said] < 0).mean()) if said.any() else float("nan")
