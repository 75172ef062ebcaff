"""Recipes whose advantages come from value heads."""

from typing import Any

from moalign.credit import GAE
from moalign.losses import KL, ByTerm, PolicyLoss, constant_bounds, nll, positives, value_mse
from moalign.parts import After, bind, register
from moalign.training.descent import Descent
from moalign.training.recipe import Recipe, with_options

PINNED = "tests/recipes/test_recipes.py::test_bindings"
WARMUP = 0.01  # of the run: 50 of the paper's 5,000 steps


@register("recipe", "vapo", paper="yue2025vapo", test=PINNED)
def vapo(**changes: Any) -> Recipe:
    """VAPO: PPO on value heads, one per objective; the heads learn alone at first, λ grows with length.

    Yue et al. 2025, section 5: clipping of 0.2 and 0.28, token mean, 16 completions of a prompt, learning rate 1e-6, a
    likelihood term of 0.1 on completions that solved. Its 16 mini-batches a step are two passes over the whole batch
    here, its critic is a linear head on the policy's last layer, learning at the policy's rate.
    """
    recipe = Recipe(
        name="vapo",
        credit=GAE(alpha=0.05, gamma=1.0, lambda_critic=1.0),
        losses={
            "policy": PolicyLoss(
                bounds=bind(constant_bounds, epsilon=0.2, epsilon_high=0.28), coefficient=After(WARMUP)
            ),
            "positive": bind(nll, coefficient=After(WARMUP, 0.1)),
            "value": bind(value_mse),
            "kl": KL(beta=0.0),
        },
        reduce=ByTerm(terms={"positive": bind(positives)}),
        update=Descent(passes=2),
        num_generations=16,
        learning_rate=1e-6,
    )
    return with_options(recipe, changes)
