"""Multi-digit addition: be right, be brief, show your steps. Eight models along the trade-off, from one command.

Make the base model first (about a minute): python -m moalign.tasks.arithmetic models/arithmetic
"""

from moalign import Linear, Objective, Simplex, Study, recipes
from moalign.tasks import arithmetic

settings = {"steps": 90, "learning_rate": Linear(2e-3, 2e-4), "max_completion_length": 26}

study = Study(
    "arithmetic",
    objectives=[
        Objective("accuracy", arithmetic.accuracy, bounds=(0, 1)),  # verified
        Objective("brevity", arithmetic.brevity, bounds=(0, 1)),  # 1 - tokens / 32
        Objective("clarity", arithmetic.clarity, bounds=(0, 1)),  # steps in the agreed layout
    ],
    model="models/arithmetic",
    train_dataset=arithmetic.prompts("train"),
    eval_dataset=arithmetic.prompts("dev"),
    test_dataset=arithmetic.prompts("test"),
    recipe=recipes.hypervolume(**settings),
    members=8,
    preferences=Simplex(min={"accuracy": 0.1}, max={"brevity": 0.6}),
    reference_point={"accuracy": 0.0, "brevity": 0.0, "clarity": 0.0},
)

# the same members, prompts and number of rollouts; each keeps its preference as fixed linear weights
baseline = study.replace(name="arithmetic-fixed", recipe=recipes.linear(**settings))
