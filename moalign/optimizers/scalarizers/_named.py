"""Options that go by the names of objectives, and how a scalarizer learns which column is which."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.scalarizers._base import Scalarizer

Real = float | int


@dataclass(frozen=True)
class Axes:
    """The objectives of the last axis: names, and the signs that turn a value of their own into a larger-is-better one.

    >>> Axes(("correct", "tokens"), (1, -1)).only([False, True])
    Axes(names=('tokens',), signs=(-1,))
    """

    names: tuple[str, ...]
    signs: tuple[int, ...]

    def only(self, here: Sequence[bool]) -> "Axes":
        """Return the axes at the places that are True."""
        return Axes(tuple(compress(self.names, here)), tuple(compress(self.signs, here)))


@dataclass(frozen=True)
class Named(Scalarizer):
    """A scalarizer with options by objective, in each objective's own sign and unit, as people write and read them.

    A tensor's columns have no names, so that such an option can be used only once `axes` are known: a study tells its
    recipe's parts before training (`told`). Whoever has no options by name needs no axes.
    """

    axes: Axes | None = field(default=None, kw_only=True)  # given by the study, not by a user

    @property
    def objectives(self) -> tuple[str, ...]:
        """The objectives that options name; a study checks them before it trains."""
        raise TypeError(f"{type(self).__name__} must define `objectives`.")

    @property
    def in_own_units(self) -> bool:
        """Whether rewards are measured against numbers in their own units, which a normalizer would take away."""
        return True

    def told(self, axes: Axes) -> "Named":
        """Return this scalarizer knowing its columns."""
        return dataclasses.replace(self, axes=axes)

    def among(self, here: Sequence[bool]) -> "Named":
        return self if self.axes is None else self.told(self.axes.only(here))

    def known_axes(self, rewards: Float[Tensor, "*batch objective"]) -> Axes:
        """Return the axes, or raise `ConfigError` where they are not known or do not fit the rewards."""
        names = ", ".join(self.objectives)
        if self.axes is None:
            raise ConfigError(f"options name {names}, but not which columns these are: call `told(Axes(…))` first.")
        if len(self.axes.names) != rewards.shape[-1]:
            raise ConfigError(f"`rewards` has {rewards.shape[-1]} columns for the objectives {self.axes.names}.")
        return self.axes

    def point(
        self, given: Real | Mapping[str, Real], name: str, rewards: Float[Tensor, "*batch objective"]
    ) -> Float[Tensor, "objective"]:
        """Return an option as a larger-is-better point: one number for all as it is, or one by name in its own sign."""
        if not isinstance(given, Mapping):
            return rewards.new_full(rewards.shape[-1:], float(given))
        axes = self.known_axes(rewards)
        lacking = [objective for objective in axes.names if objective not in given]
        if lacking:
            raise ConfigError(f"`{name}` has no value for {', '.join(lacking)}; give one for each objective.")
        return rewards.new_tensor([sign * float(given[key]) for key, sign in zip(axes.names, axes.signs)])


def names_in(given: Any) -> tuple[str, ...]:
    """Return the objectives that an option names: none where it is one number for all."""
    return tuple(given) if isinstance(given, Mapping) else ()
