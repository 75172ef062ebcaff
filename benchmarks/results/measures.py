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
    values = [m.test for m in record.members if m.id in record.kept]
    return torch.tensor(values, dtype=torch.float64).reshape(len(values), len(record.objectives))


def size(record: Record) -> int:
    """Return how many kept points no other kept point dominates on test."""
    return int(non_dominated(front_of(record)).sum())


def pooled(records: Sequence[Record], seeds: int) -> Float[Tensor, "point objective"]:
    """Return the non-dominated ones of all kept points of all arms, at as many first seeds of each."""
    first = sorted({record.seed for record in records})[:seeds]
    points = torch.cat([front_of(record) for record in records if record.seed in first])
    return points[non_dominated(points)]


def distance(record: Record, front: Float[Tensor, "point objective"]) -> float:
    """Return IGD+ of the kept points to a front."""
    return igd_plus(front_of(record), front) if record.kept else float("nan")


def utility(record: Record) -> float:
    """Return the mean, over preferences drawn evenly from the simplex, of the best point's weighted sum."""
    return expected_utility(front_of(record), _preferences(len(record.objectives))) if record.kept else 0.0


@cache
def _preferences(objectives: int) -> Float[Tensor, "weight objective"]:
    return sample_dirichlet(objectives, 1000, generator=torch.Generator().manual_seed(0)).double()


def obedience(record: Record) -> float:
    """Return the rank correlation of preference and outcome over all valued members, mean over objectives.

    Clones (``m04.1``) are left out: what they climb is a constraint's business, not a wish.
    """
    asked = [m for m in record.members if "." not in m.id]
    wished = torch.tensor([m.preference for m in asked]).T.tolist()
    got = torch.tensor([m.test for m in asked]).T.tolist()
    each = [rank_correlation(w, g) for w, g in zip(wished, got)]
    known = [value for value in each if value == value]
    return sum(known) / len(known) if known else float("nan")


def rollouts_to(record: Record, level: float) -> float:
    """Return the rollouts after which the training curve is at a level for good; infinite if it does not end there."""
    below = [i for i, (_, y) in enumerate(record.curve) if y is None or y < level]
    if not below:
        return float(record.curve[0][0])
    return float(record.curve[below[-1] + 1][0]) if below[-1] + 1 < len(record.curve) else float("inf")


def flattered(record: Record, learned: str, true: str) -> float:
    """Return how much better the kept points look to a learned reward than they are, in its unit."""
    k = record.objectives.index(learned)
    gaps = [m.test[k] - m.tracked[true] for m in record.members if m.id in record.kept and true in m.tracked]
    return sum(gaps) / len(gaps) if gaps else float("nan")
