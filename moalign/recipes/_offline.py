"""Recipes that learn from completions in the data."""

from typing import Any

from moalign.losses import MODPO, PreferenceLoss, nll, sequence_mean, token_mean
from moalign.losses import dpo as dpo_link
from moalign.parts import Linear, bind, register
from moalign.rollouts.rewards_in_context import RewardsInContext
from moalign.rollouts.scored_pairs import ScoredPairs
from moalign.training.in_context import InContext
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


@register("recipe", "ric", paper="yang2024ric", test=PINNED)
def ric(**changes: Any) -> Recipe:
    """Rewards-in-Context: one adapter, fine-tuned on prompts that tell the rewards; each preference is a prefix.

    Learns from the `completion` column, then from its own samples, too: `online` is when, `offer.target` which map
    makes rewards of a preference, `collect.text` how rewards are written. Adapters in the paper's code have rank 64
    and alpha 128; its offline steps have a rate that falls from 1.414e-4, its online steps 1e-5.
    """
    recipe = Recipe(
        name="ric",
        collect=RewardsInContext(),
        losses={"nll": bind(nll)},
        reduce=bind(token_mean),
        offer=InContext(),
        num_generations=1,
        temperature=0.7,
        eval_temperature=1.0,
        learning_rate=Linear(1.414e-4, 1e-5),
    )
    return with_options(recipe, changes)


@register("recipe", "sft", test=PINNED)
def sft(**changes: Any) -> Recipe:
    """Supervised fine-tuning on the `completion` column: mean negative log-likelihood of its tokens."""
    recipe = Recipe(name="sft", collect="examples", losses={"nll": bind(nll)}, reduce=bind(token_mean))
    return with_options(recipe, changes)
