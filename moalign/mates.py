"""Processes that hold the same members: each works on a part of the rows, and all of them know the whole."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

T = TypeVar("T")


@runtime_checkable
class Mates(Protocol):
    """What such a process does with the others. They take the same steps, so that each exchange finds all of them."""

    @property
    def part(self) -> int: ...  # this process's number among them

    @property
    def parts(self) -> int: ...  # how many they are

    def exchange(self, value: T) -> list[T]: ...  # what each of them says, in their order; tensors in host memory

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]: ...  # element by element, over all of them


class Alone:
    """A process that holds its members alone."""

    part, parts = 0, 1

    def exchange(self, value: Any) -> list[Any]:
        return [value]

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return list(tensors)


ALONE: Mates = Alone()


def owner(number: Int[Tensor, "_"], count: Int[Tensor, "_"] | int, parts: int) -> Int[Tensor, "_"]:
    """Return which part each of `count` things belongs to by its number: stretches of nearly the same length.

    >>> owner(torch.arange(5), 5, 2).tolist(), owner(torch.arange(2), 2, 3).tolist()
    ([0, 0, 0, 1, 1], [0, 1])
    """
    return torch.div(number * parts, count, rounding_mode="floor")


def host(value: Any) -> Any:
    """Return nested values with their tensors in host memory, of no larger storage than themselves."""
    if isinstance(value, dict):
        return {name: host(item) for name, item in value.items()}
    return value.detach().cpu().clone() if isinstance(value, Tensor) else value
