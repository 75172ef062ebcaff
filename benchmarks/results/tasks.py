"""The tasks: each a study of the project at the page's budget, with the data that offline arms learn from."""

import hashlib
import importlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moalign import Study
from moalign.rollouts.reward_text import RewardText

Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """What the arms are compared on; the study's recipe holds the budget."""

    name: str
    what: str  # one line for the page
    study: Study
    make: Sequence[str]  # arguments to Python that make its models, or reuse them
    expressed: str  # the objective that pairs are judged by, for MODPO
    smoke: bool = False  # at a budget of seconds
    ric: Mapping[str, Any] = field(default_factory=dict)  # options of the recipe: how rewards are written
    optimum: Callable[[int], float] | None = None  # the best hypervolume of so many points, where it is known

    def made(self) -> None:
        """Make the task's models, or reuse them; on one thread, so that the same machine makes the same ones."""
        subprocess.run([sys.executable, *self.make], check=True, stdout=subprocess.DEVNULL)

    def models(self) -> str:
        """Return a short hash of the models' parameters: figures on different ones do not belong together."""
        digest = hashlib.sha256()
        for file in sorted(Path(self.make[2]).rglob("*.safetensors")):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]


def _study(name: str, **budget: Any) -> Study:
    study: Study = importlib.import_module(f"studies.{name}").study
    return study.replace(**{f"recipe.{path}": value for path, value in budget.items()})


def arithmetic() -> Task:
    return Task(
        name="arithmetic",
        what="two-digit addition: accuracy (verified), brevity, clarity",
        study=_study("arithmetic", steps=60),
        make=("-m", "moalign.tasks.arithmetic", "models/arithmetic", "--threads", "1"),
        expressed="accuracy",
        ric={"collect.text": RewardText(template="{value}", separator=",", levels=9)},
    )


def replies() -> Task:
    return Task(
        name="replies",
        what="customer-service replies: helpfulness (verified), brevity, courtesy (a learned reward model)",
        study=_study("replies"),
        make=("-m", "moalign.tasks.replies", "models/replies", "--threads", "1"),
        expressed="courtesy",
        ric={"collect.text": RewardText(template="{value}", separator=" ", levels=9)},
    )


def bandit() -> Task:
    from moalign.tasks import bandit as task

    return Task(
        name="bandit",
        what="a bandit of four arms and two objectives whose best front is known",
        study=_study("bandit"),
        make=("-m", "moalign.tasks.bandit", "models/bandit"),
        expressed="x",
        ric={"collect.text": RewardText(template="{value}", separator="", end=">", levels=9)},
        optimum=task.optimum,
    )


TASKS: dict[str, Callable[[], Task]] = {"arithmetic": arithmetic, "replies": replies, "bandit": bandit}


def task_called(name: str, *, smoke: bool = False) -> Task:
    """Return a task; with `smoke`, at a budget of seconds, whose figures mean nothing."""
    task = TASKS[name]()
    if not smoke:
        return task
    tiny = {"recipe.steps": 4, "recipe.prompts_per_step": 2, "recipe.num_generations": 4, "members": 3}
    return replace(task, study=task.study.replace(**tiny), smoke=True)
