"""Tasks whose best front is known: which share of it does each scalarizer, controller and level reach?

    python -m benchmarks.known_fronts --tasks concave-2 linear-2 --seeds 3

A share is the value of the members by the task's criterion over the best value that so many can have.
"""

import statistics
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.harness import Claim, parser, quiet, report
from moalign import Linear as Decay
from moalign import recipes
from moalign.credit import AtReward
from moalign.errors import ConfigError
from moalign.objectives import Objective
from moalign.optimizers.indicators import igd_plus
from moalign.optimizers.simplex import riesz
from moalign.parts import build, named
from moalign.policies import Tabular
from moalign.records import Setting
from moalign.tasks.known_fronts import KnownFront, known_fronts
from moalign.training.loop import initial_state, train
from moalign.training.recipe import Recipe, knobs, with_options
from moalign.training.session import Session
from moalign.weighting import FromScalarizer, HypervolumeGradient

MEMBERS = {"means": 8, "samples": 16}  # by criterion; even preferences meet every arm only if they are many more
POINTS = 200
# small steps and many rollouts: on a concave front a mixture is held only while weights move faster than policies
BUDGET: dict[str, Any] = {
    "steps": 300,
    "prompts_per_step": 1,
    "num_generations": 256,
    "learning_rate": Decay(0.03, 0.003),
}
AT_ONCE = {"memory": 0.0, "smoothing": 0.0, "warmup": 0, "ramp": 1}  # of what a step shows
EXAMPLES = """  python -m benchmarks.known_fronts --json
  python -m benchmarks.known_fronts --arms expectation/guided --seeds 3"""


def main() -> None:
    """Run every arm on every task and print the shares."""
    made, arms = parser("known_fronts", "Shares of fronts that are known.", EXAMPLES), every_arm()
    made.add_argument("--tasks", nargs="+", choices=list(known_fronts()), default=list(known_fronts()), metavar="TASK")
    made.add_argument("--arms", nargs="+", choices=list(arms), default=list(arms), metavar="ARM", help="level/part")
    made.add_argument("--seeds", type=int, default=20, help="default: 20")
    options = made.parse_args()
    quiet()
    report(claims(options, arms), options.json, record="known_fronts" if options.record else None)


def claims(options: Namespace, arms: Mapping[str, Recipe]) -> list[Claim]:
    found = []
    for name in options.tasks:
        task = known_fronts()[name]
        best, front = task.best(MEMBERS[task.criterion]), task.points(POINTS)
        for arm in options.arms:
            ends = [odds(task, arms[arm], seed) for seed in range(options.seeds)]
            share = statistics.fmean(task.value(end) / best for end in ends)
            distance = statistics.fmean(igd_plus(task.reached(end), front) for end in ends)
            found.append(Claim(f"{name}, {arm}: share", share, None, "of the best found", options.seeds))
            found.append(Claim(f"{name}, {arm}: IGD+", distance, None, "", options.seeds))
    return found


def every_arm() -> dict[str, Recipe]:
    """Return a recipe for each level and what is bound there."""
    names = [name for name in named("scalarizer") if _has_defaults(name)]
    return {
        "advantage/linear": recipes.linear(**BUDGET),
        **{f"reward/{name}": recipes.grpo(**BUDGET, beta=0.0, **{"credit.collapse": AtReward(name)}) for name in names},
        **{
            f"expectation/{name}": recipes.hypervolume(**BUDGET, weighting=FromScalarizer(name, memory=0.0))
            for name in names
        },
        "expectation/guided": recipes.hypervolume(**BUDGET, weighting=HypervolumeGradient(**AT_ONCE)),
        "expectation/guided-chebyshev": recipes.hypervolume(
            **BUDGET, weighting=HypervolumeGradient("chebyshev", **AT_ONCE)
        ),
    }


def _has_defaults(name: str) -> bool:
    """Tell whether a scalarizer can be bound by its name alone; some need to be told about each objective."""
    try:
        build("scalarizer", name)
    except (ConfigError, TypeError):
        return False
    return True


def odds(task: KnownFront, recipe: Recipe, seed: int) -> torch.Tensor:
    """Train members from an even spread of preferences; return their probabilities by member, token and word."""
    m, members = task.objectives, MEMBERS[task.criterion]
    preferences = riesz(m, members, seed=0)
    names = [f"m{k}" for k in range(members)]
    policy = Tabular(members=names, prompts=1, tokens=task.words, vocabulary=len(task.arms))
    recipe = with_options(recipe, {"max_completion_length": task.words})
    env, zero = task.environment(seed=seed), torch.zeros(m)
    setting = Setting(env.names, torch.ones(m), zero, zero, torch.full((m,), torch.nan))
    session = Session(objectives=[Objective(name, len, bounds=(0, 1)) for name in env.names], setting=setting)
    state = initial_state(recipe, policy, preferences, setting, knobs(recipe, members))
    train(session, recipe, policy, env, state)
    return policy.tensors["logits"].detach().softmax(dim=3)[:, 0]


if __name__ == "__main__":
    main()
