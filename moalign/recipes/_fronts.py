"""Recipes whose members make a front together."""

from typing import Any

from moalign.credit import AtAdvantage, AtGradient, CreditPipeline, group_relative, to_std
from moalign.losses import KL, PolicyLoss, constant
from moalign.parts import bind, register
from moalign.recipes._group import gdpo
from moalign.training.descent import Descent
from moalign.training.gap_fill import GapFill
from moalign.training.offers import Soups
from moalign.training.recipe import Recipe, with_options
from moalign.weighting import Constant, HypervolumeGradient, Lagrangian

PINNED = "tests/recipes/test_recipes.py::test_bindings"


def _sized(name: str, *, scale: bool, weighting: Any, changes: dict[str, Any]) -> Recipe:
    """Objectives weighted at the advantage, the sum brought to one spread, one on-policy update a step."""
    recipe = Recipe(
        name=name,
        credit=CreditPipeline(
            estimate=bind(group_relative, scale=scale), collapse=AtAdvantage(), rescale=bind(to_std, target=0.6)
        ),
        losses={"policy": PolicyLoss(), "kl": KL(beta=0.0)},
        reduce=bind(constant),
        weighting=weighting,
    )
    return with_options(recipe, changes)


@register("recipe", "hypervolume", paper="deist2021hypervolume", test=PINNED)
def hypervolume(**changes: Any) -> Recipe:
    """Weights are the gradient of the members' joint hypervolume at their running means: u(E[r]), u = hypervolume.

    Advantages stay in the rewards' own units (only centred), because that is what the gradient weighs.
    """
    return _sized("hypervolume", scale=False, weighting=HypervolumeGradient(), changes=changes)


@register("recipe", "linear", test=PINNED)
def linear(**changes: Any) -> Recipe:
    """Each member keeps its preference as weights on standardized objectives: the baseline of every comparison."""
    return _sized("linear", scale=True, weighting=Constant(), changes=changes)


@register("recipe", "lagrangian", paper="dai2023saferlhf", test=PINNED)
def lagrangian(**changes: Any) -> Recipe:
    """Objectives with a threshold are constraints: their multipliers grow while the mean falls short (PPO-Lag)."""
    return _sized("lagrangian", scale=True, weighting=Lagrangian(), changes=changes)


@register("recipe", "mgda", paper="sener2018multitask", test=PINNED)
def mgda(**changes: Any) -> Recipe:
    """One loss per objective; the gradients are mixed to the common descent direction of least norm."""
    start = gdpo(
        name="mgda",
        credit=CreditPipeline(estimate=bind(group_relative, scale=True), collapse=AtGradient()),
        update=Descent(mix="min-norm"),
    )
    return with_options(start, changes)


@register("recipe", "c_morl", paper="liu2024cmorl", test=PINNED)
def c_morl(**changes: Any) -> Recipe:
    """C-MORL: members per preference; halfway, those beside the widest gaps are cloned and climb under constraints."""
    return with_options(lagrangian(name="c_morl", breed=GapFill()), changes)


@register("recipe", "rewarded_soup", paper="rame2023rewarded", test=PINNED)
def rewarded_soup(**changes: Any) -> Recipe:
    """Rewarded soups: one specialist per objective, and the front is their interpolations (exact in the product B·A).

    Set `members` to the number of objectives; `offer.count` is how many soups are valued.
    """
    return with_options(gdpo(name="rewarded_soup", offer=Soups()), changes)
