"""From two evaluations to a front: chosen on dev, valued on test."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.evaluation import Evaluation, Sample
from moalign.fronts._front import Front, is_feasible
from moalign.fronts._measure import Measure, hypervolume_measure
from moalign.fronts._point import Numbers, Point
from moalign.objectives import Objective, trained
from moalign.optimizers.dominance import non_dominated


def build_front(
    dev: Evaluation,
    test: Evaluation,
    *,
    objectives: Sequence[Objective],
    preferences: Float[Tensor, "member trained"],
    weights: Float[Tensor, "member trained"] | None = None,
    kinds: Sequence[str],
    step: int,
    seed: int,
    reference_point: Numbers | None = None,
    paths: Mapping[str, Path] | None = None,
    prefixes: Mapping[str, str] | None = None,
) -> Front:
    """Return the front of the evaluated members.

    A member is in it when none dominates it on `dev` (and, while any member meets every threshold there, it does
    too). It stays when `test` disagrees, and is marked: picking again on test would flatter the front. Columns of
    `preferences` and `weights` are the trained objectives in the order of `objectives`.
    """
    if dev.members != test.members or dev.names != test.names:
        raise ConfigError(
            "`dev` and `test` are evaluations of different members or objectives; evaluate the same ones."
        )
    if dev.split == test.split:
        raise ConfigError(
            f"`dev` and `test` are both of split {dev.split!r}; value points on prompts that did not choose."
        )
    absent = [o.name for o in objectives if o.name not in test.names]
    if absent:
        raise ConfigError(f"`objectives` has {', '.join(absent)}, not evaluated; score tracked objectives as well.")
    names = [o.name for o in trained(objectives)]
    dev_values, _ = _own(dev, objectives)
    values, stderr = _own(test, objectives)
    points = [
        Point(
            id=member,
            values=values[k],
            stderr=stderr[k],
            preference=dict(zip(names, preferences[k].tolist())),
            weights=None if weights is None else dict(zip(names, weights[k].tolist())),
            feasible=is_feasible(dev_values[k], objectives),
            step=step,
            seed=seed,
            kind=kinds[k],
            path=None if paths is None else paths.get(member),
            prefix="" if prefixes is None else prefixes[member],
            dev_values=dev_values[k],
            samples=_samples(test, k, objectives),
        )
        for k, member in enumerate(test.members)
    ]
    frame = Front((), tuple(objectives), reference_point=reference_point)
    chosen = frame.chosen(points, "dev_values")
    inside = _mark_dominated(frame, [point for point, kept in zip(points, chosen) if kept])
    front = replace(
        frame,
        points=tuple(inside),
        dominated=tuple(point for point, kept in zip(points, chosen) if not kept),
        split=test.split,
        prompts=test.prompts,
        temperature=test.temperature,
    )
    return front if reference_point is None else replace(front, measured=_measure(front, test, reference_point))


def _own(result: Evaluation, objectives: Sequence[Objective]) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    values, stderr = result.own(objectives)
    rows = [dict(zip(result.names, row)) for row in values.tolist()]
    return rows, [dict(zip(result.names, row)) for row in stderr.tolist()]


def _samples(result: Evaluation, member: int, objectives: Sequence[Objective]) -> tuple[Sample, ...]:
    flip = {o.name: o.flip for o in objectives}
    kept = result.samples[member] if result.samples else ()
    return tuple(
        replace(s, rewards={name: None if r is None else flip[name](r) for name, r in s.rewards.items()}) for s in kept
    )


def _mark_dominated(frame: Front, points: Sequence[Point]) -> list[Point]:
    """Mark those that another one dominates on the split that values them."""
    values = frame.inner(points)
    known = torch.isfinite(values).all(dim=1)
    best = known.clone()
    best[known] = non_dominated(values[known])
    marked = (known & ~best).tolist()
    return [replace(point, dominated_on_test=mark) for point, mark in zip(points, marked)]


def _measure(front: Front, test: Evaluation, reference_point: Numbers) -> Measure:
    """Return the hypervolume with an error that follows each prompt through all points and objectives."""
    wanted = trained(front.objectives)
    known = [p for p in front.points if bool(torch.isfinite(front.inner([p])).all())]
    rows = torch.tensor([test.members.index(p.id) for p in known], dtype=torch.long)
    columns = torch.tensor([test.names.index(o.name) for o in wanted], dtype=torch.long)
    reference = torch.tensor([o.flip(float(reference_point[o.name])) for o in wanted], dtype=torch.float64)
    return hypervolume_measure(
        front.inner(known),
        test.influence[rows][:, :, columns],
        reference,
        reference_point=reference_point,
        prompts=test.prompts,
    )
