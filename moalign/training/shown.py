"""What one step showed of some members, before it is written down."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moalign.records import Metrics, Policy, Rows, Signals, State


@dataclass(frozen=True)
class Shown:
    """A step's numbers of each of these members; larger is better."""

    members: tuple[str, ...]
    means: Float[Tensor, "member objective"]
    stds: Float[Tensor, "member objective"]
    weights: Float[Tensor, "member objective"]  # over the member's rows
    running: Float[Tensor, "member objective"]
    gain: Float[Tensor, "member"]
    active: Int[Tensor, "member"]
    learning_rate: Float[Tensor, "*member"]  # one for all, or each its own
    lengths: Int[Tensor, "row"]  # of the completions, in tokens
    metrics: Metrics
    kept: list[dict[str, Any]] = field(default_factory=list)  # completions to read, see `kept_rollouts`


def shown(
    policy: Policy,
    rows: Rows,
    weights: Float[Tensor, "member prompts groups objective"],
    gain: Float[Tensor, "member"],
    signals: Signals,
    state: State,
    metrics: Metrics,
    now: Any,
) -> Shown:
    """Return what the loop's step showed, without its rows."""
    return Shown(
        members=tuple(policy.members),
        means=signals.means,
        stds=signals.stds,
        weights=weights.mean(dim=(1, 2)),
        running=state["running"]["means"],
        gain=gain,
        active=state["update"].get("active", torch.ones(len(policy.members))).int(),
        learning_rate=torch.as_tensor(now.learning_rate, dtype=torch.float32),
        lengths=rows.completion_mask.sum(dim=1),
        metrics=metrics,
    )
