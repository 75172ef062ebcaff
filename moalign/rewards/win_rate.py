"""The share of the other completions of its prompt that a completion beats."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moalign.parts import register
from moalign.rewards.groups import check_group, groups_of
from moalign.rewards.wrapping import Wrapping, values_of


@register("reward", "win-rate", test="tests/rewards/test_win_rate.py::test_win_rate_is_the_share_of_others_beaten")
@dataclass(frozen=True)
class WinRate(Wrapping):
    """The share of the other completions of its prompt whose `reward` is smaller; equal ones count half.

    From 0 to 1, whatever the unit of `reward`. None for a completion without others or without the reward; others
    that lack it do not count. `num_generations` is needed only where a step has one prompt and several members.

    >>> def length(completions, **columns): return [len(text) for text in completions]
    >>> WinRate(length)(prompts=["p"] * 3, completions=["a", "abc", "ab"])
    [0.0, 1.0, 0.5]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("wins", WinRate(length), bounds=(0, 1))
    """

    reward: Any
    num_generations: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_group(self.num_generations)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        known = values_of(self.reward, {"prompts": prompts, "completions": completions, **columns})
        return [
            _rate(known[i], [known[j] for j in group if j != i])
            for group in groups_of(prompts, self.num_generations)
            for i in group
        ]


def _rate(value: float | None, others: Sequence[float | None]) -> float | None:
    there = [other for other in others if other is not None]
    if value is None or not there:
        return None
    return sum(1.0 if other < value else 0.5 if other == value else 0.0 for other in there) / len(there)
