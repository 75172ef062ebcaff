"""Parts that do not fit together say so before anything is trained."""

from dataclasses import dataclass
from typing import Any

import pytest

from moalign import recipes
from moalign.credit import CreditPipeline
from moalign.parts import Linear, PerMember, bind
from moalign.training.recipe import Recipe
from moalign.weighting import FromScalarizer, HypervolumeGradient

RAW = "weighs rewards in their own units"


REQUIRED: dict[str, dict[str, Any]] = {"f-grpo": {"route": {"a": "after"}}}  # what a recipe cannot know by itself


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_every_recipe_fits(name: str) -> None:
    assert recipes.RECIPES[name](**REQUIRED.get(name, {})).problems() == []
    assert name not in REQUIRED or recipes.RECIPES[name]().problems() != []


@pytest.mark.parametrize("weighting", [HypervolumeGradient(), FromScalarizer()])
@pytest.mark.parametrize("name", ["gdpo", "linear", "lagrangian", "mgda"])
def test_slopes_in_raw_units_are_not_divided_by_a_spread(name: str, weighting: Any) -> None:
    (problem,) = recipes.RECIPES[name](weighting=weighting).problems()
    assert RAW in problem
    assert recipes.RECIPES[name](weighting=weighting, scale=False).problems() == []


def test_a_normalizer_divides_too() -> None:
    recipe = recipes.hypervolume()
    normalized = recipes.hypervolume(normalize="group")
    assert not recipe.credit.scales_objectives and normalized.credit.scales_objectives
    assert RAW in normalized.problems()[0]


def test_the_spread_of_the_sum_does_no_harm() -> None:
    assert recipes.grpo(weighting=HypervolumeGradient()).problems() == []
    assert not CreditPipeline().scales_objectives


def test_clones_under_constraints_need_the_controller_that_has_them() -> None:
    assert "lagrangian" in recipes.gdpo(breed="gap-fill").problems()[0]
    assert recipes.c_morl().problems() == []


def test_only_knobs_move() -> None:
    good = recipes.gdpo(learning_rate=Linear(1.0, 0.0), epsilon=PerMember((0.1, 0.2)), beta=PerMember((0.0, 0.1)))
    assert good.problems() == []
    bad: Recipe = recipes.hypervolume(target=PerMember((0.6, 6.0)))
    assert bad.problems() == ["`recipe.credit.rescale.target` is one fixed number: neither a schedule nor PerMember."]


def test_bound_options_of_plain_functions() -> None:
    from moalign.credit import group_relative
    from moalign.parts import may_move

    assert not may_move(bind(group_relative), "eps") and not may_move(group_relative, "scale")


@dataclass(frozen=True)
class Choosy:
    """A loss that fits nothing."""

    def problems(self, recipe: Any) -> list[str]:
        return [f"not with {recipe.name}"]

    def __call__(self, outputs: Any, rows: Any, credit: Any) -> Any:
        return credit.advantages


def test_a_loss_is_asked_too() -> None:
    assert recipes.gdpo(losses={"choosy": Choosy()}).problems() == ["not with gdpo"]
