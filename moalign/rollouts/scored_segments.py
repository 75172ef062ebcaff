"""Completions whose segments are scored one by one: steps, turns, phases, or several answers in one."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from moalign.errors import ConfigError
from moalign.parts import look_up_names, part, register
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.segmented import Segmented

TEXTS = ("alone", "prefix")


@register(
    "collector",
    "scored-segments",
    paper="shao2024deepseekmath",
    test="tests/rollouts/test_scored_segments.py::test_every_segment_has_its_rewards",
)
@dataclass(frozen=True)
class ScoredSegments:
    """Collect with `inner`, which numbers the tokens' segments, and score every segment as if it were a completion.

    The rewards are the study's own. `text` says what they read: ``"alone"`` the segment, as of several answers in one
    completion; ``"prefix"`` all up to its end, as a process reward model does. Rewards are called once more for each
    segment. A segment that a completion does not have has no reward. Credit by steps: Shao et al. 2024,
    arXiv:2402.03300, section 4.1.3.
    """

    inner: Any = part("collector", Segmented())
    text: str = "alone"
    scores_segments: ClassVar[bool] = True  # what credit by segment looks for

    def __post_init__(self) -> None:
        look_up_names(self)
        if self.text not in TEXTS:
            raise ConfigError(f"`text` must be one of {', '.join(TEXTS)}, got {self.text!r}.")

    @property
    def columns(self) -> tuple[str, ...]:
        return getattr(self.inner, "columns", ())  # of the data; checked before training

    def problems(self, recipe: Any) -> list[str]:
        found = self.inner.problems(recipe) if hasattr(self.inner, "problems") else []
        if not hasattr(self.inner, "segment_names"):
            found.append("`scored-segments` needs an `inner` that cuts segments, such as Segmented.")
        return found

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        rows, state = self.inner(policy, env, state, now)
        if rows.segments is None:
            raise ConfigError("`scored-segments` needs rows with segments; let `inner` cut them, as Segmented does.")
        columns = {name: values for name, values in rows.columns.items() if name != "completion"}
        each = []
        for number in range(len(rows.segment_names)):
            own = rows.completion_mask & (rows.segments == number)
            seen = own if self.text == "alone" else rows.completion_mask & (rows.segments <= number)
            asked = replace(rows, completion_mask=seen, keep=rows.keep & own.any(1), rewards=None, columns=columns)
            rewards = env.score(asked).rewards
            if rewards is None:
                raise ConfigError("`scored-segments` needs an environment that gives rewards, and this one gives none.")
            each.append(torch.where(rewards.valid, rewards.values, torch.nan))
        return replace(rows, segment_rewards=torch.stack(each, 1)), state
