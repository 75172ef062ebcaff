"""Each preset against its trainer's formula, written out in plain Python with doubles, group by group."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import MRN, CreditPipeline
from moalign.errors import ConfigError
from moalign.parts import build, named
from moalign.records import Rows

WEIGHTS = (0.5, 0.3, 0.2)
GROUPS, SIZE = 4, 6

Vector = Sequence[float | None]
Group = list[Vector]


def weighted(row: Vector) -> float:
    return sum(w * r for w, r in zip(WEIGHTS, row) if r is not None)


def some(row: Vector) -> bool:
    return any(r is not None for r in row)


def std(values: Sequence[float], *, unbiased: bool = True) -> float:
    if len(values) < 2:
        return 0.0
    return statistics.stdev(values) if unbiased else statistics.pstdev(values)


def z_scores(values: Vector, eps: float, *, unbiased: bool = True) -> list[float]:
    known = [v for v in values if v is not None]
    mean, below = (statistics.fmean(known), std(known, unbiased=unbiased) + eps) if known else (0.0, 1.0)
    return [0.0 if v is None else (v - mean) / below for v in values]


def leave_one_out(values: Vector, eps: float, *, divide: bool = True) -> list[float]:
    out = []
    for i, v in enumerate(values):
        others = [x for j, x in enumerate(values) if j != i and x is not None]
        if v is None or not others:
            out.append(0.0)
            continue
        spread = std(others)
        out.append((v - statistics.fmean(others)) / (spread + eps if divide and spread > 0 else 1.0))
    return out


def each_then_sum(group: Group, estimate: Callable[[Vector], list[float]]) -> list[float]:
    columns = [estimate([row[k] for row in group]) for k in range(len(WEIGHTS))]
    return [sum(w * column[i] for w, column in zip(WEIGHTS, columns)) for i in range(len(group))]


def in_batch(sums: list[list[float]], counts: list[list[int]], below: Callable[[float], float]) -> list[list[float]]:
    """Standardize over everything, a value counted as often as `counts` says."""
    every = [s for group, n in zip(sums, counts) for s, times in zip(group, n) for _ in range(times)]
    mean, spread = statistics.fmean(every), below(std(every))
    return [[(s - mean) / spread if n else 0.0 for s, n in zip(*line)] for line in zip(sums, counts)]


def zeroed(groups: list[Group]) -> list[Group]:
    return [[[0.0 if r is None else r for r in row] for row in group] for group in groups]


def ones(groups: list[Group]) -> list[list[int]]:
    return [[1] * len(group) for group in groups]


def totals(group: Group) -> Vector:
    """Rewards present, weighted and summed; the weights of those that are there rescaled to the whole."""
    return [weighted(row) / sum(w for w, r in zip(WEIGHTS, row) if r is not None) if some(row) else None
            for row in group]  # fmt: skip


def sums_or_none(group: Group) -> Vector:
    return [weighted(row) if some(row) else None for row in group]


TWINS: dict[str, Callable[[list[Group], list[list[int]]], list[list[float]]]] = {
    "grpo-trl": lambda g, n: [z_scores(sums_or_none(x), 1e-4) for x in g],
    "grpo-trl-async": lambda g, n: [z_scores(sums_or_none(x), 1e-8, unbiased=False) for x in g],
    "rloo-trl": lambda g, n: [leave_one_out(sums_or_none(x), 0.0, divide=False) for x in g],
    "gdpo-trl": lambda g, n: in_batch(
        [each_then_sum(x, lambda c: z_scores(c, 1e-4)) for x in g],
        [[int(some(row)) for row in x] for x in g],
        lambda s: s + 1e-4,
    ),
    "grpo-verl": lambda g, n: [z_scores(totals(x), 1e-6) for x in g],
    "gdpo-verl": lambda g, n: in_batch(
        [each_then_sum(x, lambda c: z_scores(c, 1e-6)) for x in g],
        [[times * some(row) for row, times in zip(*line)] for line in zip(g, n)],
        lambda s: math.sqrt(s * s + 1e-8),
    ),
    "grpo-nemo-rl": lambda g, n: [leave_one_out(totals(x), 1e-6) for x in g],
    "gdpo-nemo-rl": lambda g, n: in_batch(
        [each_then_sum(x, lambda c: leave_one_out(c, 1e-6)) for x in g],
        [[int(some(row)) for row in x] for x in g],
        lambda s: s or 1.0,
    ),
    "grpo-ms-swift": lambda g, n: [z_scores([weighted(row) for row in x], 1e-4) for x in g],
    "gdpo-ms-swift": lambda g, n: in_batch(
        [each_then_sum(x, lambda c: z_scores(c, 1e-8)) for x in g], ones(g), lambda s: s + 1e-8
    ),
    "gdpo-nvlabs": lambda g, n: in_batch(
        [each_then_sum(x, lambda c: z_scores(c, 1e-4)) for x in zeroed(g)], ones(g), lambda s: s + 1e-4
    ),
    "mo-grpo": lambda g, n: [each_then_sum(x, lambda c: z_scores(c, 1e-4)) for x in g],
    "mrn": lambda g, n: [each_then_sum(x, lambda c: z_scores(c, 1e-4)) for x in g],
}


def batches() -> dict[str, torch.Tensor]:
    """Return rewards ``[prompt group objective]`` of several kinds; NaN is missing."""
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(GROUPS, SIZE, 3, generator=generator)
    holes = torch.where(torch.rand(plain.shape, generator=generator) < 0.3, torch.nan, plain)
    empty_row, empty_group, constant = holes.clone(), holes.clone(), plain.clone()
    empty_row[:, 1] = torch.nan
    empty_group[2] = torch.nan
    constant[..., 1], constant[0, :, 0] = 0.25, 1.5
    alone = plain.clone()
    alone[1, 1:, 2] = torch.nan
    binary = (plain > 0).float()
    return {"plain": plain, "holes": holes, "a row without any": empty_row, "a group without any": empty_group,
            "constant": constant, "one in its group": alone, "binary": binary, "large": plain * 1e5}  # fmt: skip


def lengths() -> torch.Tensor:
    return torch.randint(1, 4, (GROUPS * SIZE,), generator=torch.Generator().manual_seed(1))


def advantages(pipeline: CreditPipeline, rows: Rows) -> torch.Tensor:
    weights = torch.tensor(WEIGHTS).view(1, 1, 1, 3)
    credit, _ = pipeline(rows, weights, torch.ones(1), pipeline.init(1, 3))
    return credit.advantages[:, 0, 0]


@pytest.mark.parametrize("name", TWINS)
def test_twins(make_rows, name: str) -> None:
    trained = torch.arange(3) < lengths()[:, None]
    for kind, rewards in batches().items():
        rows = replace(make_rows(rewards[None]), train_mask=trained)
        groups = [[[None if v != v else v for v in row] for row in group] for group in rewards.double().tolist()]
        expected = TWINS[name](groups, lengths().view(GROUPS, SIZE).tolist())
        got = advantages(build("credit", name), rows)
        assert_close(got, torch.tensor(expected).flatten().float(), atol=2e-5, rtol=2e-5,
                     msg=lambda m, kind=kind: f"{kind}: {m}")  # fmt: skip


def test_every_preset_has_a_twin() -> None:
    presets = {name for name, method in named("credit").items() if issubclass(method.part, CreditPipeline)}
    assert presets - {"pipeline"} == TWINS.keys()


def test_no_two_are_alike(make_rows) -> None:
    """On rewards with holes and lengths every treatment gives its own numbers, but for the two that are one sum."""
    rewards = batches()["a row without any"][None]
    rows = replace(make_rows(rewards), train_mask=torch.arange(3) < lengths()[:, None])
    got = {name: advantages(build("credit", name), rows) for name in TWINS if name != "mrn"}
    names = list(got)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert not torch.allclose(got[a], got[b], atol=1e-6, rtol=1e-6), (a, b)


def test_mrn_is_mo_grpo(make_rows) -> None:
    rows = make_rows(batches()["holes"][None])
    assert_close(advantages(build("credit", "mrn"), rows), advantages(build("credit", "mo-grpo"), rows))
    assert build("credit", "mrn") == MRN()


def test_an_unknown_rule_for_missing_rewards_is_refused() -> None:
    with pytest.raises(ConfigError, match="`missing` must be one of skip, mean, zero, got 'average'"):
        CreditPipeline(missing="average")


def test_options_of_a_preset_can_be_set() -> None:
    assert build("credit", "gdpo-verl", rescale=None).rescale is None
