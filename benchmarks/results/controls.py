"""The control arms' weights: the guided arm's, with what guides them taken out."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.records import Rows, Setting, Signals, State
from moalign.weighting.controller import Controller, Weights, per_member

Table = tuple[tuple[tuple[float, ...], ...], ...]  # member, step, objective


@dataclass(frozen=True)
class Walk:
    """A run's weights, step by step: what the controls are made of."""

    names: tuple[str, ...]  # of the objectives
    path: list[list[list[float]]]  # [member][step][objective]
    warmup: int  # steps before anything guides: the preferences, standardised
    seed: int = 0

    @staticmethod
    def of(metrics: list[dict[str, Any]], names: tuple[str, ...], *, warmup: int, seed: int) -> "Walk":
        """Read a run's weights off its metrics."""
        path = torch.tensor([[line[f"weights/{name}"] for name in names] for line in metrics]).permute(2, 0, 1)
        rounded = [[[round(value, 4) for value in point] for point in member] for member in path.tolist()]
        return Walk(names, rounded, min(warmup, len(metrics)), seed)

    @property
    def tensor(self) -> Float[Tensor, "member step objective"]:
        """The path as numbers to reckon with."""
        return torch.tensor(self.path, dtype=torch.float64)


def time_mean(walk: Walk) -> Table:
    """Return, at every step, each member's weights averaged over the run."""
    path = walk.tensor
    return _table(path.mean(dim=1, keepdim=True).expand_as(path))


def shuffled(walk: Walk) -> Table:
    """Return the same weights with the guided steps in another order: the places are kept, the timing is not."""
    path, generator = walk.tensor, torch.Generator().manual_seed(walk.seed)
    order = torch.randperm(path.shape[1] - walk.warmup, generator=generator) + walk.warmup
    return _table(torch.cat([path[:, : walk.warmup], path[:, order]], dim=1))


def wander(walk: Walk) -> Table:
    """Return the same weights up to the end of the warm-up, and then steps of the same lengths in random directions.

    A step that would leave the simplex is drawn again; after many draws it goes towards the middle.
    """
    path, generator = walk.tensor, torch.Generator().manual_seed(walk.seed)
    lengths = (path[:, 1:] - path[:, :-1]).norm(dim=2)
    first = max(walk.warmup, 1)
    out = path.clone()
    for member in range(len(path)):
        for step in range(first, path.shape[1]):
            out[member, step] = _step(out[member, step - 1], float(lengths[member, step - 1]), generator)
    return _table(out)


def _step(here: Float[Tensor, "objective"], length: float, generator: torch.Generator) -> Float[Tensor, "objective"]:
    for _ in range(200):
        direction = torch.randn(len(here), generator=generator, dtype=torch.float64)
        direction -= direction.mean()  # along the simplex
        there = here + length * direction / direction.norm()
        if bool((there >= 0).all()):
            return there
    middle = torch.full_like(here, 1 / len(here)) - here
    return here + middle * min(length / float(middle.norm().clamp(min=1e-12)), 1.0)


def _table(path: Float[Tensor, "member step objective"]) -> Table:
    return tuple(tuple(tuple(point) for point in member) for member in path.tolist())


@dataclass(frozen=True)
class Replayed(Controller):
    """Weights that were written down before: `table[member][step]`, objectives in the order of their names."""

    table: Table

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        table = torch.tensor(self.table).to(preferences)
        return {"table": table, "at": torch.zeros(len(table), dtype=torch.long)}

    def weigh(self, state: State, rows: Rows) -> Weights:
        return per_member(state["table"][torch.arange(len(state["at"])), state["at"]])

    def observe(self, state: State, signals: Signals) -> State:
        return {**state, "at": (state["at"] + 1).clamp(max=state["table"].shape[1] - 1)}
