"""Two small experiments, exactly: how many advantage patterns are told apart, and what a smaller weight does."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import CreditPipeline, group_relative
from moalign.parts import bind

FIRST = CreditPipeline(estimate=bind(group_relative, eps=1e-9))  # sum first
EACH = CreditPipeline(estimate=bind(group_relative, eps=1e-9), collapse="at_advantage")  # one by one


def advantages(pipeline: CreditPipeline, groups: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return ``[prompt group]`` for rewards ``[prompt group objective]``: what a pipeline does before it places."""
    values, w = groups[None].double(), weights.double().view(1, 1, 1, -1)
    seen, valid = pipeline.collapse.before(values, torch.ones_like(values, dtype=torch.bool), w, torch.zeros_like(w))
    return pipeline.collapse.after(pipeline.estimate(seen, valid), valid, w)[0, ..., 0]


def multisets(group: int, objectives: int) -> torch.Tensor:
    """Return every group of binary reward vectors once, whatever the order of its completions."""
    kinds = list(itertools.product((0.0, 1.0), repeat=objectives))
    return torch.tensor(list(itertools.combinations_with_replacement(kinds, group)))


@pytest.mark.parametrize(
    ("group", "expected"),
    [(2, (2, 3, 2, 4)), (3, (4, 6, 6, 10)), (4, (7, 14, 14, 45)), (6, (16, 38, 46, 254)), (8, (29, 81, 106, 1002))],
)
def test_distinct_advantage_patterns(group: int, expected: tuple[int, ...]) -> None:
    """Of two and of three binary rewards: summed first, one by one."""
    counts = []
    for objectives in (2, 3):
        for pipeline in (FIRST, EACH):
            got = advantages(pipeline, multisets(group, objectives), torch.ones(objectives))
            rounded = (got.sort(1).values * 1e5).round() + 0.0
            counts.append(len(torch.unique(rounded, dim=0)))
    assert tuple(counts) == expected


def test_totals_of_two_completions_lose_their_distances() -> None:
    # totals (0 1), (0 2) and (1 2) are one advantage, +-0.7071, when summed first; 0 against 2 is twice that one by one
    groups = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]])
    half = math.sqrt(0.5)
    assert_close(advantages(FIRST, groups, torch.ones(2))[:, 1].float(), torch.tensor([half, half, half]))
    assert_close(advantages(EACH, groups, torch.ones(2))[:, 1].float(), torch.tensor([half, 2 * half, half]))


def pressure(pipeline: CreditPipeline, easy: float, hard: float, weight: float) -> float:
    """Return E[A r_easy] / E[A r_hard] of groups of eight, by their exact probabilities."""
    kinds = [(a, b) for a in (0.0, 1.0) for b in (0.0, 1.0)]
    chances = [(easy if a else 1 - easy) * (hard if b else 1 - hard) for a, b in kinds]
    counts = [n for n in itertools.product(range(9), repeat=4) if sum(n) == 8]
    groups = torch.tensor([[kind for kind, n in zip(kinds, line) for _ in range(n)] for line in counts])
    odds = [math.factorial(8) * math.prod(p**n / math.factorial(n) for p, n in zip(chances, line)) for line in counts]
    got = advantages(pipeline, groups, torch.tensor([weight, 1.0]))
    mean = (torch.tensor(odds).double()[:, None, None] * got[..., None] * groups.double()).sum((0, 1))
    return float(mean[0] / mean[1])


@pytest.mark.parametrize(
    ("easy", "hard", "weight", "first", "each"),
    [
        (0.90, 0.10, 1.0, 0.975, 0.982),
        (0.90, 0.10, 0.5, 0.668, 0.486),
        (0.90, 0.10, 0.25, 0.558, 0.246),
        (0.90, 0.10, 0.1, 0.502, 0.110),
        (0.50, 0.50, 0.1, 0.093, 0.097),
        (0.97, 0.10, 0.1, 0.177, 0.039),
    ],
)
def test_does_turning_a_weight_down_work(easy: float, hard: float, weight: float, first: float, each: float) -> None:
    """Summed first, a tenth of the weight can leave half of the pressure; one by one, about the weight is left.

    The figures are of 4,000 simulated groups, the test's are exact: they may differ by a few hundredths.
    """
    assert pressure(FIRST, easy, hard, weight) == pytest.approx(first, abs=0.03)
    assert pressure(EACH, easy, hard, weight) == pytest.approx(each, abs=0.03)
