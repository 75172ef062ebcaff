"""The audit as a whole: the nearest fix of each kind of trouble, and that order changes nothing."""

import dataclasses
import json

import numpy as np
import pytest

from moalign.diagnostics import RewardTable, audit, sum_then_normalize
from moalign.diagnostics._fixes import Facts, nearest_fix

FINE = Facts("a", 0.5, 1.0, 0.5, 0.5, 1.0, 0.1, 0.1, 0.1, 0.1, settled=False, near={"b": 0.0})


@pytest.mark.parametrize(
    "changes, words",
    [
        ({}, ""),
        ({"valid": 0.2}, "has a value for 20% of completions"),
        ({"silent": 0.95, "at_best": 0.97}, "solved in 97% of completions"),
        ({"silent": 0.95, "at_worst": 0.97}, "almost never earned"),
        ({"silent": 0.95}, "depends on the prompt, not on the completion"),
        ({"near": {"b": 0.1, "c": 0.95}}, "ranks completions as `c` does (+0.95)"),
        ({"near": {"b": -0.8}, "pressure": -0.1}, "pushed down by what pays against it (`b`, -0.80)"),
        ({"pressure": 0.9}, "pulls 1.8 times its weight: normalise each reward before the sum"),
        ({"pressure": 0.9, "settled": True}, ""),
        ({"pressure": 0.9, "normalized": 0.95}, ""),  # normalising would be no nearer to the weight
        ({"left": 0.5}, "a tenth of its weight would leave 50% of its pull"),
        ({"left": 0.5, "signed": 0.0}, ""),  # a reward without weight is only watched
        ({"near": {"b": float("nan")}, "left": float("nan")}, ""),
    ],
)
def test_the_nearest_fix(changes: dict[str, object], words: str) -> None:
    found = nearest_fix(dataclasses.replace(FINE, **changes))  # pyright: ignore[reportArgumentType]
    assert found.startswith(words) and bool(found) == bool(words)


def table_of(success: tuple[float, ...], weights: tuple[float, ...], **fields: object) -> RewardTable:
    values = (np.random.default_rng(0).random((1_600, len(success))) < np.array(success)).astype(float)
    table = RewardTable(
        names=("accuracy", "format", "style")[: len(success)],
        values=values,
        group=np.arange(1_600) // 8,
        step=np.arange(1_600) // 160,
        weights=np.broadcast_to(np.array(weights), values.shape).astype(float),
        bounds=np.tile([0.0, 1.0], (len(success), 1)),
    )
    return dataclasses.replace(table, **fields)  # pyright: ignore[reportArgumentType]


def test_an_easy_reward_pulls_more_than_its_weight() -> None:
    found = audit(table_of((0.1, 0.9), (1.0, 0.1)))
    accuracy, easy = found.rewards
    assert (easy.name, easy.fix[:5]) == ("format", "pulls") and "normalize_then_sum" in easy.fix
    assert easy.weight == pytest.approx(0.1 / 1.1) and easy.pressure > 2 * easy.weight
    assert accuracy.at_worst == pytest.approx(0.9, abs=0.04) and found.alarms == ()
    assert (found.completions, found.groups, found.steps) == (1_600, 200, 10)
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["rewards"][1]["name"] == "format"


def test_credit_is_called_by_its_scheme() -> None:
    table = table_of((0.1, 0.9), (1.0, 0.3))
    logged = 3 * sum_then_normalize(table, table.weights)  # a size is no scheme
    assert audit(dataclasses.replace(table, advantages=logged)).scheme == "sum_then_normalize"
    noise = np.random.default_rng(1).normal(size=1_600)
    assert audit(dataclasses.replace(table, advantages=noise)).scheme is None


def test_order_changes_nothing() -> None:
    table = table_of((0.1, 0.9, 0.5), (1.0, 0.1, 2.0))
    turned = dataclasses.replace(
        table, names=table.names[::-1], values=table.values[:, ::-1], weights=table.weights[:, ::-1]
    )
    first = {r.name: r for r in audit(table).rewards}
    for r in audit(turned).rewards:
        assert r.pressure == pytest.approx(first[r.name].pressure, abs=1e-9) and r.fix == first[r.name].fix
