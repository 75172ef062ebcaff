"""Customer-service replies: help, be brief, be kind, as a learned reward model sees kindness. Eight models.

Make the models first (within a minute): python -m moalign.tasks.replies models/replies
"""

from moalign import Linear, Objective, Simplex, Study, recipes
from moalign.tasks import replies

settings = {"steps": 60, "learning_rate": Linear(2e-3, 2e-4), "max_completion_length": replies.MAX_NEW_TOKENS}

study = Study(
    "replies",
    objectives=[
        Objective("helpful", replies.helpful, bounds=(0, 1)),  # verified
        Objective("brevity", replies.brevity, bounds=(0, 1)),  # 1 - tokens / 24
        Objective("courtesy", "models/replies/courtesy", bounds=(0, 1)),  # learned from pairwise judgements
        Objective("true_courtesy", replies.true_courtesy, bounds=(0, 1), optimize=False),  # what was judged by
    ],
    model="models/replies/base",
    train_dataset=replies.prompts("train"),
    eval_dataset=replies.prompts("dev"),
    test_dataset=replies.prompts("test"),
    recipe=recipes.hypervolume(**settings),
    members=8,
    preferences=Simplex(min={"helpful": 0.1}, max={"brevity": 0.6}),
    reference_point={"helpful": 0.0, "brevity": 0.0, "courtesy": 0.0},
)

# the same members, prompts and number of rollouts; each keeps its preference as fixed linear weights
baseline = study.replace(name="replies-fixed", recipe=recipes.linear(**settings))
