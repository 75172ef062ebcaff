"""What every scalarizer is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import PerMember, Same, Schedule


class Scalarizer(ABC):
    """A utility: turns the last axis, ``objective``, into one number; larger is better.

    `weights` and `ideal` are arguments and not options because controllers move weights at every step and rewards
    may be normalised first. Both may lack leading axes of `rewards`, or have size 1 there. Weights are not negative.

    Applied to each sequence's rewards, a scalarizer makes training maximise E[u(r)], the mean utility. To maximise
    u(E[r]), the utility of the mean rewards, which is what fronts and constraints are made of, weight the objectives
    by its gradient at the mean (the `FromScalarizer` controller). The two agree only for a linear utility.

    What a class promises of all its instances, it declares; one property test reads these facts, and both ways.
    """

    monotone: ClassVar[bool] = True  # rewards at least as large in every objective are never worth less
    leans: ClassVar[bool] = True  # more weight on an objective asks for more of it
    skips_weightless: ClassVar[bool] = False  # an objective of weight 0 is as good as absent

    @abstractmethod
    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]: ...

    def among(self, here: Sequence[bool]) -> "Scalarizer":
        """Return this utility of the objectives at the places that are True; unchanged where no option has a place."""
        return self


def among(scalarizer: Callable[..., Any], here: Sequence[bool]) -> Callable[..., Any]:
    """Return a scalarizer, which may be a plain function, for some of the objectives only."""
    return scalarizer.among(here) if isinstance(scalarizer, Scalarizer) else scalarizer


def along_members(knob: Any, like: Float[Tensor, "*batch"]) -> Any:
    """Return a number as it is, and a ``[member]`` tensor in the shape that meets the first axis of `like`."""
    return knob.to(like).view(-1, *[1] * (like.dim() - 1)) if isinstance(knob, Tensor) else float(knob)


def check_positive(value: Any, name: str) -> None:
    """Raise `ConfigError` unless an option, or every number that is known of a moving one, is positive and finite."""
    for number in _known(value):
        if not 0.0 < number < float("inf"):
            raise ConfigError(f"`{name}` must be positive and finite, found {number}; choose a value above 0.")


def check_at_least(value: float, low: float, name: str) -> None:
    """Raise `ConfigError` unless an option is finite and not below `low`."""
    if not low <= value < float("inf"):
        raise ConfigError(f"`{name}` must be finite and at least {low:g}, found {value}.")


def _known(value: Any) -> Sequence[float]:
    """Return the numbers that can be checked now: none of a schedule's."""
    if isinstance(value, Tensor):
        return value.flatten().tolist()
    if isinstance(value, PerMember):
        return value.values
    return () if isinstance(value, Schedule | Same) else (float(value),)
