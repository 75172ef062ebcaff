"""Completions that a policy is asked to make worth certain rewards."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from moalign.policies.conditioned import prefixed, tokenizer_of
from moalign.records import Environment, Policy, Requests, Rows, State
from moalign.rollouts.collect import rows_of
from moalign.rollouts.reward_targets import goals
from moalign.rollouts.reward_text import RewardText, wanted


def ask_rewards(
    policy: Policy,
    env: Environment,
    now: Any,
    *,
    seen: State,
    text: RewardText,
    target: Callable[[Tensor], Tensor] | None,
) -> Rows:
    """Let every member complete other prompts than this step's examples, each for rewards drawn at random.

    The rows are scored and hold the prompts without their goals: what a row reached may be told instead. Their groups
    are numbered behind the examples', their temperature is that of given text.
    """
    prompts, many, n = env.prompts(now.prompts_per_step, 1), len(policy.members), now.num_generations
    stream = env.stream("part", 1)
    drawn = [goals(len(prompts), len(env.names), target, stream.generator(name)) for name in policy.members]
    member = torch.arange(many).repeat_interleave(len(prompts))
    values = wanted(torch.cat(drawn), {name: x[member] for name, x in seen.items()})
    told = text(values, member, seen)
    tokens, mask = prefixed(prompts.tokens.repeat(many, 1), prompts.mask.repeat(many, 1), told, tokenizer_of(policy))
    device = policy.device
    member, tokens, mask = member.to(device), tokens.to(device), mask.to(device)
    warmth = torch.as_tensor(now.temperature, dtype=torch.float32, device=device).expand(many)[member]
    samples = policy.sample(
        Requests(member, tokens, mask, n, now.max_completion_length, warmth), stream=env.stream("rollout")
    )
    ones = torch.ones(many, device=device)
    rows = rows_of(prompts, samples, members=many, per_prompt=n, temperature=ones, start=len(prompts))
    return env.score(replace(rows, behaviour_logprobs=None))  # they were sampled behind other prompts
