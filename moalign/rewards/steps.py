"""A reward asked about every step of a completion, for process reward models."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.rewards.calling import call, prepare, wanted
from moalign.rewards.checking import as_numbers
from moalign.rewards.sources import ADDRESS, resolve
from moalign.rewards.texts import as_completion, text_of

COMBINE: Mapping[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "product": math.prod,
    "mean": lambda steps: math.fsum(steps) / len(steps),
    "last": lambda steps: steps[-1],
}
UNKNOWN = ("completion_ids", "log_metric", "log_extra")  # of a beginning there are none


@register(
    "reward",
    "step-scores",
    paper="lightman2023verify",
    test="tests/rewards/test_steps.py::test_a_reward_sees_every_beginning_and_the_steps_are_combined",
)
@dataclass(frozen=True)
class Steps:
    """A reward that is asked about each beginning of a completion, up to the end of a step; `combine` makes one value.

    Steps are the pieces between `delimiter`, empty ones left out, each with what stands before it. `combine` is
    ``"product"`` (of probabilities: that every step is right) or ``"min"``, as in Lightman et al. 2023
    (arXiv:2305.20050), ``"mean"`` or ``"last"``. The value is missing where that of a step is, or where there is no
    step. Each completion's step values are kept beside it as the column `name`.

    >>> def short(completions, **columns): return [1 / len(text) for text in completions]
    >>> Steps(short, delimiter=";")(prompts=["p"], completions=["ab;cd"])  # 1/2 and 1/5
    [0.2]
    """

    reward: Any
    delimiter: str = "\n\n"
    combine: str = "min"
    name: str = "steps"

    def __post_init__(self) -> None:
        if not self.delimiter:
            raise ConfigError("`delimiter` of steps is empty; pass what stands between two of them.")
        if self.combine not in COMBINE:
            raise ConfigError(f"`combine` of steps must be one of {', '.join(COMBINE)}, not {self.combine!r}.")

    @property
    def columns(self) -> tuple[str, ...]:
        if isinstance(self.reward, str) and not ADDRESS.fullmatch(self.reward):
            return ()  # a model is not loaded for this
        return tuple(wanted(resolve(self.reward)))

    @cached_property
    def inner(self) -> Callable[..., Any]:
        """The function behind the reward, its model loaded."""
        return resolve(self.reward)

    def prepare(self) -> None:
        prepare(self.inner)

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], log_extra: Any = None, **columns: Any
    ) -> list[float | None]:
        beginnings = [self._beginnings(text_of(completion)) for completion in completions]
        rows = [i for i, some in enumerate(beginnings) for _ in some]
        given = {name: [column[i] for i in rows] for name, column in columns.items() if isinstance(column, Sequence)}
        given["prompts"] = [prompts[i] for i in rows]
        asked = [as_completion(prompts[i], text) for i, some in enumerate(beginnings) for text in some]
        given = {name: column for name, column in given.items() if name not in UNKNOWN}
        output = call(self.inner, {**given, "completions": asked})[0] if rows else []
        values: list[list[float]] = [[] for _ in completions]
        for i, value in zip(rows, as_numbers(self.name, output, asked)):
            values[i].append(value)
        if log_extra:
            log_extra(self.name, [[None if math.isnan(v) else v for v in steps] for steps in values])
        known = [bool(steps) and not any(map(math.isnan, steps)) for steps in values]
        return [COMBINE[self.combine](steps) if ok else None for steps, ok in zip(values, known)]

    def _beginnings(self, text: str) -> list[str]:
        pieces = text.split(self.delimiter)
        ends = [self.delimiter.join(pieces[: i + 1]) for i, piece in enumerate(pieces) if piece.strip()]
        return ends
