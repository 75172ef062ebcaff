"""The arms: what is compared, each a study with the task's model, prompts, rewards and budget."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.results import offline
from benchmarks.results.controls import Replayed, Table, Walk, shuffled, time_mean, wander
from benchmarks.results.tasks import Task
from moalign import Linear, Study, recipes
from moalign.credit import AtReward
from moalign.optimizers.scalarizers import AugmentedChebyshev, SmoothChebyshev
from moalign.training.gap_fill import GapFill
from moalign.weighting import Constant, FromScalarizer, HypervolumeGradient

Changes = Mapping[str, Any]  # of a study, by dotted path

GUIDED, BASELINE, MEAN, WANDER = "hypervolume", "linear", "time-mean", "random-walk"
WARMUP = HypervolumeGradient().warmup


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


def _replayed(table: Callable[[Walk], Table]) -> Callable[[Task, Walk | None], Changes]:
    """The guided arm with weights that are written down beforehand, made of its own at the same seed."""

    def build(task: Task, walk: Walk | None) -> Changes:
        assert walk is not None, "this arm follows another"
        return _recipe(recipes.hypervolume, task, weighting=Replayed(table(walk)))

    return build


def _soups(task: Task, walk: Walk | None) -> Changes:
    """One specialist per objective, trained with the rollouts of all members; means cost nothing, so twice as many."""
    own, names = task.study, [o.name for o in task.study.trained()]
    steps = own.recipe.steps * own.members // len(names)
    soup = _recipe(recipes.rewarded_soup, task, steps=steps, **{"offer.count": 2 * own.members})
    corners = [{name: 1.0} for name in names]
    return {**soup, "members": len(names), "preferences": corners}


def _modpo(task: Task, walk: Walk | None) -> Changes:
    """Pairs that all members share: as many rows a step as the others train on, and an eighth of the texts."""
    own = task.study.recipe
    pairs = own.prompts_per_step * own.num_generations // 2
    modpo = _recipe(recipes.modpo, task, prompts_per_step=pairs, objective=task.expressed)
    return {**modpo, "train_dataset": offline.pairs(task)}


def _ric(task: Task, walk: Walk | None, **asked: float) -> Changes:
    """One set of parameters: as many completions as all members of the others sample, in more and smaller steps."""
    own = task.study
    budget = {"prompts_per_step": own.recipe.prompts_per_step * own.recipe.num_generations, "num_generations": 1}
    budget |= {"temperature": recipes.ric().temperature}
    steps = own.recipe.steps * own.members
    ric = _recipe(recipes.ric, task, steps=steps, **budget, **task.ric, **{f"offer.{k}": v for k, v in asked.items()})
    # prefixes cost nothing, so twice as many are asked for
    return {**ric, "train_dataset": offline.examples(task), "members": 2 * own.members}


def _gaps(task: Task, walk: Walk | None) -> Changes:
    """Fewer members, then a clone for each objective beside the widest gap: on average as many as the others have."""
    clones, at = len(task.study.trained()), 0.3
    first = max(round(task.study.members - (1 - at) * clones), 2)
    return {**_recipe(recipes.c_morl, task, breed=GapFill(at=at, parents=1, clones=clones)), "members": first}


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
        Arm("linear-raw", "the guided arm's credit with the preference as fixed weights: rewards are not standardised",
            lambda task, walk: _recipe(recipes.hypervolume, task, weighting=Constant())),
        Arm(MEAN, "control: fixed at the time-mean of the guided arm's weights, same seed; it needs a guided run first",
            _replayed(time_mean), follows=GUIDED),
        Arm(WANDER, "control: the guided arm's warm-up, then steps of the same lengths in random directions",
            _replayed(wander), follows=GUIDED),
        Arm("shuffled", "control: the guided arm's warm-up, then its own weights in another order in time",
            _replayed(shuffled), follows=GUIDED, tuned_as=GUIDED),
        Arm("chebyshev-sample", "augmented Chebyshev of each sample's rewards, E[u(r)]",
            lambda task, walk: _recipe(
                recipes.grpo, task, beta=0.0, **{"credit.collapse": AtReward(AugmentedChebyshev())})),
        Arm("chebyshev-mean", "smooth Chebyshev of the mean rewards, u(E[r])",
            lambda task, walk: _recipe(recipes.hypervolume, task, weighting=FromScalarizer(SmoothChebyshev()))),
        Arm("gdpo", "GDPO: each objective normalised, then summed with fixed weights",
            lambda task, walk: _recipe(recipes.gdpo, task)),
        Arm("sum-then-normalise", "GRPO on the weighted sum, TRL's default aggregation",
            lambda task, walk: _recipe(recipes.grpo, task, beta=0.0)),
        Arm("rewarded-soup", "one specialist per objective; the front is means of their parameters", _soups),
        Arm("c-morl", "C-MORL: fewer members, then constrained clones beside the widest gap", _gaps),
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
