"""Rewards made of other rewards: multiplied, under a condition, scaled, logged, picked. Missing stays missing."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from moalign.errors import ConfigError, RewardError
from moalign.parts import register
from moalign.rewards.wrapping import Wrapping, values_of


@register(
    "reward",
    "multiplied",
    paper="jaeger2025carl",
    test="tests/rewards/test_combined.py::test_multiplied_takes_factors_between_0_and_1",
)
@dataclass(frozen=True)
class Multiplied(Wrapping):
    """One main `reward` times `factors` between 0 and 1, each a reward: 1 where nothing is wrong, 0 for the worst.

    A penalty then takes a share of what was earned, and cannot be paid for by earning more elsewhere as in a sum. None
    where any of them is. Jaeger et al. 2025, arXiv:2504.17838, for driving; there hard infractions end the episode,
    which a factor of 0 stands for here.

    >>> from moalign.rewards import exact_number, matches
    >>> reward = Multiplied(exact_number(), (matches("^The answer"),))
    >>> reward(completions=["The answer: 4", "4"], answer=["4", "4"])
    [1.0, 0.0]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("correct", reward)
    """

    reward: Any
    factors: Sequence[Any]
    holds: ClassVar[tuple[str, ...]] = ("reward", "factors")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.factors:
            raise ConfigError("`factors` is empty; give at least one reward between 0 and 1.")

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        given = {"completions": completions, **columns}
        out = values_of(self.reward, given)
        for place, factor in enumerate(self.factors):
            shares = values_of(factor, given)
            for i, share in enumerate(shares):
                if share is not None and not 0 <= share <= 1:
                    raise RewardError(f"`factors[{place}]` gave {share:g} for sample {i}; it must be from 0 to 1.")
            out = [None if v is None or share is None else v * share for v, share in zip(out, shares)]
        return out


@register(
    "reward",
    "given",
    paper="liu2026gdpo",
    test="tests/rewards/test_combined.py::test_given_is_otherwise_where_the_condition_fails",
)
@dataclass(frozen=True)
class Given(Wrapping):
    """A `reward` where the `condition`, another reward, is at least `threshold`, and `otherwise` where it is not.

    An easy reward, such as being short, is then earned only together with a hard one. None where the condition is, or
    where it holds and the reward is None. For a condition that is itself an objective, `Objective(after=…)` does the
    same and calls it once. Liu et al. 2026, arXiv:2601.05242.

    >>> from moalign.rewards import brevity, exact_number
    >>> reward = Given(brevity(4), exact_number())
    >>> reward(completions=["4", "5"], completion_ids=[[7], [7]], answer=["4", "4"])
    [0.75, 0.0]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("concise", reward)
    """

    reward: Any
    condition: Any
    threshold: float = 1.0
    otherwise: float = 0.0
    holds: ClassVar[tuple[str, ...]] = ("reward", "condition")

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        given = {"completions": completions, **columns}
        met, values = values_of(self.condition, given), values_of(self.reward, given)
        return [None if c is None else v if c >= self.threshold else self.otherwise for c, v in zip(met, values)]


@register("reward", "scaled", test="tests/rewards/test_combined.py::test_scaled_is_affine_and_clipped")
@dataclass(frozen=True)
class Scaled(Wrapping):
    """`by` times a `reward` plus `plus`, kept between `low` and `high`.

    >>> from moalign.rewards import token_count
    >>> Scaled(token_count, by=-0.1, plus=1.0, low=0.0)(completions=["a", "b"], completion_ids=[[1] * 5, [1] * 20])
    [0.5, 0.0]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("score", Scaled("my.rewards:score", low=-5.0, high=5.0), bounds=(-5, 5))
    """

    reward: Any
    by: float = 1.0
    plus: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low <= self.high:
            raise ConfigError(f"`low` must not be above `high`, got {self.low} and {self.high}.")

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        known = values_of(self.reward, {"completions": completions, **columns})
        return [None if v is None else min(max(self.by * v + self.plus, self.low), self.high) for v in known]


@register("reward", "logged", test="tests/rewards/test_combined.py::test_logged_adds_a_column")
@dataclass(frozen=True)
class Logged(Wrapping):
    """A `reward` that also stands beside each completion as the column `name`, for a collector to read.

    >>> from moalign.rewards import token_count
    >>> from moalign.objectives import Objective
    >>> objective = Objective("tokens", Logged(token_count, "tokens"), maximize=False, optimize=False)
    """

    reward: Any
    name: str

    def __call__(
        self, completions: Sequence[Any], log_extra: Callable[[str, Sequence[Any]], None], **columns: Any
    ) -> list[float | None]:
        known = values_of(self.reward, {"completions": completions, "log_extra": log_extra, **columns})
        log_extra(self.name, known)
        return known


@register("reward", "picked", test="tests/rewards/test_combined.py::test_picked_takes_one_of_several_values")
@dataclass(frozen=True)
class Picked(Wrapping):
    """The value called `name` of a `reward` that gives several, for other rewards to hold.

    An objective takes the value of its own name without this.

    >>> def both(completions): return {"length": [len(text) for text in completions], "one": [1] * len(completions)}
    >>> Scaled(Picked(both, "length"), by=0.5)(completions=["abc"])
    [1.5]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("half", Scaled(Picked(both, "length"), by=0.5))
    """

    reward: Any
    name: str

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        return values_of(self.reward, {"completions": completions, **columns}, self.name)
