"""Rewards-in-Context: completions whose own rewards stand before their prompts."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from moalign.errors import ConfigError
from moalign.parts import look_up_names, part, register
from moalign.policies.conditioned import prefixed, tokenizer_of
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.asked_rewards import ask_rewards
from moalign.rollouts.best_rewards import best
from moalign.rollouts.collect import Supervised
from moalign.rollouts.reward_text import RewardText, rewards_of, statistics, updated
from moalign.rollouts.rounds import joined


@register(
    "collector",
    "rewards-in-context",
    paper="yang2024ric",
    test="tests/rollouts/test_rewards_in_context.py::test_a_rows_own_rewards_stand_before_its_prompt",
)
@dataclass(frozen=True)
class RewardsInContext:
    """Score `completion` of the data and put each row's rewards, as `text`, before its prompt.

    From progress `online` on, the policy also completes prompts for rewards near the front. Of the data and of what it
    sampled, rows are then kept that reach the `quantile` of some reward among their like, and they are told what they
    reached. `target` None asks for every reward's highest value but one; a map asks for what it makes of a uniform
    preference. A row that lacks a reward trains nothing. What `text` tells numbers in are statistics of the data so
    far. The paper's code samples and filters once for a whole stage, and here each step does; its text stands behind
    the prompt. Yang et al. 2024, arXiv:2402.10207, with github.com/YangRui2015/RiC.
    """

    text: RewardText = RewardText()
    online: float = 5 / 6  # 20,000 of 24,000 steps in the paper's code
    quantile: float = 0.7
    target: Any = part("target", None)
    columns: ClassVar[tuple[str, ...]] = ("completion",)

    def __post_init__(self) -> None:
        look_up_names(self)
        if not (0 <= self.online <= 1 and 0 <= self.quantile <= 1):
            raise ConfigError(f"`online` is {self.online} and `quantile` {self.quantile}; both are shares of 1.")

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        rows = env.score(Supervised()(policy, env, state, now)[0])
        seen = updated(state.get("collect", statistics(rows.members, len(env.names))), rows)
        if env.step >= self.online * now.steps:
            asked = ask_rewards(policy, env, now, seen=seen, text=self.text, target=self.target)
            rows = joined(best(rows, self.quantile), best(asked, self.quantile))
        values, valid = rewards_of(rows)
        told = self.text(values, rows.member, seen)
        tokens, mask = prefixed(rows.prompt_tokens, rows.prompt_mask, told, tokenizer_of(policy))
        rows = replace(rows, prompt_tokens=tokens, prompt_mask=mask, keep=rows.keep & valid.all(dim=1))
        return rows, {**state, "collect": seen}
