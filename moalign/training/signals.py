"""What a step showed about each member, and the running means that controllers, breeding and the curve read."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.records import Credit, Metrics, Rows, Signals, State
from moalign.weighting.statistics import follow

MEMORY = 0.85  # of the running means; measured to be smooth enough at 64 rows a step and quick enough in 90 steps


def signals_of(rows: Rows, *, step: int, progress: float, names: tuple[str, ...], metrics: Metrics) -> Signals:
    """Return each member's mean reward and the spread within its groups, over everything that was scored."""
    if rows.rewards is None:
        nothing = torch.full((rows.members, len(names)), torch.nan)
        return Signals(step=step, progress=progress, means=nothing, stds=nothing, metrics=metrics, names=names)
    values, _ = rows.grid(rows.rewards.values)
    valid = rows.grid(rows.rewards.valid.float())[0] > 0
    return Signals(
        step=step,
        progress=progress,
        means=_mean(values, valid, (1, 2)).cpu(),  # controllers and their state live on the CPU
        stds=_within_groups(values, valid).cpu(),
        metrics=metrics,
        names=names,
    )


def _mean(
    x: Float[Tensor, "member prompt group objective"],
    valid: Bool[Tensor, "member prompt group objective"],
    dims: tuple[int, ...],
) -> Float[Tensor, "..."]:
    count = valid.sum(dim=dims)
    return torch.where(count > 0, torch.where(valid, x, 0).sum(dim=dims) / count.clamp(min=1), torch.nan)


def _within_groups(
    x: Float[Tensor, "member prompt group objective"], valid: Bool[Tensor, "member prompt group objective"]
) -> Float[Tensor, "member objective"]:
    """Return the root of the mean variance within groups: the spread that a choice of completion can exploit."""
    count = valid.sum(dim=2, keepdim=True)
    mean = torch.where(valid, x, 0).sum(dim=2, keepdim=True) / count.clamp(min=1)
    squares = torch.where(valid, (x - mean).square(), 0).sum(dim=(1, 2))
    freedom = (count.squeeze(2) - 1).clamp(min=0).sum(dim=1)
    return torch.where(freedom > 0, (squares / freedom.clamp(min=1)).sqrt(), torch.nan)


def running_means(state: State, signals: Signals | None, *, members: int = 0, objectives: int = 0) -> State:
    """Return the members' running mean rewards after this step; without signals, the empty start.

    ``means <- MEMORY * means + (1 - MEMORY) * signals.means``; the first value seen starts the mean, a missing one
    leaves it.
    """
    if signals is None:
        return {"means": torch.full((members, objectives), torch.nan)}
    return {"means": follow(state["means"], signals.means.to(state["means"]), memory=MEMORY)}


def channel_preferences(
    weights: Float[Tensor, "member prompts groups objective"], credit: Credit
) -> Float[Tensor, "member channel"]:
    """Return what a mixer is told about each channel: the objectives' weights, or 1 for a single channel."""
    if credit.advantages.shape[-1] == 1:
        return weights.new_ones((weights.shape[0], 1))
    return weights.mean(dim=(1, 2))
