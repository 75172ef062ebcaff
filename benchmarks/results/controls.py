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
    """What is kept of a run's weights: where members began, their mean over time, and the lengths of their steps."""

    names: tuple[str, ...]  # of the objectives
    first: list[list[float]]  # [member][objective]
    mean: list[list[float]]  # [member][objective]
    lengths: list[list[float]]  # [member][step], Euclidean, one fewer than there are steps
    seed: int = 0

    @staticmethod
    def of(metrics: list[dict[str, Any]], names: tuple[str, ...], seed: int) -> "Walk":
        """Read a run's weights off its metrics."""
        path = torch.tensor([[line[f"weights/{name}"] for name in names] for line in metrics]).permute(2, 0, 1)
        return Walk(
            names=names,
            first=_rounded(path[:, 0]),
            mean=_rounded(path.mean(dim=1)),
            lengths=_rounded((path[:, 1:] - path[:, :-1]).norm(dim=2)),
            seed=seed,
        )

    def mean_table(self) -> Table:
        """Return the time-mean at every step."""
        steps = len(self.lengths[0]) + 1
        return tuple((tuple(point),) * steps for point in self.mean)


def wander(walk: Walk) -> Table:
    """Return weights that begin where the walk does and take steps of its lengths in random directions.

    A step that would leave the simplex is drawn again; after many draws it goes towards the middle, which is always
    possible for a step no longer than the way there.
    """
    generator = torch.Generator().manual_seed(walk.seed)
    many = len(walk.names)
    out = []
    for start, lengths in zip(walk.first, walk.lengths):
        here = torch.tensor(start, dtype=torch.float64)
        path = [here]
        for length in lengths:
            here = _step(here, length, generator, many)
            path.append(here)
        out.append(tuple(tuple(point.tolist()) for point in path))
    return tuple(out)


def _step(
    here: Float[Tensor, "objective"], length: float, generator: torch.Generator, many: int
) -> Float[Tensor, "objective"]:
    for _ in range(200):
        direction = torch.randn(many, generator=generator, dtype=torch.float64)
        direction -= direction.mean()  # along the simplex
        there = here + length * direction / direction.norm()
        if bool((there >= 0).all()):
            return there
    middle = torch.full_like(here, 1 / many) - here
    return here + middle * min(length / float(middle.norm().clamp(min=1e-12)), 1.0)


def _rounded(x: Tensor) -> list[list[float]]:
    return [[round(value, 5) for value in row] for row in x.tolist()]


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
