"""What the table's columns are, computed from records."""

from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.results.records import Record
from benchmarks.results.statistics import rank_correlation
from moalign.optimizers.dominance import non_dominated
from moalign.optimizers.indicators import expected_utility, igd_plus
from moalign.optimizers.simplex import sample_dirichlet


def front_of(record: Record) -> Float[Tensor, "point objective"]:
    """Return the kept points' values on test."""
    return torch.tensor([m.test for m in record.members if m.id in record.kept], dtype=torch.float64)


def size(record: Record) -> int:
    """Return how many kept points no other kept point dominates on test."""
    return int(non_dominated(front_of(record)).sum())


def pooled(records: Sequence[Record]) -> Float[Tensor, "point objective"]:
    """Return the non-dominated ones of all kept points of all arms and seeds of a task."""
    points = torch.cat([front_of(record) for record in records])
    return points[non_dominated(points)]


def distance(record: Record, front: Float[Tensor, "point objective"]) -> float:
    """Return IGD+ of the kept points to a front."""
    return igd_plus(front_of(record), front)


def utility(record: Record) -> float:
    """Return the mean, over preferences drawn evenly from the simplex, of the best point's weighted sum."""
    return expected_utility(front_of(record), _preferences(len(record.objectives)))


@cache
def _preferences(objectives: int) -> Float[Tensor, "weight objective"]:
    return sample_dirichlet(objectives, 1000, generator=torch.Generator().manual_seed(0)).double()


def obedience(record: Record) -> float:
    """Return the rank correlation of preference and outcome over all valued members, mean over objectives."""
    wished = torch.tensor([m.preference for m in record.members]).T.tolist()
    got = torch.tensor([m.test for m in record.members]).T.tolist()
    each = [rank_correlation(w, g) for w, g in zip(wished, got)]
    known = [value for value in each if value == value]
    return sum(known) / len(known) if known else float("nan")


def rollouts_to(record: Record, level: float) -> float | None:
    """Return the rollouts after which the training curve has reached a level for the first time, None if never."""
    return next((float(x) for x, y in record.curve if y is not None and y >= level), None)
