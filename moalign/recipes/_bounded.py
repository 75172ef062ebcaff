"""Recipes that limit what a step may learn from or how far it may go."""

from typing import Any

from moalign.losses import KL, PolicyLoss, constant_bounds
from moalign.parts import bind, register
from moalign.recipes._group import dr_grpo, grpo
from moalign.rollouts.ar3po import AR3PO
from moalign.rollouts.gfpo import GFPO
from moalign.rollouts.knapsack import Knapsack
from moalign.training.line_search import LineSearch
from moalign.training.recipe import Recipe, with_options

PINNED = "tests/recipes/test_recipes.py::test_bindings"


@register("recipe", "gfpo", paper="shrivastava2025gfpo", test=PINNED)
def gfpo(**changes: Any) -> Recipe:
    """GFPO: sample a larger group and learn only from the completions that a second metric retains."""
    return with_options(grpo(name="gfpo", num_generations=16, collect=GFPO()), changes)


@register("recipe", "ar3po", paper="zhang2025ar3po", test=PINNED)
def ar3po(**changes: Any) -> Recipe:
    """AR3PO's adaptive rollout: two rounds, the second only for prompts that the first did not solve."""
    return with_options(grpo(name="ar3po", num_generations=8, collect=AR3PO()), changes)


@register("recipe", "knapsack_grpo", paper="li2025knapsack", test=PINNED)
def knapsack_grpo(**changes: Any) -> Recipe:
    """Knapsack RL's allocation: easy prompts get fewer completions and hard ones more, the same number in all."""
    return with_options(grpo(name="knapsack_grpo", num_generations=8, collect=Knapsack()), changes)


@register("recipe", "dcpo", paper="yang2025dcpo", test=PINNED)
def dcpo(**changes: Any) -> Recipe:
    """DCPO's clipping: each token's bounds follow from its old probability, wider for rare tokens; two passes."""
    losses = {"policy": PolicyLoss(bounds="dcpo"), "kl": KL(beta=0.0)}
    return with_options(grpo(name="dcpo", num_generations=16, losses=losses, passes=2), changes)


@register("recipe", "trust_region", paper="schulman2015trpo", test=PINNED)
def trust_region(**changes: Any) -> Recipe:
    """TRPO's line search on each member: the largest step that improves the surrogate within a bound on the KL."""
    losses = {"policy": PolicyLoss(bounds=bind(constant_bounds, epsilon=1e9))}  # ratio × advantage, never clipped
    return with_options(dr_grpo(name="trust_region", update=LineSearch(), losses=losses, learning_rate=1.0), changes)
