"""Recipes that compare the completions of a prompt with each other."""

from typing import Any

from moalign.credit import (
    AtAdvantage,
    AtGradient,
    AtReward,
    CreditPipeline,
    Routed,
    batch_centred,
    group_relative,
    leave_one_out,
)
from moalign.losses import KL, PolicyLoss, constant, constant_bounds, sequence_mean, token_mean
from moalign.parts import bind, register
from moalign.rollouts.segmented import Segmented
from moalign.training.recipe import Recipe, with_options
from moalign.weighting import GRPOLambda

PINNED = "tests/recipes/test_recipes.py::test_bindings"


@register("recipe", "grpo", paper="shao2024deepseekmath", test=PINNED)
def grpo(**changes: Any) -> Recipe:
    """GRPO with the paper's settings: group-standardized reward sum, sequence-mean loss, k3 penalty of 0.04.

    Shao et al. 2024, section 4.2: 64 completions, at most 1,024 tokens, learning rate 1e-6, one update per batch.
    """
    recipe = Recipe(
        name="grpo",
        credit=CreditPipeline(estimate=bind(group_relative, scale=True), collapse=AtReward()),
        losses={"policy": PolicyLoss(bounds=bind(constant_bounds, epsilon=0.2)), "kl": KL(beta=0.04)},
        reduce=bind(sequence_mean),
        num_generations=64,
        max_completion_length=1024,
        learning_rate=1e-6,
    )
    return with_options(recipe, changes)


@register("recipe", "balanced_grpo", paper="zeng2026balanced", test=PINNED)
def balanced_grpo(**changes: Any) -> Recipe:
    """GRPO with balanced aggregation: tokens averaged within one sign of the advantage, then the signs by rows."""
    return with_options(grpo(name="balanced_grpo", reduce="balanced"), changes)


@register("recipe", "dr_grpo", paper="liu2025drgrpo", test=PINNED)
def dr_grpo(**changes: Any) -> Recipe:
    """Dr. GRPO: advantages only centred, token losses summed over a constant; no bias by difficulty or length."""
    recipe = Recipe(
        name="dr_grpo",
        credit=CreditPipeline(estimate=bind(group_relative, scale=False), collapse=AtReward()),
        losses={"policy": PolicyLoss(bounds=bind(constant_bounds, epsilon=0.2)), "kl": KL(beta=0.0)},
        reduce=bind(constant),
    )
    return with_options(recipe, changes)


@register("recipe", "gdpo", paper="liu2026gdpo", test=PINNED)
def gdpo(**changes: Any) -> Recipe:
    """GDPO: each objective standardized in its group, weighted, summed, then standardized over the batch.

    The default recipe: a weight then acts as stated, whatever the objectives' scales and difficulty.
    """
    recipe = Recipe(
        name="gdpo",
        credit=CreditPipeline(
            estimate=bind(group_relative, scale=True), collapse=AtAdvantage(), rescale="batch_standardize"
        ),
        losses={"policy": PolicyLoss(bounds=bind(constant_bounds, epsilon=0.2)), "kl": KL(beta=0.0)},
        reduce=bind(token_mean),
    )
    return with_options(recipe, changes)


@register("recipe", "grpo_lambda", paper="dai2025grpolambda", test=PINNED)
def grpo_lambda(**changes: Any) -> Recipe:
    """GRPO-λ: groups that do best on the main objective get the whole preference, the others that objective alone."""
    return with_options(grpo(name="grpo_lambda", weighting=GRPOLambda()), changes)


@register("recipe", "f_grpo", paper="surana2026fgrpo", test=PINNED)
def f_grpo(**changes: Any) -> Recipe:
    """F-GRPO: each objective standardized in its group, its advantage given only to the segments it is about.

    Set `route`, such as ``{"coverage": "before", "ranking": "after"}``, and the `delimiters` between segments ("#");
    the other settings are GRPO's.
    """
    credit = CreditPipeline(estimate=bind(group_relative, scale=True), collapse=AtGradient(), place=Routed())
    return with_options(grpo(name="f_grpo", collect=Segmented(), credit=credit), changes)


@register("recipe", "gspo", paper="zheng2025gspo", test=PINNED)
def gspo(**changes: Any) -> Recipe:
    """GSPO: GRPO's advantages with one length-normalised ratio per sequence, clipped far more tightly."""
    loss = PolicyLoss(ratio="sequence", bounds=bind(constant_bounds, epsilon=3e-4, epsilon_high=4e-4))
    return with_options(
        grpo(num_generations=8), {"name": "gspo", "losses": {"policy": loss, "kl": KL(beta=0.0)}} | changes
    )


@register("recipe", "rloo", paper="ahmadian2024rloo", test=PINNED)
def rloo(**changes: Any) -> Recipe:
    """RLOO: the baseline of a completion is the mean reward of its prompt's other completions; no clipping."""
    recipe = Recipe(
        name="rloo",
        credit=CreditPipeline(estimate=bind(leave_one_out), collapse=AtReward()),
        losses={"policy": PolicyLoss(surrogate="plain"), "kl": KL(beta=0.0)},
        reduce="sequence_sum",
        num_generations=4,
    )
    return with_options(recipe, changes)


@register("recipe", "reinforce", paper="williams1992reinforce", test=PINNED)
def reinforce(**changes: Any) -> Recipe:
    """REINFORCE with the batch's mean reward as baseline."""
    recipe = Recipe(
        name="reinforce",
        credit=CreditPipeline(estimate=bind(batch_centred), collapse=AtReward()),
        losses={"policy": PolicyLoss(surrogate="plain"), "kl": KL(beta=0.0)},
        reduce="sequence_sum",
    )
    return with_options(recipe, changes)
