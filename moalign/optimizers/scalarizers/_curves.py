"""Desirability curves: from one objective's value, in its own sign and unit, to how desirable it is, in [0, 1].

Derringer and Suich 1980, https://doi.org/10.1080/00224065.1980.11980968.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.scalarizers._base import check_positive

Real = float | int


class Curve:
    """Base of the curves: subclasses define the call."""

    def __call__(self, values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        raise TypeError(f"{type(self).__name__} must define its call.")


@dataclass(frozen=True)
class _Ramp(Curve):
    """A curve that rises or falls from `low` to `high`."""

    low: Real
    high: Real
    scale: Real = 1.0

    def __post_init__(self) -> None:
        _check_order(self, low=self.low, high=self.high)
        check_positive(self.scale, "scale")


@dataclass(frozen=True)
class Maximum(_Ramp):
    r"""Worthless up to `low`, perfect from `high` on, :math:`((y - l) / (h - l))^s` between; :math:`s` is `scale`.

    A `scale` above 1 asks for values near `high`, one below 1 is content earlier.

    >>> Maximum(0, 10, scale=2)(torch.tensor([-1.0, 5.0, 12.0]))
    tensor([0.0000, 0.2500, 1.0000])
    """

    def __call__(self, values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return _ramp(values, self.low, self.high, self.scale)


@dataclass(frozen=True)
class Minimum(_Ramp):
    r"""Perfect up to `low`, worthless from `high` on, :math:`((h - y) / (h - l))^s` between; :math:`s` is `scale`.

    >>> Minimum(100, 300)(torch.tensor([50.0, 150.0, 300.0]))
    tensor([1.0000, 0.7500, 0.0000])
    """

    def __call__(self, values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return _ramp(values, self.high, self.low, self.scale)


@dataclass(frozen=True)
class Target(Curve):
    """Perfect at `target`, falling to both sides, worthless from `low` down and from `high` up.

    `low_scale` and `high_scale` bend the two sides, as `Maximum.scale` does.

    >>> Target(0, 4, 6)(torch.tensor([1.0, 4.0, 5.0, 6.0]))
    tensor([0.2500, 1.0000, 0.5000, 0.0000])
    """

    low: Real
    target: Real
    high: Real
    low_scale: Real = 1.0
    high_scale: Real = 1.0

    def __post_init__(self) -> None:
        _check_order(self, low=self.low, target=self.target, high=self.high)
        check_positive(self.low_scale, "low_scale")
        check_positive(self.high_scale, "high_scale")

    def __call__(self, values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        rising = _ramp(values, self.low, self.target, self.low_scale)
        falling = _ramp(values, self.high, self.target, self.high_scale)
        return torch.where(values <= self.target, rising, falling)


@dataclass(frozen=True)
class Box(Curve):
    """Perfect from `low` to `high`, ends included, worthless elsewhere; without a slope.

    >>> Box(1, 2)(torch.tensor([0.9, 1.0, 2.0, 2.1]))
    tensor([0., 1., 1., 0.])
    """

    low: Real
    high: Real

    def __post_init__(self) -> None:
        _check_order(self, low=self.low, high=self.high)

    def __call__(self, values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return ((values >= self.low) & (values <= self.high)).to(values)


@dataclass(frozen=True)
class Through(Curve):
    """Straight lines through `points` of (value, desirability), level beyond the first and the last.

    >>> Through(((0, 0.2), (1, 1), (3, 0)))(torch.tensor([-1.0, 0.5, 2.0, 9.0]))
    tensor([0.2000, 0.6000, 0.5000, 0.0000])
    """

    points: tuple[tuple[Real, Real], ...]

    def __post_init__(self) -> None:
        if len(self.points) < 2:
            raise ConfigError(f"`points` of a curve must be at least two, found {len(self.points)}.")
        if not all(a < b for a, b in pairwise(value for value, _ in self.points)):
            raise ConfigError(f"the values of `points` must rise, found {self.points}; sort them, each value once.")
        if not all(0 <= d <= 1 for _, d in self.points):
            raise ConfigError(f"the desirabilities of `points` must lie in [0, 1], found {self.points}.")

    def __call__(self, values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        found = torch.full_like(values, float(self.points[0][1]))
        for (start, low), (end, high) in pairwise(self.points):
            share = ((values - start) / (end - start)).clamp(0, 1)
            found = torch.where(values > start, low + (high - low) * share, found)
        return found


def _ramp(values: Float[Tensor, "*batch"], worst: Real, best: Real, scale: Real) -> Float[Tensor, "*batch"]:
    share = ((values - worst) / (best - worst)).clamp(max=1)
    there = share > 0  # a power below 1 has no slope at 0, and no value below it
    return torch.where(there, torch.where(there, share, 1) ** scale, 0)


def _check_order(curve: Curve, **places: Real) -> None:
    """Raise `ConfigError` unless these are finite and rise."""
    values: Sequence[Real] = tuple(places.values())
    if not all(map(math.isfinite, values)) or not all(a < b for a, b in pairwise(values)):
        names = " < ".join(f"`{name}`" for name in places)
        raise ConfigError(f"{type(curve).__name__} needs finite {names}, found {values}.")
