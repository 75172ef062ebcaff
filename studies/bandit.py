"""A bandit whose best front is known: how near do guided members come to 4/9, and fixed weights?

Write the base model first (a few seconds): python -m moalign.tasks.bandit models/bandit
"""

from moalign import Linear, Objective, Study, recipes
from moalign.tasks import bandit
from moalign.weighting import HypervolumeGradient

settings = {
    "steps": 100,
    "num_generations": 16,
    "learning_rate": Linear(3e-3, 1e-4),  # ends low: a step must be small beside the gap between two members
    "max_completion_length": 2,  # the arm and the end token
}

study = Study(
    "bandit",
    objectives=[
        Objective("x", bandit.x, bounds=(0, 1)),
        Objective("y", bandit.y, bounds=(0, 1)),
    ],
    model="models/bandit",
    train_dataset=bandit.prompts("train"),
    eval_dataset=bandit.prompts("dev"),
    test_dataset=bandit.prompts("test"),
    # a short warm-up: a member that has gone to a corner never draws the other arm again, and finds no way back
    recipe=recipes.hypervolume(weighting=HypervolumeGradient(warmup=3, ramp=3, memory=0.5), **settings),
    members=8,
    preferences="simplex",
    reference_point={"x": 0.0, "y": 0.0},
)

# each member keeps its preference as fixed linear weights: it ends at A or at B, and the ends cover nothing
baseline = study.replace(name="bandit-fixed", recipe=recipes.linear(**settings))
