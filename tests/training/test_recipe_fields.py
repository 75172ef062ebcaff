"""Values of the wrong kind are found in any field of a recipe before anything runs."""

from typing import Any

import pytest
import torch

from moalign import Linear, PerMember, recipes
from moalign.losses import KL
from moalign.recipes import RECIPES
from moalign.training.fitting import misfits


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_fits_itself(name: str) -> None:
    assert misfits(RECIPES[name]()) == []


# of dataclasses' fields only those that are not checked by their own annotation while tests run
@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("weighting", [1], "`recipe.weighting` must be a controller or the name of one, got [1]."),
        ("weighting", recipes.grpo(), "`recipe.weighting` must be a controller or the name of one"),
        ("breed", None, "`recipe.breed` must be a breeder or the name of one, got None."),
        ("update.passes", True, "`recipe.update.passes` must be an integer, got True."),
        ("losses.policy.bounds.epsilon", {"a": 1}, "`recipe.losses.policy.bounds.epsilon` must be a number"),
        ("losses.kl", 3, "`recipe.losses.kl` must be a part, got 3."),
        ("credit.estimate.scale", "yes", "`recipe.credit.estimate.scale` must be True or False, got 'yes'."),
    ],
)
def test_says_what_a_field_wants(path: str, value: Any, said: str) -> None:
    (problem,) = recipes.gdpo(**{path: value}).problems()
    assert problem.startswith(said)


@pytest.mark.parametrize("value", [0, 0.1, torch.tensor(0.1), Linear(0.1, 0.0), PerMember([0.1, 0.2])])
def test_a_knob_takes_numbers_and_what_moves(value: Any) -> None:
    assert misfits(KL(beta=value)) == []


def test_mappings_that_are_options_are_let_be() -> None:
    assert recipes.f_grpo(route={"accuracy": "after"}).problems() == []


def test_a_rescaler_may_be_left_out() -> None:
    assert recipes.gdpo(**{"credit.rescale": None}).problems() == []
