"""Rewards that count runs of tokens: repeated within a completion, distinct within it, or not shared with others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.rewards.groups import check_group, groups_of


def runs(tokens: Sequence[Any], size: int) -> list[tuple[Any, ...]]:
    """Return the n-grams of a sequence.

    >>> runs([1, 2, 3], 2)
    [(1, 2), (2, 3)]
    """
    return list(zip(*(tokens[i:] for i in range(size))))


def _check(size: int) -> None:
    if size < 1:
        raise ConfigError(f"`size` must be at least 1, got {size}.")


@register(
    "reward",
    "repetition",
    paper="yeo2025demystifying",
    test="tests/rewards/test_ngrams.py::test_repetition_agrees_with_trl",
)
@dataclass(frozen=True)
class Repetition:
    """The share of a completion's n-grams of `size` tokens that repeat an earlier one: a cost from 0 to 1.

    0 for completions shorter than that. TRL's reward is `max_penalty` times it. Yeo et al. 2025, arXiv:2502.03373,
    whose code averages over tokens in repeated n-grams instead.

    >>> Repetition(size=2)(completion_ids=[[1, 2, 3, 4], [5, 5, 5, 5, 5]])  # one of four is new
    [0.0, 0.75]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("repetition", Repetition(size=3), maximize=False, bounds=(0, 1))
    """

    size: int = 3

    def __post_init__(self) -> None:
        _check(self.size)

    def __call__(self, completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
        grams = [runs(ids, self.size) for ids in completion_ids]
        return [1 - len(set(found)) / len(found) if found else 0.0 for found in grams]


@register(
    "reward",
    "distinct-from-others",
    test="tests/rewards/test_ngrams.py::test_distinct_from_others_is_the_mean_distance_within_the_group",
)
@dataclass(frozen=True)
class DistinctFromOthers:
    """How unlike the other completions of its prompt a completion is, from 0 (the same) to 1 (nothing in common).

    The mean over the others of 1 - shared / all, counted in distinct n-grams of `size` tokens. None for a completion
    without others; two too short to have n-grams are alike. `num_generations` is needed only where a step has one
    prompt and several members.

    >>> reward = DistinctFromOthers(size=1)
    >>> reward(prompts=["a", "a", "b"], completion_ids=[[1, 2], [2, 3], [4]])  # one of three tokens is shared
    [0.6666666666666667, 0.6666666666666667, None]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("diversity", reward, bounds=(0, 1))
    """

    size: int = 2
    num_generations: int | None = None

    def __post_init__(self) -> None:
        _check(self.size)
        check_group(self.num_generations)

    def __call__(
        self, prompts: Sequence[Any], completion_ids: Sequence[Sequence[int]], **columns: Any
    ) -> list[float | None]:
        grams = [frozenset(runs(ids, self.size)) for ids in completion_ids]
        out: list[float | None] = []
        for group in groups_of(prompts, self.num_generations):
            for i in group:
                distances = [_distance(grams[i], grams[j]) for j in group if j != i]
                out.append(sum(distances) / len(distances) if distances else None)
        return out


def _distance(a: frozenset[Any], b: frozenset[Any]) -> float:
    return 1 - len(a & b) / len(a | b) if a or b else 0.0
