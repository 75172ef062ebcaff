"""What every scalarizer is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError


class Scalarizer(ABC):
    """A utility: turns the last axis, ``objective``, into one number; larger is better.

    `weights` and `ideal` are arguments and not options because controllers move weights at every step and rewards
    may be normalised first. Both may lack leading axes of `rewards`, or have size 1 there.

    Applied to each sequence's rewards, a scalarizer makes training maximise E[u(r)], the mean utility. To maximise
    u(E[r]), the utility of the mean rewards, which is what fronts and constraints are made of, weight the objectives
    by its gradient at the mean (the `FromScalarizer` controller). The two agree only for a linear utility.
    """

    additive: ClassVar[bool] = False  # a sum over objectives: one of weight 0 is as good as absent

    @abstractmethod
    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]: ...


def check_positive(value: float, name: str) -> None:
    """Raise `ConfigError` unless an option is a positive, finite number."""
    if not 0.0 < value < float("inf"):
        raise ConfigError(f"`{name}` must be positive and finite, found {value}; choose a value above 0.")
