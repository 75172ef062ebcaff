"""Sample one completion a prompt from every member, and score it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.evaluation._evaluation import Evaluation, Sample
from moalign.records import Policy, Prompts, Rows, Stream
from moalign.rollouts.collect import ask

SPLITS = ("dev", "test")
SHOWN = 6  # completions kept of each member, to look at


@runtime_checkable
class Scorer(Protocol):
    """What an evaluation needs of an environment: its prompts, and its rewards."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def all(self, limit: int | None) -> Prompts: ...

    def score(self, rows: Rows) -> Rows: ...


@torch.no_grad()
def evaluate(
    policy: Policy,
    env: Scorer,
    *,
    prompts: int | None,
    temperature: float | Float[Tensor, "member"],
    max_new_tokens: int,
    seed: int,
    split: str,
    batch: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Return every member's scores on the first `prompts` prompts of `env` (None: all of them).

    Temperature 0 is greedy; members may differ in it. `batch` prompts are completed at a time, by all members
    together; it belongs to the random numbers' key, as `seed` and `split` do. `on_progress(done, total)` counts
    prompts.
    """
    if split not in SPLITS:
        raise ConfigError(f"`split` is {split!r}; use one of {', '.join(SPLITS)}.")
    if batch < 1 or (prompts is not None and prompts < 1):
        raise ConfigError(f"`batch` is {batch} and `prompts` is {prompts}; both must be at least 1.")
    everything = env.all(prompts)
    scores, valid, samples = [], [], [[] for _ in policy.members]
    for start in range(0, len(everything), batch):
        stream = Stream(seed, SPLITS.index(split), "eval", round=start // batch)
        part = _slice(everything, start, start + batch)
        rows = ask(policy, part, stream=stream, n=1, max_new_tokens=max_new_tokens, temperature=temperature)
        rows = env.score(rows)
        if rows.rewards is None:
            raise ConfigError(
                "`env.score` returned rows without rewards; an evaluation needs an environment that scores."
            )
        shape = (len(policy.members), len(part), len(env.names))  # rows are member-major
        scores.append(rows.rewards.values.reshape(shape).double().cpu())
        valid.append(rows.rewards.valid.reshape(shape).cpu())
        for member, kept in enumerate(samples):
            first = member * len(part)
            kept += [_sample(rows, first + i) for i in range(min(SHOWN - len(kept), len(part)))]
        if on_progress is not None:
            on_progress(min(start + batch, len(everything)), len(everything))
    return Evaluation(
        names=tuple(env.names),
        members=tuple(policy.members),
        scores=torch.cat(scores, dim=1),
        valid=torch.cat(valid, dim=1),
        split=split,
        temperature=_shared(temperature),
        samples=tuple(tuple(kept) for kept in samples),
    )


def _shared(temperature: float | Float[Tensor, "member"]) -> float | None:
    """Return the temperature that all members have, or None."""
    each = set(temperature.tolist()) if isinstance(temperature, Tensor) else {float(temperature)}
    return each.pop() if len(each) == 1 else None


def _slice(prompts: Prompts, start: int, stop: int) -> Prompts:
    return replace(
        prompts,
        prompt_id=prompts.prompt_id[start:stop],
        tokens=prompts.tokens[start:stop],
        mask=prompts.mask[start:stop],
        columns={name: values[start:stop] for name, values in prompts.columns.items()},
    )


def _sample(rows: Rows, row: int) -> Sample:
    assert rows.rewards is not None  # checked by the caller
    numbers = zip(rows.rewards.names, rows.rewards.values[row].tolist(), rows.rewards.valid[row].tolist())
    return Sample(
        prompt=rows.columns["prompt"][row],
        completion=rows.columns["completion"][row],
        rewards={name: value if valid else None for name, value, valid in numbers},
    )
