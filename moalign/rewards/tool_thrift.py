"""A right answer is worth more the fewer tools it took."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.rewards.groups import check_group, groups_of
from moalign.rewards.texts import text_of
from moalign.rewards.wrapping import Wrapping, values_of


@register(
    "reward",
    "tool-thrift",
    paper="wang2025otc",
    test="tests/rewards/test_tool_thrift.py::test_a_right_answer_with_the_fewest_calls_keeps_its_whole_reward",
)
@dataclass(frozen=True)
class ToolThrift(Wrapping):
    r"""Multiply a `reward` by how few tool calls the completion makes: by 1 for as few as any that is right.

    A call is a match of `pattern`. With :math:`m` calls, of which the fewest in a right answer (`reward` at least
    `solved`) to this prompt are :math:`n`, the factor of a right answer is :math:`\sin(\pi m / (m + n))`; with
    :math:`n = 0`, and everywhere with `relative` False, it is :math:`\cos(\pi m / (2 m + c))` with :math:`c` the
    `smoothing`. Other completions keep their reward, which is 0 for a wrong answer in the paper. None where `reward`
    is. The paper's :math:`\alpha` is left to weights, and the fewest calls of earlier steps are not remembered.
    `num_generations` is needed only where a step has one prompt and several members. Wang et al. 2025,
    arXiv:2504.14870 (OTC-GRPO; OTC-PPO with `relative` False).

    >>> from moalign.rewards import exact_number
    >>> reward = ToolThrift(exact_number(), "<search>")
    >>> said = ["<search> 4", "<search> <search> <search> 4", "<search> 5"]
    >>> [round(r, 6) for r in reward(prompts=["2+2="] * 3, completions=said, answer=["4"] * 3)]  # sin(3/4 pi)
    [1.0, 0.707107, 0.0]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("correct", reward, bounds=(0, 1))
    """

    reward: Any
    pattern: str = "<tool_call>"
    smoothing: float = 1.0
    relative: bool = True
    solved: float = 1.0
    num_generations: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_group(self.num_generations)
        if self.smoothing <= 0:
            raise ConfigError(f"`smoothing` must be above 0, got {self.smoothing}.")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ConfigError(f"`pattern` {self.pattern!r} is not a regular expression: {error}.") from error

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        known = values_of(self.reward, {"prompts": prompts, "completions": completions, **columns})
        calls = [len(re.findall(self.pattern, text_of(completion))) for completion in completions]
        out = list(known)
        for group in groups_of(prompts, self.num_generations):
            right = [i for i in group if (value := known[i]) is not None and value >= self.solved]
            fewest = min((calls[i] for i in right), default=0) if self.relative else 0
            for i in right:
                out[i] = self._factor(calls[i], fewest) * (known[i] or 0.0)
        return out

    def _factor(self, calls: int, fewest: int) -> float:
        if fewest == 0:
            return math.cos(math.pi * calls / (2 * calls + self.smoothing))
        return math.sin(math.pi * calls / (calls + fewest))
