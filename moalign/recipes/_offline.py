"""Recipes that learn from completions in the data."""

from typing import Any

from moalign.losses import MODPO, PreferenceLoss, nll, sequence_mean, token_mean
from moalign.losses import dpo as dpo_link
from moalign.parts import bind, register
from moalign.rollouts.scored_pairs import ScoredPairs
from moalign.training.recipe import Recipe, with_options

PINNED = "tests/recipes/test_recipes.py::test_bindings"


@register("recipe", "dpo", paper="rafailov2023dpo", test=PINNED)
def dpo(**changes: Any) -> Recipe:
    """DPO on `chosen` and `rejected` completions of the data; ``beta=0.1`` scales the margin."""
    recipe = Recipe(
        name="dpo",
        collect="pairs",
        losses={"preference": PreferenceLoss(link=bind(dpo_link, beta=0.1))},
        reduce=bind(sequence_mean),
    )
    return with_options(recipe, changes)


@register("recipe", "modpo", paper="zhou2023modpo", test=PINNED)
def modpo(**changes: Any) -> Recipe:
    """MODPO: DPO on the pairs of one objective, the others' reward margins as an offset; one member per preference.

    Set `objective` to the name of the objective that `chosen` and `rejected` in the data express.
    """
    recipe = Recipe(
        name="modpo",
        collect=ScoredPairs(),
        losses={"preference": MODPO(beta=0.1)},
        reduce=bind(sequence_mean),
    )
    return with_options(recipe, changes)


@register("recipe", "sft", test=PINNED)
def sft(**changes: Any) -> Recipe:
    """Supervised fine-tuning on the `completion` column: mean negative log-likelihood of its tokens."""
    recipe = Recipe(name="sft", collect="examples", losses={"nll": bind(nll)}, reduce=bind(token_mean))
    return with_options(recipe, changes)
