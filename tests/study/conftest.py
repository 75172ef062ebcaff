"""The tiny study as a file, for processes that are stopped and killed."""

from collections.abc import Callable
from pathlib import Path

import pytest

STUDY_FILE = """
import time
from pathlib import Path

from moalign import Objective, Study, recipes

SLOW = Path(__file__).with_name("slow")  # while this file is there, every reward takes its time
DATA = [{{"prompt": f"{{a}}+{{b}}=", "answer": str(a + b)}} for a in range(10, 20) for b in range(10, 20)]

def digits(completions, **columns):
    if SLOW.exists():
        time.sleep(0.3)
    return [sum(c.isdigit() for c in text) / max(len(text), 1) for text in completions]

def short(completion_ids, **columns):
    return [1 - len(ids) / 8 for ids in completion_ids]

def study_of(name):
    return Study(
        name,
        [Objective("digits", digits, bounds=(0, 1)), Objective("short", short, bounds=(0, 1))],
        model={model!r},
        train_dataset=DATA,
        recipe=recipes.hypervolume(
            steps=6, prompts_per_step=2, num_generations=4, max_completion_length=8, learning_rate=1e-2
        ),
        members=3,
        reference_point={{"digits": 0.0, "short": 0.0}},
        eval_prompts=10,
        save_steps=2,
    )

study, other = study_of("tiny"), study_of("other")
"""


@pytest.fixture
def stoppable(tiny_model: str, tmp_path: Path) -> Callable[[str], Path]:
    """Write an importable file with the studies `tiny` and `other` of six steps; return its path."""

    def write(name: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(STUDY_FILE.format(model=tiny_model))
        return path

    return write
