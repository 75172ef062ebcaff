"""Preferences: each member's fixed wish, a point on the simplex of the trained objectives."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import MoalignError, nearest
from moalign.objectives import Objective, trained
from moalign.optimizers.simplex import Simplex


def wished_for(objectives: Sequence[Objective], recipe: Any) -> list[str]:
    """Return the names of the trained objectives that preferences are spread over.

    Where the recipe's controller holds thresholds, an objective with one is a floor instead of a wish.
    """
    holds = getattr(getattr(recipe, "weighting", None), "holds_thresholds", False)
    free = [o.name for o in trained(objectives) if not (holds and o.threshold is not None)]
    return free or [o.name for o in trained(objectives)]


def preference_problems(preferences: Any, names: Sequence[str], members: Any, *, among: Sequence[str]) -> list[str]:
    """Return what is wrong with a study's `preferences`, one sentence each."""
    if not isinstance(members, int) or isinstance(members, bool) or members < 1:
        return [f"`members` must be an integer of at least 1, got {members!r}."]
    if isinstance(preferences, Simplex):
        try:
            preferences.points(among, members, seed=0)
        except MoalignError as error:
            return [f"`preferences`: {error}"]
        return []
    if isinstance(preferences, str):
        known = "a list of dicts, or Simplex(min=..., max=...)"
        return [] if preferences == "simplex" else [f"`preferences` must be 'simplex', {known}, got {preferences!r}."]
    if not isinstance(preferences, Sequence) or not all(isinstance(p, Mapping) for p in preferences):
        return [f"`preferences` must be 'simplex', a list of dicts or a Simplex, got {type(preferences).__name__}."]
    problems = []
    if len(preferences) != members:
        problems.append(f"`preferences` has {len(preferences)} entries for {members} members; pass one per member.")
    for i, preference in enumerate(preferences):
        problems += [
            f"`preferences[{i}]` names `{name}`, which is not a trained objective{nearest(name, names)}"
            for name in preference
            if name not in names
        ]
        if not all(isinstance(value, int | float) for value in preference.values()):
            problems.append(f"`preferences[{i}]` must map objectives to numbers, got {dict(preference)!r}.")
            continue
        total = math.fsum(preference.values())
        if any(not 0 <= value <= 1 for value in preference.values()) or abs(total - 1) > 1e-6:
            problems.append(f"`preferences[{i}]` is off the simplex (sum {total:g}); entries are ≥ 0 and sum to 1.")
    return problems


def preference_points(
    preferences: Any, names: Sequence[str], members: int, *, seed: int, among: Sequence[str]
) -> Float[Tensor, "member objective"]:
    """Return one point per member; an objective that a dict leaves out has weight 0.

    Points are spread over the objectives in `among`, in the order of their sorted names, so that the order in which
    they are written changes nothing.
    """
    if isinstance(preferences, str):
        preferences = Simplex()
    if isinstance(preferences, Simplex):
        spread = preferences.points(sorted(among), members, seed=seed).float()
        points = torch.zeros(members, len(names))
        points[:, [names.index(name) for name in sorted(among)]] = spread
        return points
    return torch.tensor([[float(p.get(name, 0.0)) for name in names] for p in preferences])
