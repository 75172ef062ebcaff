"""One controller for each task: a column of the data says which weighs a group."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moalign.errors import ConfigError, nearest
from moalign.parts import build, look_up_names, part, register
from moalign.records import Metrics, Rows, Setting, Signals, State
from moalign.weighting.constant import Constant
from moalign.weighting.controller import Controller, Weights


@register(
    "controller",
    "by-column",
    test="tests/weighting/test_by_column.py::test_each_group_is_weighed_by_the_case_of_its_task",
)
@dataclass(frozen=True)
class ByColumn(Controller):
    """Weigh each group by the controller that `cases` has for its value in `column`, else by `otherwise`.

    ``ByColumn("task", {"code": RewardWeights({"correct": 1.0, "short": 0.1})})`` blends rewards by task. Values of the
    column are compared as text. All controllers learn from the same signals, which are means over all tasks: one that
    moves its weights by them does not see its own task alone. A controller that moves the gain has no place here, as
    a gain belongs to a member and not to a group.
    """

    column: str = "task"
    cases: Mapping[str, Any] = field(default_factory=dict)
    otherwise: Any = part("controller", Constant())

    def __post_init__(self) -> None:
        look_up_names(self)
        found = {name: build("controller", c) if isinstance(c, str) else c for name, c in self.cases.items()}
        object.__setattr__(self, "cases", found)
        if any(getattr(c, "moves_gain", False) for c in self._all().values()):
            raise ConfigError("`cases` hold a controller that moves the gain, which is a member's and not a group's.")
        if any(c.holds_thresholds for c in self._all().values()):
            object.__setattr__(self, "holds_thresholds", True)

    def _all(self) -> dict[str, Any]:
        return {f"={name}": case for name, case in self.cases.items()} | {"otherwise": self.otherwise}

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        return {name: case.init(preferences, setting) for name, case in self._all().items()}

    def problems(self, recipe: Any) -> list[str]:
        return [said for case in self._all().values() for said in case.problems(recipe)]

    def weigh(self, state: State, rows: Rows) -> Weights:
        which = self._which(rows)
        _, prompts, group = rows.slots()
        weights: Tensor | None = None
        for number, (name, case) in enumerate(self._all().items()):
            own = case.weigh(state[name], rows)[0]
            own = own.expand(rows.members, prompts, group, -1)
            weights = own if weights is None else torch.where((which == number)[:, :, None, None], own, weights)
        assert weights is not None
        return weights, torch.ones(rows.members)

    def _which(self, rows: Rows) -> Int[Tensor, "member prompt"]:
        """Return the number of each group's case; all rows of a group share their prompt."""
        if self.column not in rows.columns:
            raise ConfigError(
                f"`column` is {self.column!r}, which the rows do not have{nearest(self.column, rows.columns)}"
            )
        numbers = {name: number for number, name in enumerate(self.cases)}
        own = torch.tensor([numbers.get(str(value), len(numbers)) for value in rows.columns[self.column]])
        which = torch.full((rows.members, rows.slots()[1]), len(numbers))
        which[rows.member.cpu(), rows.group.cpu()] = own
        return which

    def observe(self, state: State, signals: Signals) -> State:
        return {name: case.observe(state[name], signals) for name, case in self._all().items()}

    def metrics(self, state: State, names: tuple[str, ...]) -> Metrics:
        return {
            f"{self.column}{name}/{said}" if name != "otherwise" else said: value
            for name, case in self._all().items()
            for said, value in case.metrics(state[name], names).items()
        }
