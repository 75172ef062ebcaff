"""Recipes whose preference pairs come from the members themselves."""

from typing import Any

from moalign.losses import PreferenceLoss, ipo, mixture, sequence_mean
from moalign.parts import bind, register
from moalign.rollouts.best_worst import BestWorst
from moalign.rollouts.previous_iterate import PreviousIterate
from moalign.training.recipe import Recipe, with_options

PINNED = "tests/recipes/test_recipes.py::test_bindings"


@register("recipe", "inpo", paper="zhang2024inpo", test=PINNED)
def inpo(**changes: Any) -> Recipe:
    """INPO: pairs sampled from the previous iterate, ordered by each member's weights; IPO's loss against a mixture.

    The paper's settings: best and worst of 8, ``beta`` is its η, ``share`` its τ/η, three iterations in the 100 steps.
    """
    recipe = Recipe(
        name="inpo",
        collect=PreviousIterate(inner=BestWorst(), iterate_every=34),
        losses={"preference": PreferenceLoss(score=bind(mixture, share=1 / 3), link=bind(ipo, beta=0.005))},
        reduce=bind(sequence_mean),
    )
    return with_options(recipe, changes)
