"""Telling parts which objective stands where, so that their options can go by name and in own signs."""

from collections.abc import Sequence
from typing import Any

from moalign.objectives import Objective
from moalign.optimizers.scalarizers import Axes
from moalign.parts import put, walk
from moalign.training.recipe import Recipe


def told(recipe: Recipe, objectives: Sequence[Objective]) -> Recipe:
    """Return a recipe whose parts that have `told(axes)` know the trained objectives, in the order of the columns.

    Nothing else changes. The recipe that a user wrote, and its record, stay as they are.
    """
    axes = Axes(tuple(o.name for o in objectives), tuple(o.sign for o in objectives))
    for path, value in walk(recipe):
        tell: Any = getattr(value, "told", None)
        if tell is not None:
            recipe = put(recipe, path, tell(axes))
    return recipe
