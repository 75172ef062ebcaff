"""Collectors: where rows come from. Sampled, preference pairs, and supervised examples are one record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moalign.parts import register
from moalign.records import Environment, Policy, Prompts, Requests, Rows, Samples, State, Stream


def ask(
    policy: Policy,
    prompts: Prompts,
    *,
    stream: Stream,
    n: int,
    max_new_tokens: int,
    temperature: float | Float[Tensor, "member"],
    start: int = 0,
) -> Rows:
    """Let every member complete every prompt `n` times; rows are member-major, then prompt-major.

    Groups are numbered from `start`, so that a second round's groups can follow the first's.
    """
    members, count = len(policy.members), len(prompts)
    warmth = torch.as_tensor(temperature, dtype=torch.float32, device=policy.device).expand(members)
    requests = Requests(
        member=torch.arange(members, device=policy.device).repeat_interleave(count),
        prompt_tokens=prompts.tokens.to(policy.device).repeat(members, 1),
        prompt_mask=prompts.mask.to(policy.device).repeat(members, 1),
        n=n,
        max_new_tokens=max_new_tokens,
        temperature=warmth.repeat_interleave(count),
    )
    samples = policy.sample(requests, stream=stream)
    return rows_of(prompts, samples, members=members, per_prompt=n, temperature=warmth, start=start)


def rows_of(
    prompts: Prompts,
    samples: Samples,
    *,
    members: int,
    per_prompt: int,
    temperature: Float[Tensor, "member"],
    start: int = 0,
) -> Rows:
    """Put `members * len(prompts) * per_prompt` completions, in that order of axes, beside their prompts."""
    device, count = samples.tokens.device, len(prompts)
    member = torch.arange(members, device=device).repeat_interleave(count * per_prompt)
    prompt = torch.arange(count, device=device).repeat_interleave(per_prompt).repeat(members)
    length = max(1, int(samples.completion_mask.sum(dim=1).max()))  # nothing beyond the longest completion
    mask = samples.completion_mask[:, :length]
    return Rows(
        members=members,
        member=member,
        prompt_id=prompts.prompt_id.to(device)[prompt],
        group=prompt + start,
        prompt_tokens=prompts.tokens.to(device)[prompt],
        prompt_mask=prompts.mask.to(device)[prompt],
        tokens=samples.tokens[:, :length],
        completion_mask=mask,
        train_mask=mask,
        keep=torch.ones(len(member), dtype=torch.bool, device=device),
        temperature=temperature[member],
        index=torch.arange(len(member), device=device),
        behaviour_logprobs=samples.logprobs[:, :length],
        columns=_repeat(prompts.columns, prompt) | {"finished": samples.finished.tolist()},
    )


def _repeat(columns: Mapping[str, Sequence[Any]], prompt: Int[Tensor, "row"]) -> dict[str, list[Any]]:
    order = prompt.tolist()
    return {name: [values[i] for i in order] for name, values in columns.items()}


@register("collector", "sample", test="tests/rollouts/test_collect.py::test_sample_asks_every_member_every_prompt")
@dataclass(frozen=True)
class Sample:
    """Sample `num_generations` completions of each prompt from each member, and score them.

    With `mask_truncated`, completions cut off at `max_completion_length` keep their reward but train nothing.
    """

    mask_truncated: bool = False

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        rows = ask(
            policy,
            env.prompts(now.prompts_per_step),
            stream=env.stream("rollout"),
            n=now.num_generations,
            max_new_tokens=now.max_completion_length,
            temperature=now.temperature,
        )
        if self.mask_truncated:
            finished = torch.tensor(rows.columns["finished"], device=rows.tokens.device)
            rows = replace(rows, train_mask=rows.train_mask & finished[:, None])
        return env.score(rows), state


@register(
    "collector", "pairs", test="tests/rollouts/test_collect.py::test_pairs_are_groups_of_two", paper="rafailov2023dpo"
)
@dataclass(frozen=True)
class Pairs:
    """Take `chosen` and `rejected` from the data: groups of two rows, the chosen one first."""

    columns: ClassVar[tuple[str, ...]] = ("chosen", "rejected")  # of the data; checked before training

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        return _from_examples(policy, env, now, self.columns), state


@register("collector", "examples", test="tests/rollouts/test_collect.py::test_examples_are_groups_of_one")
@dataclass(frozen=True)
class Supervised:
    """Take `completion` from the data: groups of one row."""

    columns: ClassVar[tuple[str, ...]] = ("completion",)

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        return _from_examples(policy, env, now, self.columns), state


def _from_examples(policy: Policy, env: Environment, now: Any, columns: Sequence[str]) -> Rows:
    members = len(policy.members)
    examples = env.examples(now.prompts_per_step, columns)
    texts = [text for answers in examples.completions for text in answers]
    samples = env.encode(texts * members)
    cut = Samples(
        tokens=samples.tokens[:, : now.max_completion_length].to(policy.device),
        completion_mask=samples.completion_mask[:, : now.max_completion_length].to(policy.device),
        logprobs=samples.logprobs[:, : now.max_completion_length].to(policy.device),
        finished=samples.finished.to(policy.device),
    )
    warm = torch.ones(members, device=policy.device)  # likelihoods of given text are at temperature 1
    rows = rows_of(examples.prompts, cut, members=members, per_prompt=len(columns), temperature=warm)
    return replace(rows, behaviour_logprobs=None, columns={**rows.columns, "completion": texts * members})
