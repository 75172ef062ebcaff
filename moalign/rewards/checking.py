"""What a reward function may return, and the errors that say which objective and which sample broke the rule."""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from moalign.errors import RewardError
from moalign.rewards.texts import text_of


def as_numbers(name: str, output: Any, completions: Sequence[Any]) -> list[float]:
    """Return one float per completion, NaN where the reward does not apply (it gave None or NaN).

    >>> as_numbers("correct", [1, None, 0.5], ["a", "b", "c"])
    [1.0, nan, 0.5]
    >>> as_numbers("correct", {"correct": [True]}, ["a"])
    [1.0]
    """
    if isinstance(output, Mapping):
        if name not in output:
            raise RewardError(f"objective `{name}`: its reward returned {', '.join(map(str, output))}, not `{name}`.")
        output = output[name]
    if isinstance(output, str) or not isinstance(output, Sequence):
        raise RewardError(
            f"objective `{name}`: a reward must return a list with one number or None per completion, "
            f"not {type(output).__name__} ({short(output)})."
        )
    if len(output) != len(completions):
        raise RewardError(
            f"objective `{name}`: its reward returned {len(output)} values for {len(completions)} completions; "
            "return one per completion, and None where it does not apply."
        )
    return [_number(name, value, i, completions[i]) for i, value in enumerate(output)]


def _number(name: str, value: Any, i: int, completion: Any) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, numbers.Real):
        if getattr(value, "ndim", None) != 0:  # a tensor's or array's single number is welcome
            raise RewardError(
                f"objective `{name}`: {short(value)} ({type(value).__name__}) for sample {i} is not a number; "
                f"the completion was {short(text_of(completion))}."
            )
        value = value.item()
    number = float(value)
    if math.isinf(number):
        raise RewardError(
            f"objective `{name}`: {number} for sample {i}; return a finite number, or None where it does not apply; "
            f"the completion was {short(text_of(completion))}."
        )
    return number


def short(value: Any, limit: int = 80) -> str:
    """Return a value's repr, cut to `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
