"""The audit of a table of rewards: each reward, each pair, what went wrong, and the nearest fix in words."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from moalign.diagnostics._alarms import Alarm, alarms
from moalign.diagnostics._fixes import Facts, nearest_fix
from moalign.diagnostics._pressure import (
    FACTORS,
    SCHEMES,
    normalize_then_sum,
    pressure,
    pressure_table,
    shares,
    sum_then_normalize,
)
from moalign.diagnostics._relations import opposed, rank_correlation, saturation
from moalign.diagnostics._table import RewardTable, Row

ALIKE = 0.9  # correlation of advantages from which credit is called by a scheme's name


@dataclass(frozen=True)
class Audited:
    """One reward: shares are in [-1, 1], of the sizes over all rewards; NaN where nothing can be said."""

    name: str
    weight: float  # share of the weights
    pressure: float  # share of the pressure; negative: credit pushes it down
    valid: float  # share of completions that have it
    silent: float  # share of groups in which it does not vary
    at_best: float
    at_worst: float
    left: Mapping[str, Mapping[str, float]]  # by scheme and factor of its weight: what is left of its pressure
    fix: str  # the nearest, in words; "" where nothing is wrong


@dataclass(frozen=True)
class Pair:
    """Two rewards within groups; a negative cosine means that their gradients disagree."""

    first: str
    second: str
    correlation: float  # of ranks
    opposed: float  # share of completions that one credits and the other blames
    cosine: float | None = None  # of their gradients, where the run logged it

    def other(self, name: str) -> str:
        return self.second if name == self.first else self.first


@dataclass(frozen=True)
class Audit:
    """Everything that rewards and advantages of logged completions say about a mixture of rewards."""

    source: str
    credit: str  # where the advantages come from
    scheme: str | None  # which of the two common schemes they go with
    completions: int
    groups: int
    steps: int
    rewards: tuple[Audited, ...]
    pairs: tuple[Pair, ...]
    alarms: tuple[Alarm, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain data; what cannot be said is None."""
        return _plain(dataclasses.asdict(self))


def audit(table: RewardTable) -> Audit:
    """Return the audit of a table of rewards.

    Where no advantages were logged, they are those of the weighted sum, normalised in its group: what trainers do
    unless told otherwise.

    >>> import numpy as np
    >>> rewards = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    >>> nothing, even = np.full((2, 2), np.nan), np.ones((4, 2))
    >>> seen = audit(RewardTable(("a", "b"), rewards, np.zeros(4, int), np.zeros(4, int), even, nothing))
    >>> [(r.name, round(r.pressure, 2)) for r in seen.rewards], round(seen.pairs[0].opposed, 2)
    ([('a', 0.37), ('b', 0.63)], 0.75)
    """
    first, second = sum_then_normalize(table, table.weights), normalize_then_sum(table, table.weights)
    schemes: dict[str, Row] = dict(zip(SCHEMES, (first, second)))
    advantages = first if table.advantages is None else table.advantages
    scheme = _alike(advantages, schemes)
    left, state = pressure_table(table), saturation(table)
    sizes = np.abs(table.weights)
    weights = np.nan_to_num(sizes / np.maximum(sizes.sum(axis=1, keepdims=True), 1e-12)).mean(axis=0)
    pulls = shares(pressure(table, advantages))
    normalized = shares(pressure(table, second))
    pairs = _pairs(table)
    found = []
    for k, name in enumerate(table.names):
        facts = Facts(
            name=name,
            weight=float(weights[k]),
            signed=float(table.weights[:, k].mean()),
            pressure=float(pulls[k]),
            normalized=float(normalized[k]),
            valid=float(state.valid[k]),
            silent=float(state.silent[k]),
            at_best=float(state.at_best[k]),
            at_worst=float(state.at_worst[k]),
            left=float(left[SCHEMES[0]][k, -1]),
            settled=table.steered or scheme == SCHEMES[1],
            near={p.other(name): p.correlation for p in pairs if name in (p.first, p.second)},
        )
        found.append(
            Audited(
                name=name,
                weight=facts.weight,
                pressure=facts.pressure,
                valid=facts.valid,
                silent=facts.silent,
                at_best=facts.at_best,
                at_worst=facts.at_worst,
                left={s: {f"{f:g}": float(v) for f, v in zip(FACTORS, left[s][k])} for s in SCHEMES},
                fix=nearest_fix(facts),
            )
        )
    return Audit(
        source=table.source,
        credit=table.credit or "not logged: the weighted sum, normalised in its group",
        scheme=scheme,
        completions=len(table.values),
        groups=table.groups,
        steps=len(np.unique(table.step)),
        rewards=tuple(found),
        pairs=pairs,
        alarms=alarms(table, advantages),
    )


def _pairs(table: RewardTable) -> tuple[Pair, ...]:
    found = []
    for i, first in enumerate(table.names):
        for j in range(i + 1, len(table.names)):
            a, b = table.values[:, i], table.values[:, j]
            found.append(
                Pair(
                    first,
                    table.names[j],
                    rank_correlation(a, b, table.group),
                    opposed(a, b, table.group),
                    table.cosines.get((first, table.names[j])),
                )
            )
    return tuple(found)


def _alike(advantages: Row, schemes: Mapping[str, Row]) -> str | None:
    """Return the scheme whose advantages these go with, if they do and the schemes can be told apart."""
    first, second = (_cosine(advantages, made) for made in schemes.values())
    if max(first, second) < ALIKE or abs(first - second) < 1e-3:
        return None
    return SCHEMES[0] if first > second else SCHEMES[1]


def _cosine(a: Row, b: Row) -> float:
    size = math.sqrt(float((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
