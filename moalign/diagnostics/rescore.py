"""Replay a run's stored completions under other weights, credit or rewards, and compare; no model is loaded."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from moalign.diagnostics._pressure import pressure, shares
from moalign.diagnostics._relations import rank_correlation
from moalign.diagnostics._replay import SIZES, Kept, Replay, Scores, Stored, credit_of, own_scores, stored, weights_of
from moalign.diagnostics._rescoring import new_scores
from moalign.diagnostics._table import RewardTable, renumbered
from moalign.errors import ConfigError, UnknownNameError
from moalign.objectives import Objective, setting
from moalign.optimizers.dominance import non_dominated
from moalign.optimizers.hypervolume import hypervolume
from moalign.parts import put

SHOWN = 5  # completions whose credit changes most
NOISE = 1e-6  # advantages of less are no sign


@dataclass(frozen=True)
class Side:
    """What credit is, or would have been; by objective, in its own sign and unit."""

    weights: Mapping[str, float]  # shares, mean over members
    pressure: Mapping[str, float]  # shares
    means: Mapping[str, float]  # over members, at the last kept step
    hypervolume: float | None  # of the members' means there; None without a reference point for every objective
    front: tuple[str, ...]  # members that no other dominates there


@dataclass(frozen=True)
class Turned:
    """A completion that is credited with the other sign."""

    step: int
    member: str
    prompt: Any
    completion: str
    before: float
    after: float


@dataclass(frozen=True)
class Rescored:
    """A run's credit beside what it would have been."""

    run: str
    completions: int
    groups: str  # how many of a step's groups were kept, in words
    difference: float  # largest, of the replay under the run's own settings from the stored advantages, sizes apart
    agreement: float  # rank correlation of these two within groups
    before: Side
    after: Side
    correlation: float  # rank correlation of the advantages before and after, within groups
    turned: int  # completions whose advantage changes sign
    most: tuple[Turned, ...]  # those that change most

    def as_json(self) -> dict[str, Any]:
        """Return plain data; what cannot be said is None."""
        return _plain(dataclasses.asdict(self))


def rescore(
    run: str | Path,
    changes: Mapping[str, Any] | None = None,
    *,
    rewards: Sequence[Objective] = (),
    data: Any = None,
) -> Rescored:
    """Return what the credit of a run's stored completions would have been.

    `changes` go by path: ``recipe`` (a recipe's name, for its credit), ``recipe.credit...`` (any part or option),
    ``objectives.<name>.bounds``, ``weights.<name>`` (for every member; else what its controller gave). `rewards` are
    objectives that take the place of those of the same name, or are added; `data`, as a study's ``train_dataset``, has
    the columns that their functions ask for.
    """
    held = stored(run)
    own = held.replay
    other = _changed(own, changes or {}, rewards)
    if other.problems():
        raise ConfigError(other.problems()[0])
    was = [own_scores(kept, own.objectives) for kept in held.steps]
    now = new_scores(held, other.objectives, rewards, data) if rewards else was
    logged = torch.cat([_logged(own, kept) for kept in held.steps]).double().numpy()
    after, _ = _credit(other, held, now)
    before, factor = (logged, np.full_like(logged, np.nan)) if own.problems() else _credit(own, held, was)
    group = _groups(held)
    order = np.argsort(group, kind="stable")
    turned = (np.sign(_said(before)) * np.sign(_said(after))) < 0
    return Rescored(
        run=held.path.resolve().name,
        completions=len(before),
        groups=_kept_groups(held),
        difference=float(np.abs(before * factor - logged).max()),
        agreement=rank_correlation(before[order], logged[order], group[order]),
        before=_side(held, own, was, before, group),
        after=_side(held, other, now, after, group),
        correlation=rank_correlation(before[order], after[order], group[order]),
        turned=int(turned.sum()),
        most=_most(held, turned, before, after),
    )


def _credit(replay: Replay, held: Stored, scores: Sequence[Scores]) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's advantage, and what its size over the run's whole batch was to that over the kept groups."""
    sizes = {name: held.spec["recipe"][name] for name in SIZES if name in held.spec["recipe"]}
    found = credit_of(replay, sizes, held.steps, scores)
    advantages, factor = (torch.cat(parts).double() for parts in zip(*((f.advantages, f.factor) for f in found)))
    return advantages.numpy(), factor.numpy()


def _changed(own: Replay, changes: Mapping[str, Any], rewards: Sequence[Objective]) -> Replay:
    given = {o.name: o for o in rewards if o.optimize}
    objectives = {o.name: o for o in own.objectives} | given
    replay = dataclasses.replace(
        own,
        objectives=tuple(objectives[name] for name in sorted(objectives)),
        weights={name: own.weights.get(name) for name in sorted(objectives)},
    )
    for path in sorted(changes, key=lambda path: path.count(".")):  # an option of a part that is chosen comes after it
        try:
            replay = put(replay, path, changes[path])
        except UnknownNameError as error:
            only = "(a replay changes `recipe.credit`, `objectives` and `weights`)"
            raise UnknownNameError(f"{error} {only}") from error
    return replay


def _logged(own: Replay, kept: Kept) -> Float[Tensor, "row"]:
    """Return the stored advantages; objectives that were kept apart are added up by their weights."""
    if "advantage" in kept.table:
        return torch.tensor(kept.table["advantage"].to_numpy(dtype=np.float64))
    each = np.stack([kept.table[f"advantage/{o.name}"].to_numpy(dtype=np.float64) for o in own.objectives], axis=1)
    return (torch.tensor(each) * weights_of(own, kept)[torch.tensor(kept.member)]).sum(dim=1)


def _groups(held: Stored) -> np.ndarray:
    """Return each row's group over all steps and members."""
    found, start = [], 0
    for kept in held.steps:
        key = np.array(kept.member) * (int(kept.table["group"].to_numpy().max()) + 1) + kept.table["group"].to_numpy()
        found.append(key + start)
        start = int(found[-1].max()) + 1
    return np.concatenate(found)


def _said(advantages: np.ndarray) -> np.ndarray:
    return np.where(np.abs(advantages) > NOISE, advantages, 0)


def _kept_groups(held: Stored) -> str:
    total = held.spec["recipe"].get("prompts_per_step")
    return (
        f"{max(int(kept.table['group'].to_numpy().max()) + 1 for kept in held.steps)} of {total} groups of each member"
    )


def _side(held: Stored, replay: Replay, scores: Sequence[Scores], advantages: np.ndarray, group: np.ndarray) -> Side:
    names = [o.name for o in replay.objectives]
    order = np.argsort(group, kind="stable")
    values = torch.cat([torch.where(valid, value.double(), torch.nan) for value, valid in scores]).numpy()
    each = torch.cat([weights_of(replay, kept)[torch.tensor(kept.member)] for kept in held.steps]).double().numpy()
    table = RewardTable(
        names=tuple(names),
        values=values[order],
        group=renumbered(group[order]),
        step=np.zeros(len(values), dtype=np.int64),
        weights=each[order],
        bounds=np.full((len(names), 2), np.nan),
    )
    pulls = shares(pressure(table, advantages[order]))
    sizes = np.abs(each)
    weights = (sizes / np.maximum(sizes.sum(axis=1, keepdims=True), 1e-12)).mean(axis=0)
    last, (value, valid) = held.steps[-1], scores[-1]
    means = _means(last, value, valid)
    there = torch.isfinite(means).all(dim=1)
    above = non_dominated(means[there]) if bool(there.any()) else there[:0]
    known = [name for name, ok in zip(last.members, there.tolist()) if ok]
    return Side(
        weights=dict(zip(names, weights.tolist())),
        pressure=dict(zip(names, pulls.tolist())),
        means={o.name: o.flip(float(means[:, k].nanmean())) for k, o in enumerate(replay.objectives)},
        hypervolume=_volume(held, replay.objectives, means[there]),
        front=tuple(name for name, ok in zip(known, above.tolist()) if ok),
    )


def _means(kept: Kept, values: Tensor, valid: Tensor) -> Float[Tensor, "member objective"]:
    member = torch.tensor(kept.member)
    total = torch.zeros((len(kept.members), values.shape[1]), dtype=torch.float64)
    count = torch.zeros_like(total)
    total.index_add_(0, member, torch.where(valid, values, 0.0).double())
    count.index_add_(0, member, valid.double())
    return torch.where(count > 0, total / count.clamp(min=1), torch.nan)


def _volume(held: Stored, objectives: Sequence[Objective], means: Float[Tensor, "member objective"]) -> float | None:
    reference = setting(objectives, held.spec.get("reference_point") or {}).reference.double()
    return hypervolume(means, reference) if bool(reference.isfinite().all()) and len(means) else None


def _most(held: Stored, turned: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[Turned, ...]:
    places = [(kept, row) for kept in held.steps for row in range(len(kept.table))]
    size = np.where(turned, np.abs(after - before), -1.0)
    first = [int(i) for i in np.argsort(-size, kind="stable")[:SHOWN] if turned[i]]
    found = []
    for i in first:
        kept, row = places[i]
        line = kept.table.iloc[row]
        found.append(
            Turned(kept.step, line["member"], line["prompt"], line["completion"], float(before[i]), float(after[i]))
        )
    return tuple(found)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
