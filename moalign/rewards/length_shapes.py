"""Rewards shaped by the number of tokens, some of them by whether the answer is right; the end token counts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.rewards.groups import check_group, groups_of
from moalign.rewards.wrapping import Wrapping, values_of


@register(
    "reward",
    "soft-overlong",
    paper="yu2025dapo",
    test="tests/rewards/test_length_shapes.py::test_soft_overlong_agrees_with_trl",
)
@dataclass(frozen=True)
class SoftOverlong:
    """0 up to `max_tokens` - `buffer` tokens, from there in a line to -1 at `max_tokens`, and -1 beyond.

    Yu et al. 2025, arXiv:2503.14476, eq. 13.

    >>> SoftOverlong(max_tokens=10, buffer=4)(completion_ids=[[0] * 6, [0] * 8, [0] * 11])
    [0.0, -0.5, -1.0]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("not-overlong", SoftOverlong(512, 64), bounds=(-1, 0))
    """

    max_tokens: int
    buffer: int

    def __post_init__(self) -> None:
        if not 0 <= self.buffer <= self.max_tokens:
            raise ConfigError(f"`buffer` must be between 0 and `max_tokens` ({self.max_tokens}), got {self.buffer}.")

    def __call__(self, completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
        start = self.max_tokens - self.buffer
        over = [(len(ids) - start) / self.buffer if self.buffer else float(len(ids) > start) for ids in completion_ids]
        return [0.0 - min(max(share, 0.0), 1.0) for share in over]  # not -0.0


@register(
    "reward",
    "cosine-length",
    paper="yeo2025demystifying",
    test="tests/rewards/test_length_shapes.py::test_cosine_length_agrees_with_trl",
)
@dataclass(frozen=True)
class CosineLength(Wrapping):
    r"""Turn a `reward` for right answers into one that also depends on length, along half a cosine.

    A right answer (at least `solved`) falls from `right` [0] when empty to `right` [1] at `max_tokens`, a wrong one
    goes from `wrong` [0] to `wrong` [1]; both stay there beyond. With `overlong`, that is the value of any completion
    of `max_tokens` or more. None where `reward` is. Yeo et al. 2025, arXiv:2502.03373, which sets `overlong`; without
    it, and with these numbers, it is TRL's.

    >>> from moalign.rewards import exact_number
    >>> reward = CosineLength(exact_number(), max_tokens=10)
    >>> reward(completions=["4", "5"], completion_ids=[[0] * 5, [0] * 10], answer=["4", "4"])
    [0.75, -0.5]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("correct", reward, bounds=(-1, 1))
    """

    reward: Any
    max_tokens: int
    right: tuple[float, float] = (1.0, 0.5)
    wrong: tuple[float, float] = (-1.0, -0.5)
    overlong: float | None = None
    solved: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_tokens <= 0:
            raise ConfigError(f"`max_tokens` must be above 0, got {self.max_tokens}.")

    def __call__(
        self, completions: Sequence[Any], completion_ids: Sequence[Sequence[int]], **columns: Any
    ) -> list[float | None]:
        known = values_of(self.reward, {"completions": completions, "completion_ids": completion_ids, **columns})
        return [None if v is None else self._shaped(v, len(ids)) for v, ids in zip(known, completion_ids, strict=True)]

    def _shaped(self, value: float, length: int) -> float:
        if self.overlong is not None and length >= self.max_tokens:
            return self.overlong
        empty, full = self.right if value >= self.solved else self.wrong
        return full + (empty - full) * (1 + math.cos(math.pi * min(length / self.max_tokens, 1.0))) / 2


@register(
    "reward",
    "group-length",
    paper="kimi2025k15",
    test="tests/rewards/test_length_shapes.py::test_group_length_ranks_the_completions_of_a_prompt",
)
@dataclass(frozen=True)
class GroupLength(Wrapping):
    r"""How short a completion is among those of its prompt: :math:`\lambda = 1/2 - (l - \min l) / (\max l - \min l)`.

    :math:`\lambda` for a right answer (`reward` at least `solved`), :math:`\min(0, \lambda)` for a wrong one, so that
    nothing is gained by being short and wrong; 0 where all are equally long, None where `reward` is. Evaluated on one
    completion a prompt it is always 0: track `token_count` beside it. `num_generations` is needed only where a step
    has one prompt and several members. Kimi Team 2025, arXiv:2501.12599.

    >>> from moalign.rewards import exact_number
    >>> reward = GroupLength(exact_number())
    >>> ids = [[0] * 2, [0] * 4, [0] * 6]
    >>> reward(prompts=["2+2="] * 3, completions=["5", "4", "4"], completion_ids=ids, answer=["4"] * 3)
    [0.0, 0.0, -0.5]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("concise", reward, bounds=(-0.5, 0.5))
    """

    reward: Any
    solved: float = 1.0
    num_generations: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_group(self.num_generations)

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        given = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids, **columns}
        known = values_of(self.reward, given)
        shares: list[float | None] = []
        for group in groups_of(prompts, self.num_generations):
            lengths = [len(completion_ids[i]) for i in group]
            shortest, spread = min(lengths), max(lengths) - min(lengths)
            for i, length in zip(group, lengths):
                share = 0.5 - (length - shortest) / spread if spread else 0.0
                value = known[i]
                shares.append(None if value is None else share if value >= self.solved else min(0.0, share))
        return shares
