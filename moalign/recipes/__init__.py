"""Recipes: a paper's method as a named binding of parts, with its reference and its settings.

A recipe is a function of changes: fields of `Recipe`, or options of its parts by name or dotted path.

>>> from moalign import recipes
>>> recipe = recipes.gdpo(steps=200, num_generations=4, epsilon=0.3)
>>> recipe.steps, recipe.losses["policy"].bounds.options
(200, (('epsilon', 0.3),))
"""

from collections.abc import Callable

from moalign.parts import REGISTRY, Method
from moalign.recipes._bounded import ar3po, dcpo, gfpo, knapsack_grpo, trust_region
from moalign.recipes._critic import vapo
from moalign.recipes._fronts import c_morl, hypervolume, lagrangian, linear, mgda, rewarded_soup
from moalign.recipes._group import balanced_grpo, dr_grpo, f_grpo, gdpo, grpo, grpo_lambda, gspo, reinforce, rloo
from moalign.recipes._offline import dpo, modpo, ric, sft
from moalign.recipes._self_play import inpo
from moalign.recipes._trl import from_trl
from moalign.training.recipe import Recipe

RECIPES: dict[str, Callable[..., Recipe]] = {
    method.name: method.part for method in REGISTRY.values() if method.kind == "recipe"
}


def all_methods() -> list[Method]:
    """Return every registered part, reward and recipe, by kind and name."""
    import moalign.rewards  # noqa: F401 - no recipe holds a reward, so nothing else registers them

    return [REGISTRY[key] for key in sorted(REGISTRY)]


__all__ = [
    "RECIPES",
    "all_methods",
    "ar3po",
    "balanced_grpo",
    "c_morl",
    "dcpo",
    "dpo",
    "dr_grpo",
    "f_grpo",
    "from_trl",
    "gdpo",
    "gfpo",
    "grpo",
    "grpo_lambda",
    "gspo",
    "hypervolume",
    "inpo",
    "knapsack_grpo",
    "lagrangian",
    "linear",
    "mgda",
    "modpo",
    "reinforce",
    "rewarded_soup",
    "ric",
    "rloo",
    "sft",
    "trust_region",
    "vapo",
]
