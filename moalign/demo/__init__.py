"""The demo: a small study of the arithmetic task, on a base model that ships inside the package.

So `moalign demo` needs no training of a base model and no network. `moalign.demo.make` made the model: the task's own
(`moalign.tasks.arithmetic`), stored in bfloat16.
Load it in float32 on a CPU: ``AutoModelForCausalLM.from_pretrained(base_path(), dtype=torch.float32)``.

>>> sorted(path.name for path in base_path().glob("*.safetensors"))
['model.safetensors']
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moalign.study import Study


def base_path() -> Path:
    """Return the directory of the demo's base model: at most 3 MB, Hugging Face format, bfloat16."""
    return Path(__file__).parent / "base"


def demo_study(*, members: int = 4, steps: int = 32, seed: int = 0) -> "Study":
    """Return the study that `moalign demo` runs: accuracy, brevity and clarity of two-digit sums.

    >>> study = demo_study(members=3, steps=20)
    >>> study.name, study.members, study.recipe.steps
    ('demo', 3, 20)
    """
    from moalign import Objective, Study, recipes
    from moalign.tasks import arithmetic
    from moalign.weighting import HypervolumeGradient

    return Study(
        "demo",
        objectives=[
            Objective("accuracy", arithmetic.accuracy, bounds=(0, 1)),
            Objective("brevity", arithmetic.brevity, bounds=(0, 1)),
            Objective("clarity", arithmetic.clarity, bounds=(0, 1)),
        ],
        model=str(base_path()),
        train_dataset=arithmetic.prompts("train"),
        eval_dataset=arithmetic.prompts("dev"),
        test_dataset=arithmetic.prompts("test"),
        recipe=recipes.hypervolume(
            steps=steps,
            learning_rate=2e-3,
            max_completion_length=arithmetic.MAX_NEW_TOKENS,
            weighting=HypervolumeGradient(warmup=steps // 5, ramp=steps // 8),  # short, as the run is
        ),
        members=members,
        reference_point={"accuracy": 0.0, "brevity": 0.0, "clarity": 0.0},
        eval_prompts=256,
        seed=seed,
    )


__all__ = ["base_path", "demo_study"]
