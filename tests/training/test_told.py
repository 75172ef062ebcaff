"""Options by name: a recipe is told which objective stands where, and nothing else of it changes."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign import Objective, recipes
from moalign.credit import AtReward, CreditPipeline
from moalign.optimizers.scalarizers import Axes, Desirability, Gated, HypervolumeScalarizer, Maximum, Minimum
from moalign.parts import get, spec, walk
from moalign.training.fitting import misfits
from moalign.training.told import told
from moalign.weighting import FromScalarizer

OBJECTIVES = (Objective("correct"), Objective("tokens", maximize=False))
CURVES = Desirability({"tokens": Minimum(100, 300), "correct": Maximum(0, 1)})  # in any order


def recipe_with(scalarizer):
    return replace(recipes.gdpo(steps=1), credit=CreditPipeline(collapse=AtReward(scalarizer)))


def test_a_recipe_learns_its_columns() -> None:
    recipe = recipe_with(CURVES)
    knowing = told(recipe, OBJECTIVES)
    assert get(knowing, "credit.collapse.scalarizer") == CURVES.told(Axes(("correct", "tokens"), (1, -1)))
    assert get(recipe, "credit.collapse.scalarizer") == CURVES  # the user's own stays
    values = torch.tensor([0.64, -200.0]).view(1, 1, 1, 2)
    utility, _ = knowing.credit.collapse.before(
        values, torch.ones_like(values).bool(), torch.ones_like(values), torch.ones_like(values)
    )
    assert_close(utility.flatten(), torch.tensor([(0.64 * 0.5) ** 0.5]))


def test_controllers_learn_it_too_and_what_has_no_names_stays() -> None:
    recipe = replace(
        recipe_with("chebyshev"), weighting=FromScalarizer(HypervolumeScalarizer({"correct": 0.0, "tokens": 400}))
    )
    knowing = told(recipe, OBJECTIVES)
    assert get(knowing, "weighting.scalarizer.axes") == Axes(("correct", "tokens"), (1, -1))
    assert replace(knowing, weighting=recipe.weighting) == recipe and knowing.problems() == recipe.problems() == []
    without = recipes.gdpo(steps=1)
    assert spec(told(without, OBJECTIVES)) == spec(without)


def test_one_number_or_one_by_name_are_both_fitting() -> None:
    for reference in (0.5, {"correct": 0.5, "tokens": 400}):
        assert misfits(HypervolumeScalarizer(reference), "scalarizer") == []


def test_names_are_seen_by_the_check_of_a_study() -> None:
    recipe = recipe_with(Gated({"tokens": "correct"}, {"correct": 1.0}))
    named = {name for _, value in walk(recipe) for name in getattr(value, "objectives", ())}
    assert named == {"correct", "tokens"}


@pytest.mark.parametrize(
    "scalarizer", [CURVES, Gated({"tokens": "correct"}, {"correct": 1.0}), HypervolumeScalarizer()]
)
def test_a_normalizer_would_take_the_units_away(scalarizer) -> None:
    collapse, name = AtReward(scalarizer), type(scalarizer).__name__
    scaled = replace(recipe_with("linear"), credit=CreditPipeline(normalize="batch", collapse=collapse))
    assert any(f"`{name}` measures rewards in their own units" in said for said in scaled.problems())
    assert recipe_with(scalarizer).problems() == []


def test_a_normalizer_does_not_disturb_what_has_no_units() -> None:
    scaled = replace(recipe_with("linear"), credit=CreditPipeline(normalize="batch", collapse=AtReward(Gated())))
    assert scaled.problems() == []
