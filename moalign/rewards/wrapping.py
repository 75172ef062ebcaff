"""A reward around other rewards: what they need is what it needs, and they are called as the scorer would."""

import asyncio
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, ClassVar

from moalign.errors import RewardError
from moalign.rewards.calling import accepted, plain, prepare, wanted
from moalign.rewards.checking import as_numbers
from moalign.rewards.sources import resolve


class Wrapping:
    """Base of frozen dataclasses that hold rewards in the fields that `holds` names: functions, models or strings."""

    holds: ClassVar[tuple[str, ...]] = ("reward",)

    def __post_init__(self) -> None:
        for f in fields(self):  # pyright: ignore[reportArgumentType] - subclasses are dataclasses
            if f.name in self.holds:
                value = getattr(self, f.name)
                kept = tuple(map(_kept, value)) if isinstance(value, tuple | list) else _kept(value)
                object.__setattr__(self, f.name, kept)

    @property
    def inside(self) -> tuple[Any, ...]:
        """The rewards inside, strings resolved: a classifier that a string names is loaded for this."""
        return tuple(_loaded(reward) for reward in self._held())

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rewards inside cannot do without; nothing is loaded to find them."""
        there = [reward for reward in self._held() if not isinstance(reward, str)]
        return tuple(dict.fromkeys(name for reward in there for name in wanted(reward)))

    def _held(self) -> list[Any]:
        values = [getattr(self, name) for name in self.holds]
        return [one for value in values for one in (value if isinstance(value, tuple) else (value,))]

    def prepare(self) -> None:
        """Let the rewards inside load what they need."""
        for reward in self.inside:
            prepare(reward)


def _kept(reward: Any) -> Any:
    return reward if isinstance(reward, str) else resolve(reward)  # a string is what a run's record should show


@functools.cache
def _named(source: str) -> Callable[..., Any]:
    return resolve(source)


def _loaded(reward: Any) -> Callable[..., Any]:
    return _named(reward) if isinstance(reward, str) else reward


def values_of(reward: Any, arguments: Mapping[str, Any], name: str | None = None) -> list[float | None]:
    """Call a reward inside another one, with those of `arguments` that it takes; None where it does not apply.

    Of one that gives several values by name, `name` says which to take; without it they are refused.

    >>> values_of(lambda completions: [len(text) for text in completions], {"completions": ["ab"], "answer": ["b"]})
    [2.0]
    """
    fn = _loaded(reward)
    output = fn(**accepted(fn, arguments))
    if inspect.iscoroutine(output):
        output = asyncio.run(output)  # this is a thread of its own, without a loop
    output = plain(output)
    if isinstance(output, Mapping) and name is None:
        raise RewardError(f"a reward inside another gives {', '.join(output)}; take one by `rewards.Picked(reward, …)`")
    title = name or str(getattr(fn, "__name__", type(fn).__name__))
    numbers = as_numbers(title, output, arguments["completions"])
    return [None if math.isnan(number) else number for number in numbers]
