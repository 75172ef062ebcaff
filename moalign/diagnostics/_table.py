"""The rewards of logged completions as one table, and sums over its groups; numpy only, so that it starts at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from moalign.errors import ConfigError, nearest

Values = Float[np.ndarray, "row objective"]
Row = Float[np.ndarray, "row"]


@dataclass(frozen=True)
class RewardTable:
    """Rewards of completions, larger is better; the rows of a group stand together and groups ascend from 0."""

    names: tuple[str, ...]
    values: Values  # NaN where missing
    group: Int[np.ndarray, "row"]  # completions that were compared with each other: one prompt's, of one member
    step: Int[np.ndarray, "row"]
    weights: Values
    bounds: Float[np.ndarray, "objective 2"]  # worst and best possible value, NaN where not declared
    advantages: Row | None = None  # what each completion was credited with; None: not logged
    source: str = ""  # what was read, in words
    credit: str = ""  # where the advantages come from, in words
    steered: bool = False  # weights are what a controller found for rewards in their own units, not what a person asked
    cosines: Mapping[tuple[str, str], float] = field(default_factory=dict)  # between gradients of two objectives

    @cached_property
    def starts(self) -> Int[np.ndarray, "group"]:
        """The first row of each group."""
        return np.flatnonzero(np.diff(self.group, prepend=-1))

    @cached_property
    def valid(self) -> Bool[np.ndarray, "row objective"]:
        return np.isfinite(self.values)

    @property
    def groups(self) -> int:
        return len(self.starts)

    def rows(self, chosen: Bool[np.ndarray, "row"]) -> "RewardTable":
        """Return the table of these rows; groups are numbered anew."""
        return replace(
            self,
            values=self.values[chosen],
            group=renumbered(self.group[chosen]),
            step=self.step[chosen],
            weights=self.weights[chosen],
            advantages=None if self.advantages is None else self.advantages[chosen],
        )

    def weighted(self, given: Mapping[str, float]) -> "RewardTable":
        """Return the table with these objectives' weights; the others keep theirs."""
        weights = self.weights.copy()
        for name, value in given.items():
            if name not in self.names:
                raise ConfigError(f"`weight` names `{name}`, which is not a reward here{nearest(name, self.names)}")
            weights[:, self.names.index(name)] = value
        return replace(self, weights=weights)


def renumbered(keys: Int[np.ndarray, "row"]) -> Int[np.ndarray, "row"]:
    """Number ascending keys from 0.

    >>> renumbered(np.array([3, 3, 7, 9, 9])).tolist()
    [0, 0, 1, 2, 2]
    """
    return np.cumsum(np.diff(keys, prepend=keys[:1]) != 0)


@dataclass(frozen=True)
class Moments:
    """What `moments` returns."""

    deviations: Float[np.ndarray, "row *rest"]  # from the group's mean; 0 where not valid
    std: Float[np.ndarray, "row *rest"]  # of the row's group, unbiased; 0 with fewer than two values
    count: Float[np.ndarray, "group *rest"]  # valid values
    varies: Bool[np.ndarray, "group *rest"]  # by more than rounding


def moments(
    values: Float[np.ndarray, "row *rest"], starts: Int[np.ndarray, "group"], *, tolerance: float = 1e-6
) -> Moments:
    """Return each value's deviation from its group's mean and the group's spread, over the finite ones.

    Values are measured from the group's smallest, so that equal ones deviate by exactly 0.

    >>> moments(np.array([1.0, 3.0, np.nan, 0.1, 0.1]), np.array([0, 3])).deviations.tolist()
    [-1.0, 1.0, 0.0, 0.0, 0.0]
    """
    sizes = np.diff(starts, append=len(values))
    valid = np.isfinite(values)
    count = np.add.reduceat(valid.astype(float), starts, axis=0)
    low = np.minimum.reduceat(np.where(valid, values, np.inf), starts, axis=0)
    high = np.maximum.reduceat(np.where(valid, values, -np.inf), starts, axis=0)
    low, high = np.where(count > 0, low, 0), np.where(count > 0, high, 0)
    above = np.where(valid, values - np.repeat(low, sizes, axis=0), 0)
    offset = np.add.reduceat(above, starts, axis=0) / np.maximum(count, 1)
    deviations = np.where(valid, above - np.repeat(offset, sizes, axis=0), 0)
    variance = np.add.reduceat(deviations**2, starts, axis=0) / np.maximum(count - 1, 1)
    varies = high - low > tolerance * np.maximum(np.abs(low), np.abs(high))
    return Moments(deviations, np.repeat(np.sqrt(variance), sizes, axis=0), count, varies)
