"""moalign: define the rewards you care about; get the whole front of models.

Everything is imported when it is first used: ``import moalign`` brings in neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moalign import optimizers, recipes, rewards, tasks
    from moalign.errors import MoalignError, RewardError, RunError, StudyError
    from moalign.fronts import Front, Point
    from moalign.objectives import Objective
    from moalign.optimizers.simplex import Simplex
    from moalign.parts import After, Linear, PerMember
    from moalign.study import Run, Study, load
    from moalign.training import Recipe

_HOMES = {
    "After": "moalign.parts",
    "Front": "moalign.fronts",
    "Linear": "moalign.parts",
    "MoalignError": "moalign.errors",
    "Objective": "moalign.objectives",
    "PerMember": "moalign.parts",
    "Point": "moalign.fronts",
    "Recipe": "moalign.training",
    "RewardError": "moalign.errors",
    "Run": "moalign.study",
    "RunError": "moalign.errors",
    "Simplex": "moalign.optimizers.simplex",
    "Study": "moalign.study",
    "StudyError": "moalign.errors",
    "load": "moalign.study",
}
_ROOMS = ("optimizers", "recipes", "rewards", "tasks")

__all__ = [
    "After",
    "Front",
    "Linear",
    "MoalignError",
    "Objective",
    "PerMember",
    "Point",
    "Recipe",
    "RewardError",
    "Run",
    "RunError",
    "Simplex",
    "Study",
    "StudyError",
    "load",
    "optimizers",
    "recipes",
    "rewards",
    "tasks",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"moalign.{name}")
    raise AttributeError(f"module 'moalign' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
