"""Why arms end where they do: members that do not stand apart, and rewards that are asked for and never occur."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.results.measures import front_of
from benchmarks.results.offline import LEVELS
from benchmarks.results.records import Record
from moalign.rollouts.reward_targets import l2_target

SEEN = "seen.json"  # beside a task's runs: which rewards the samples of offline arms have
GAP = 0.1  # of an objective's range
FLOORS = {"ric": 0.0, "ric-floor": 0.4}


def apart(record: Record) -> int:
    """Return how many kept points stand apart: each at least `GAP` from all others counted, in some objective."""
    counted: list[Tensor] = []
    for point in front_of(record):
        if all(float((point - other).abs().max()) >= GAP for other in counted):
            counted.append(point)
    return len(counted)


def asked(record: Record) -> Float[Tensor, "point objective"]:
    """Return what a conditioned run's points ask for, in levels from 0 to `LEVELS`."""
    floor, wishes = FLOORS[record.arm], torch.tensor([m.preference for m in record.members], dtype=torch.float64)
    return LEVELS * (floor + (1 - floor) * l2_target(wishes))


def seen_share(record: Record, seen: Mapping[str, int]) -> float:
    """Return which share of the samples it learned from lies within a level of what a point asks for: median of points.

    >>> levels = {"0,0": 30, "9,0": 10}
    >>> total(levels, within=torch.tensor([8.6, 0.3]))
    0.25
    """
    shares = [total(seen, within=line) for line in asked(record)]
    return float(torch.tensor(shares).median())


def total(seen: Mapping[str, int], *, within: Float[Tensor, "objective"]) -> float:
    levels = torch.tensor([[int(x) for x in key.split(",")] for key in seen], dtype=torch.float64)
    counts = torch.tensor(list(seen.values()), dtype=torch.float64)
    near = ((levels - within).abs() <= 1).all(dim=1)
    return float(counts[near].sum() / counts.sum())
