"""What went wrong on the way: rewards that rise at another's cost, and rewards that fall silent."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from moalign.diagnostics._pressure import pressure, shares
from moalign.diagnostics._table import RewardTable, moments

LEAST = 8  # groups at each end, below which a change says nothing
ERRORS = 3.0  # standard errors that a change must have
CHANGE = 0.1  # and spreads of the reward
AGAINST = -0.02  # share of the pressure below which a reward is pushed down


@dataclass(frozen=True)
class Alarm:
    """One thing to look at: `kind` is traded, vanishing, flat or against."""

    kind: str
    objective: str
    text: str
    other: str | None = None  # traded: the objective that rose


def alarms(table: RewardTable, advantages: Float[np.ndarray, "row"] | None = None) -> tuple[Alarm, ...]:
    """Return what changed for the worse from the first third of the steps to the last, and what is pushed down.

    An objective is looked at where it has at least half of an even share of the weight: what is not wished for may
    fall. With `advantages`, objectives whose weight is positive and whose pressure is negative are named, too.
    """
    found: list[Alarm] = []
    cared = _cared(table)
    for k, name in enumerate(table.names):
        found += _silenced(table, k, name, cared[:, k])
    for k, falls in enumerate(table.names):
        for j, rises in enumerate(table.names):
            if j == k:
                continue
            both = cared[:, k] & cared[:, j]
            down, up = _change(table, k, both), _change(table, j, both)
            if down is not None and up is not None and down < 0 < up:
                text = f"`{rises}` rose by {up:.3g} while `{falls}` fell by {-down:.3g}"
                found.append(Alarm("traded", falls, text, rises))
    if advantages is not None:
        pulls = shares(pressure(table, advantages))
        for name, pull, weight in zip(table.names, pulls, table.weights.mean(axis=0)):
            if weight > 0 and pull < AGAINST:
                text = f"`{name}` has a positive weight, and credit pushes it down ({pull:+.0%} of the pressure)"
                found.append(Alarm("against", name, text))
    return tuple(found)


def _cared(table: RewardTable) -> Bool[np.ndarray, "row objective"]:
    size = np.abs(table.weights)
    return size >= 0.5 / len(table.names) * size.sum(axis=1, keepdims=True)


def _ends(table: RewardTable, chosen: Bool[np.ndarray, "row"]) -> tuple[RewardTable, RewardTable] | None:
    """Return the rows of the first and the last third of the steps; None when these are too few to compare."""
    steps = np.unique(table.step[chosen])
    if len(steps) < 3:
        return None
    third = len(steps) // 3
    ends = [table.rows(chosen & within) for within in (table.step <= steps[third - 1], table.step >= steps[-third])]
    return (ends[0], ends[1]) if min(end.groups for end in ends) >= LEAST else None


def _change(table: RewardTable, k: int, chosen: Bool[np.ndarray, "row"]) -> float | None:
    """Return by how much a reward's mean moved from end to end; None where that is noise, or small."""
    ends = _ends(table, chosen)
    if ends is None:
        return None
    means, errors, spreads = [], [], []
    for end in ends:
        valid = end.valid[:, k].astype(float)
        count = np.add.reduceat(valid, end.starts)
        total = np.add.reduceat(np.where(end.valid[:, k], end.values[:, k], 0), end.starts)
        each = total[count > 0] / count[count > 0]  # one mean per group: its completions share a prompt
        if len(each) < LEAST:
            return None
        means.append(each.mean())
        errors.append(each.std(ddof=1) / np.sqrt(len(each)))
        spreads.append(np.nanstd(end.values[:, k]))
    moved = float(means[1] - means[0])
    enough = abs(moved) > max(ERRORS * float(np.hypot(*errors)), CHANGE * float(max(spreads)))
    return moved if enough else None


def _silenced(table: RewardTable, k: int, name: str, chosen: Bool[np.ndarray, "row"]) -> list[Alarm]:
    ends = _ends(table, chosen)
    if ends is None:
        return []
    before, after = (float(end.valid[:, k].mean()) for end in ends)
    if after < before / 2:
        text = f"`{name}` has a value for {after:.0%} of the last completions, for {before:.0%} of the first"
        return [Alarm("vanishing", name, text)]
    alive = []
    for end in ends:
        found = moments(end.values[:, k], end.starts)
        alive.append(float(found.varies.sum() / max((found.count >= 2).sum(), 1)))
    if alive[1] < 0.2 and alive[1] < alive[0] / 2:
        text = f"`{name}` varies within {alive[1]:.0%} of the last groups, within {alive[0]:.0%} of the first"
        return [Alarm("flat", name, text)]
    return []
