"""The arms: what is compared, each a study that differs from the task's own in one thing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.results.controls import Replayed, Walk, wander
from benchmarks.results.tasks import Task
from moalign import Linear, Study, recipes
from moalign.credit import AtReward
from moalign.optimizers.scalarizers import AugmentedChebyshev, SmoothChebyshev
from moalign.training.gap_fill import GapFill
from moalign.weighting import FromScalarizer, HypervolumeGradient

Changes = Mapping[str, Any]  # of a study, by dotted path

GUIDED, BASELINE, MEAN, WANDER = "hypervolume", "linear", "time-mean", "random-walk"


@dataclass(frozen=True)
class Arm:
    """One line of the table: `build(task, walk)` gives the changes to the task's study."""

    name: str
    what: str  # one line for the page
    build: Callable[[Task, Walk | None], Changes]
    follows: str | None = None  # the arm whose weights it needs, at the same seed
    tuned_as: str | None = None  # the arm whose tuning trials it shares, being the same method
    offline: bool = False  # learns from data: its rewards while training are the data's, so it has no curve
    rate: Linear | None = None  # learning rate, where it is of another kind than the task's


def _recipe(recipe: Any, task: Task, **changes: Any) -> Changes:
    """Return a recipe at the task's budget."""
    own = task.study.recipe
    budget = ("steps", "prompts_per_step", "num_generations", "max_completion_length", "learning_rate", "temperature")
    return {"recipe": recipe(**{name: getattr(own, name) for name in budget} | changes)}


def _replayed(task: Task, walk: Walk | None, table: Any) -> Changes:
    return _recipe(recipes.hypervolume, task, weighting=Replayed(table)) if walk else {}


def _soups(task: Task, walk: Walk | None) -> Changes:
    """One specialist per objective, with the rollouts of all members shared among them."""
    own, names = task.study, [o.name for o in task.study.trained()]
    prompts = own.recipe.prompts_per_step * own.members // len(names)
    soup = _recipe(recipes.rewarded_soup, task, prompts_per_step=max(prompts, 1), **{"offer.count": own.members})
    corners = [{name: 1.0} for name in names]
    return {**soup, "members": len(names), "preferences": corners}


def _modpo(task: Task, walk: Walk | None) -> Changes:
    """Pairs for every member: as many completions a step as the others sample."""
    own = task.study.recipe
    pairs = own.prompts_per_step * own.num_generations // 2
    modpo = _recipe(recipes.modpo, task, prompts_per_step=pairs, objective=task.expressed)
    return {**modpo, "train_dataset": task.pairs()}


def _ric(task: Task, walk: Walk | None, **asked: float) -> Changes:
    """One set of parameters: as many completions as all members of the others sample, in more and smaller steps."""
    own = task.study
    budget = {"prompts_per_step": own.recipe.prompts_per_step * own.recipe.num_generations, "num_generations": 1}
    budget |= {"temperature": recipes.ric().temperature}
    steps = own.recipe.steps * own.members
    ric = _recipe(recipes.ric, task, steps=steps, **budget, **task.ric, **{f"offer.{k}": v for k, v in asked.items()})
    return {**ric, "train_dataset": task.examples()}


def _gaps(task: Task, walk: Walk | None) -> Changes:
    """Fewer members first, then clones beside the gaps: on average as many as the others have."""
    members = task.study.members
    clones = max(members * 3 // 8, 1)
    breed = GapFill(parents=clones, clones=1)
    return {**_recipe(recipes.c_morl, task, breed=breed), "members": max(members - clones + clones // 2, 2)}


ARMS = {
    arm.name: arm
    for arm in (
        Arm(GUIDED, "weights follow the hypervolume's gradient; dominated members climb to their own rank's front",
            lambda task, walk: _recipe(recipes.hypervolume, task)),
        Arm("hypervolume-chebyshev", "the same; dominated members repair their largest regret",
            lambda task, walk: _recipe(
                recipes.hypervolume, task, weighting=HypervolumeGradient(dominated="chebyshev"))),
        Arm(BASELINE, "each member keeps its preference as weights: the baseline",
            lambda task, walk: _recipe(recipes.linear, task)),
        Arm(MEAN, "control: fixed at the time-mean of the guided arm's weights, same seed",
            lambda task, walk: _replayed(task, walk, walk and walk.mean_table()), follows=GUIDED),
        Arm(WANDER, "control: from the guided arm's first weights, steps of the same lengths in random directions",
            lambda task, walk: _replayed(task, walk, walk and wander(walk)), follows=GUIDED),
        Arm("chebyshev-sample", "augmented Chebyshev of each sample's rewards, E[u(r)]",
            lambda task, walk: _recipe(
                recipes.grpo, task, beta=0.0, **{"credit.collapse": AtReward(AugmentedChebyshev())})),
        Arm("chebyshev-mean", "smooth Chebyshev of the mean rewards, u(E[r])",
            lambda task, walk: _recipe(recipes.hypervolume, task, weighting=FromScalarizer(SmoothChebyshev()))),
        Arm("gdpo", "GDPO: each objective normalised, then summed with fixed weights",
            lambda task, walk: _recipe(recipes.gdpo, task)),
        Arm("sum-then-normalise", "GRPO on the weighted sum, TRL's default",
            lambda task, walk: _recipe(recipes.grpo, task, beta=0.0)),
        Arm("rewarded-soup", "one specialist per objective; the front is means of their parameters", _soups),
        Arm("c-morl", "C-MORL: fewer members, then clones beside the gaps under constraints", _gaps),
        Arm("modpo", "MODPO: preference pairs, the other objectives' margins as offset", _modpo, offline=True),
        Arm("ric", "RiC: one model that reads its target rewards in the prompt", _ric, offline=True,
            rate=Linear(5e-3, 5e-4)),
        Arm("ric-floor", "the same, asked for at least 0.4 of the range of every reward (not in the paper)",
            lambda task, walk: _ric(task, walk, floor=0.4), offline=True, rate=Linear(5e-3, 5e-4), tuned_as="ric"),
        Arm("linear-4x", "the baseline with four times the members and rollouts; at most as many points are kept",
            lambda task, walk: {**_recipe(recipes.linear, task), "members": 4 * task.study.members},
            tuned_as=BASELINE),
    )
}  # fmt: skip


def study_of(task: Task, arm: Arm, *, seed: int, scale: float, walk: Walk | None, eval_prompts: int) -> Study:
    """Return the study of one run: `scale` multiplies the task's learning rate, the one thing that is tuned."""
    changed = task.study.replace(**arm.build(task, walk))
    rate = arm.rate or task.study.recipe.learning_rate
    return changed.replace(
        **{
            "name": f"{task.name}-{arm.name}",
            "seed": seed,
            "eval_prompts": eval_prompts,
            "save_rollouts": 0,
            "save_steps": 10**6,  # a run is short and begins anew
            "recipe.learning_rate": Linear(rate.start * scale, rate.end * scale),
        }
    )
