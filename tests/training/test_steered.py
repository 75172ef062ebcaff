"""Controllers that read what an update tells, through the one loop."""

from collections.abc import Callable
from typing import Any

import torch

from moalign import recipes
from moalign.credit import AtGradient
from moalign.recipes import all_methods  # noqa: F401 - registers every part
from moalign.weighting import CovarianceTargets, GradientInfluence, GradNorm, HypervolumeGain, SampledPreferences

SMALL = {"steps": 6, "prompts_per_step": 2, "num_generations": 6, "max_completion_length": 2, "learning_rate": 0.2}
# two objectives that ask for different words; the second is ten times as large
WORTH = [[1.0, 0.0], [0.0, 10.0], [0.3, 4.0], [0.0, 0.0]]
Go = Callable[..., Any]


def weights_of(run: Any, name: str) -> torch.Tensor:
    """Return ``[step member]``."""
    return torch.tensor([record[f"weights/{name}"] for record in run.records])


def test_gradients_reach_the_controllers_that_weigh_by_them(world: Go, go: Go) -> None:
    for controller in (GradientInfluence(rate=30.0), GradNorm(lr=0.1)):
        recipe = recipes.mgda(weighting=controller, **{"update.mix": "linear"}, **SMALL)
        assert isinstance(recipe.credit.collapse, AtGradient) and recipe.problems() == []
        run = go(recipe, world(WORTH), [[0.5, 0.5], [0.8, 0.2]])
        found = weights_of(run, "a")
        assert (found[0] - torch.tensor([0.5, 0.8])).abs().max() < 1e-6  # nothing is known before the first step
        assert (found[-1] - found[0]).abs().min() > 1e-3
        assert all(x > 0 for record in run.records for x in record["gram/0__0"])


def test_covariances_reach_the_controller_and_are_told_of_every_step(world: Go, go: Go) -> None:
    recipe = recipes.gdpo(weighting=CovarianceTargets(targets={"b": 5.0}, target=0.0, rate=0.5), **SMALL)
    run = go(recipe, world(WORTH), [[0.5, 0.5]])
    found = weights_of(run, "b")[:, 0]
    assert bool((found[1:] > found[:-1]).all())  # b's covariance stays below a target that high
    assert {"covariance/a", "correlation/b", "covariance/b/deficit"} <= run.records[0].keys()
    assert all(abs(x) <= 1 for record in run.records for x in record["correlation/a"])


def test_a_gain_makes_the_advantages_of_the_next_step_larger(world: Go, go: Go) -> None:
    recipe = recipes.gdpo(weighting=HypervolumeGain(memory=0.0), **SMALL)
    run = go(recipe, world(WORTH), [[0.5, 0.5]])
    gains = [record["gain"][0] for record in run.records]
    assert gains[:2] == [1.0, 1.0] and all(0.5 <= gain <= 2.0 for gain in gains[2:])
    sizes = [record["advantages/combined/std"][0] for record in run.records]
    assert all(abs(size - gain) < 0.02 for size, gain in zip(sizes, gains))  # standardized, then multiplied


def test_sampled_preferences_weigh_each_prompt_by_its_own_draw(world: Go, go: Go) -> None:
    recipe = recipes.gdpo(weighting=SampledPreferences(per="prompt"), **SMALL)
    first, again = (go(recipe, world(WORTH), [[0.5, 0.5]]) for _ in range(2))
    assert torch.equal(weights_of(first, "a"), weights_of(again, "a"))
    assert len(weights_of(first, "a").unique()) == SMALL["steps"]
