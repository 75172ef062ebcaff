"""Every record that passes between the rooms, with its fields and axes.

Axes, in this order: ``member row token objective``; estimators see ``member prompt group objective`` with a mask;
``channel`` is what is left of ``objective`` after a collapse (1, or all of them). Larger is better everywhere.

| record | what it is | made by | read by |
| --- | --- | --- | --- |
| `Stream` | a keyed source of random numbers | environment | collectors, policies |
| `Prompts` | tokenized prompts of one draw, with their columns | environment | collectors |
| `Requests` | what a policy is asked to complete | collectors | `Policy.sample` |
| `Samples` | what it answered | `Policy.sample` | collectors |
| `Rewards` | the reward vectors, what is missing, whose | `Environment.score` | credit, controllers |
| `Rows` | the whole batch, flat | collectors | every later stage |
| `Outputs` | what a forward pass gave | `Policy.forward` | losses |
| `Credit` | advantages per token and channel, value targets | credit | losses, reductions |
| `Setting` | what the study declares about the objectives | study | controllers |
| `Signals` | what a step showed about each member | the loop | controllers |
| `Points` | where the members stand | the loop | breeding |
| `Stacked` | a parameter and its member axis | `Policy.parameters` | updates, checkpoints |
| `Snapshot` | trainable tensors at one moment | `Policy.snapshot` | `forward(at=)`, checkpoints |
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum, auto
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

State = dict[str, Any]
"""Part path to tensors that lead with ``member`` (nested dicts allowed): checkpointed, restored, gathered as it is."""

Metrics = dict[str, Tensor]
"""Name to a scalar or ``[member]`` tensor; returned by parts, logged by the run."""


class Need(Enum):
    """What a part may read of a forward pass; the loop computes only what some part needs."""

    LOGPROBS = auto()  # always there
    ENTROPY = auto()  # Outputs.entropy
    VALUES = auto()  # Outputs.values: the policy must have value heads
    REFERENCE = auto()  # Rows.reference_logprobs: log-probabilities as the run began
    OLD = auto()  # Rows.old_logprobs: log-probabilities before the update, even if there is a single pass
    OLD_VALUES = auto()  # Rows.old_values: what the value heads said before the update
    PREVIOUS = auto()  # Rows.previous_logprobs: a collector must keep the previous iterate and say so in `gives`


class Couples(Enum):
    """What a loss needs kept together in one micro-batch."""

    ROWS = auto()  # nothing: rows are independent
    GROUPS = auto()  # whole groups (pairs, ranked lists)


@dataclass(frozen=True)
class Stream:
    """Random numbers keyed by (seed, step, purpose, round) and, for each generator, a member's name.

    >>> a = Stream(0, 3, "rollout").generator("m00"); b = Stream(0, 3, "rollout").generator("m00")
    >>> bool(torch.equal(torch.rand(2, generator=a), torch.rand(2, generator=b)))
    True
    """

    seed: int
    step: int
    purpose: str  # init, data, rollout, eval or part
    round: int = 0

    def generator(self, name: str = "") -> torch.Generator:
        """Return a CPU generator for this key and `name`."""
        key = f"{self.seed}/{self.step}/{self.purpose}/{self.round}/{name}"
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
        return torch.Generator().manual_seed(number)


@dataclass(frozen=True)
class Prompts:
    """Tokenized prompts of one draw; left-padded."""

    prompt_id: Int[Tensor, "prompt"]  # row of the data set
    tokens: Int[Tensor, "prompt prompt_token"]
    mask: Bool[Tensor, "prompt prompt_token"]
    columns: Mapping[str, Sequence[Any]]  # the data set's columns, `prompt` included, as the user wrote them

    def __len__(self) -> int:
        return len(self.prompt_id)


@dataclass(frozen=True)
class Examples:
    """Completions that come with the data: `completions[i][j]` is the j-th answer (chosen, rejected) to prompt i."""

    prompts: Prompts
    completions: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Requests:
    """What to complete: one line per (member, prompt), `n` completions each; members ascend."""

    member: Int[Tensor, "request"]
    prompt_tokens: Int[Tensor, "request prompt_token"]
    prompt_mask: Bool[Tensor, "request prompt_token"]
    n: int
    max_new_tokens: int
    temperature: Float[Tensor, "request"]  # 0 is greedy
    place: Int[Tensor, "request"] | None = None  # among its member's, where other processes have some; None: all here

    def select(self, index: Int[Tensor, "n"]) -> "Requests":
        """Return these requests, in this order."""
        picked = {
            f.name: getattr(self, f.name)[index] for f in fields(self) if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(self, **picked)


@dataclass(frozen=True)
class Samples:
    """Completions, request-major: row ``i * n + j`` is the j-th completion of request i; right-padded."""

    tokens: Int[Tensor, "row token"]
    completion_mask: Bool[Tensor, "row token"]  # the end token counts; a row without it was cut off
    logprobs: Float[Tensor, "row token"]  # at the row's temperature; 0 where masked, NaN where not known
    finished: Bool[Tensor, "row"]  # the end token was sampled


@dataclass(frozen=True)
class Rewards:
    """Reward vectors in the library's sign: larger is better, costs already negated."""

    values: Float[Tensor, "row objective"]  # 0 where not valid
    valid: Bool[Tensor, "row objective"]  # False: does not apply, timed out, or NaN
    names: tuple[str, ...]
    ideal: Float[Tensor, "objective"]  # best possible value; NaN where the objective declares no bounds
    nadir: Float[Tensor, "objective"]  # worst possible value; NaN likewise

    def rows(self, index: Int[Tensor, "n"]) -> "Rewards":
        return replace(self, values=self.values[index], valid=self.valid[index])


@dataclass(frozen=True)
class Rows:
    """The batch: one line per completion of any source; a pair is a group of two, a supervised example of one."""

    members: int  # how many members there are, whether or not they have rows here
    member: Int[Tensor, "row"]
    prompt_id: Int[Tensor, "row"]  # row of the data set
    group: Int[Tensor, "row"]  # number of the row's group among its member's, from 0
    prompt_tokens: Int[Tensor, "row prompt_token"]  # left-padded
    prompt_mask: Bool[Tensor, "row prompt_token"]
    tokens: Int[Tensor, "row token"]  # right-padded
    completion_mask: Bool[Tensor, "row token"]
    train_mask: Bool[Tensor, "row token"]  # within completion_mask: what the losses see
    keep: Bool[Tensor, "row"]  # False: padding, or filtered out; no credit, no loss
    temperature: Float[Tensor, "row"]
    index: Int[Tensor, "row"]  # position in the whole batch, kept by micro-batches
    behaviour_logprobs: Float[Tensor, "row token"] | None = None  # the engine's own
    old_logprobs: Float[Tensor, "row token"] | None = None  # the ratio's denominator; None: one pass, the ratio is 1
    reference_logprobs: Float[Tensor, "row token"] | None = None  # as the run began
    old_values: Float[Tensor, "row token objective"] | None = None  # of the value heads, before the update
    previous_logprobs: Float[Tensor, "row token"] | None = None  # of the iterate that a collector keeps
    segments: Int[Tensor, "row token"] | None = None  # number of the segment a token stands in, for credit by segment
    segment_names: tuple[str, ...] = ()  # of segment 0, 1, …
    segment_rewards: Float[Tensor, "row segment objective"] | None = None  # larger is better; NaN where not valid
    rewards: Rewards | None = None
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # Python values, one per row; not in parts

    def __len__(self) -> int:
        return len(self.member)

    def select(self, index: Int[Tensor, "n"]) -> "Rows":
        """Return these rows, in this order; columns stay behind with the whole batch."""
        new: dict[str, Any] = {"columns": {}}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                new[f.name] = value[index]
            elif isinstance(value, Rewards):
                new[f.name] = value.rows(index)
        return replace(self, **new)

    def slots(self) -> tuple[Int[Tensor, "row"], int, int]:
        """Return each row's slot within its group, and the grid's numbers of prompts and slots."""
        return self._layout[:3]

    @cached_property
    def _layout(self) -> tuple[Int[Tensor, "row"], int, int, bool]:
        """What `slots` returns, and whether the rows lie as the grid does, without a gap: asked many times a step."""
        prompts = int(self.group.max()) + 1 if len(self) else 0
        key = self.member * max(prompts, 1) + self.group
        order = torch.argsort(key, stable=True)
        counts = torch.bincount(key, minlength=self.members * max(prompts, 1))
        start = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        slot = torch.empty_like(key)
        place = torch.arange(len(key), device=key.device)
        slot[order] = place - start
        size = int(counts.max()) if len(self) else 0
        full = 0 < len(self) == self.members * prompts * size
        return slot, prompts, size, full and bool((key == place // size).all())

    def grid(
        self, x: Float[Tensor, "row *rest"]
    ) -> tuple[Float[Tensor, "member prompt group *rest"], Bool[Tensor, "member prompt group"]]:
        """Lay rows out as a padded rectangle; the mask is True where a kept row stands.

        A group of two of one member: ``grid(x)[0]`` is ``[[[x0, x1]]]``.
        """
        slot, prompts, group, regular = self._layout
        if regular:
            shape = (self.members, prompts, group)
            return x.reshape(*shape, *x.shape[1:]), self.keep.view(shape)
        out = x.new_zeros((self.members, prompts, group, *x.shape[1:]))
        out[self.member, self.group, slot] = x
        mask = torch.zeros((self.members, prompts, group), dtype=torch.bool, device=x.device)
        mask[self.member, self.group, slot] = self.keep
        return out, mask

    def flat(self, x: Float[Tensor, "member prompt group *rest"]) -> Float[Tensor, "row *rest"]:
        """Undo `grid`: ``rows.flat(rows.grid(x)[0])`` is ``x``."""
        slot, _, _, regular = self._layout
        if regular:
            return x.reshape(len(self), *x.shape[3:])
        return x[self.member, self.group, slot]


@dataclass(frozen=True)
class Outputs:
    """What a forward pass gave for each completion token; a field not asked for is None."""

    logprobs: Float[Tensor, "row token"]  # of the row's tokens, at the row's temperature
    entropy: Float[Tensor, "row token"] | None = None  # nats
    values: Float[Tensor, "row token objective"] | None = None  # one value head per objective


@dataclass(frozen=True)
class Credit:
    """What each token is credited with, per channel, and what value heads should predict."""

    advantages: Float[Tensor, "row token channel"]
    targets: Float[Tensor, "row token objective"] | None = None
    weights: Float[Tensor, "row objective"] | None = None  # the controller's: some losses weigh by themselves
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What a controller knows before the first step, larger is better; NaN where a study declares nothing."""

    names: tuple[str, ...]
    ideal: Float[Tensor, "objective"]
    nadir: Float[Tensor, "objective"]
    reference: Float[Tensor, "objective"]  # reference point of the hypervolume
    thresholds: Float[Tensor, "objective"]  # floors: a constraint is met when the mean is at least this


@dataclass(frozen=True)
class Signals:
    """What one step showed about each member: raw rewards, larger is better."""

    step: int
    progress: float  # in [0, 1)
    means: Float[Tensor, "member objective"]  # over valid kept-or-not rows; NaN where nothing was valid
    stds: Float[Tensor, "member objective"]  # within groups, so that prompts' difficulty does not count
    metrics: Metrics = field(default_factory=dict)  # the update's
    names: tuple[str, ...] = ()  # of the objectives, by which metrics go


@dataclass(frozen=True)
class Points:
    """Where the members stand: running means of raw rewards."""

    step: int
    progress: float
    values: Float[Tensor, "member objective"]
    names: tuple[str, ...]  # of the members


@dataclass(frozen=True)
class Stacked:
    """A trainable tensor; `member_dim` 0 when it leads with ``member``, None when members share it."""

    tensor: Tensor
    member_dim: int | None


@dataclass(frozen=True)
class Snapshot:
    """Trainable tensors by name at one moment, of the named members."""

    members: tuple[str, ...]
    tensors: Mapping[str, Tensor]


START = Snapshot((), {})
"""Stands for the policy as the run began (adapters off)."""


@runtime_checkable
class Policy(Protocol):
    """K behaviours the loop tells apart; how many of them share parameters is the policy's own affair."""

    members: tuple[str, ...]  # stable names; a position is not an identity
    provides: frozenset[Need]
    device: torch.device

    def parameters(self) -> dict[str, Stacked]: ...

    def sample(self, requests: Requests, *, stream: Stream, at: Snapshot | None = None) -> Samples: ...

    def forward(self, rows: Rows, needs: frozenset[Need], *, at: Snapshot | None = None) -> Outputs: ...

    def split(self, rows: Rows, *, couples: Couples) -> Iterable[Rows]: ...  # perhaps other processes have some

    def summed(self, parts: Sequence[Tensor]) -> list[Tensor]:  # over all processes that the rows are split among
        return list(parts)

    def snapshot(self, members: Sequence[str] | None = None) -> Snapshot: ...

    def restore(self, snapshot: Snapshot) -> None: ...

    def gather(self, parents: Sequence[int], names: Sequence[str]) -> None: ...

    def mix(self, weights: Float[Tensor, "point member"], names: Sequence[str]) -> "Policy": ...

    def save(self, member: str, to: Path, *, merged: bool = False) -> None: ...


@runtime_checkable
class Environment(Protocol):
    """What a collector draws from and is scored by, at one step."""

    names: tuple[str, ...]  # of the objectives
    step: int

    def stream(self, purpose: str, round: int = 0) -> Stream: ...

    def prompts(self, count: int, round: int = 0) -> Prompts: ...

    def examples(self, count: int, columns: Sequence[str]) -> Examples: ...

    def encode(self, completions: Sequence[str]) -> Samples: ...  # text to rows; logprobs 0

    def decode(self, tokens: list[list[int]]) -> list[str]: ...  # the text rewards see

    def score(self, rows: Rows) -> Rows: ...  # with rewards, and the text in columns["completion"]

    def drain(self) -> Metrics: ...  # what scoring noticed since the last call


Losses = Callable[[Rows], Float[Tensor, "member channel"]]
"""The closure an update differentiates: micro-batch in, summed losses out."""


def per_row(value: float | Float[Tensor, "member"], rows: Rows) -> float | Float[Tensor, "row"]:
    """Return a knob's value for each row: a number as it is, a ``[member]`` tensor looked up."""
    return value.to(rows.member.device)[rows.member] if isinstance(value, Tensor) else value
