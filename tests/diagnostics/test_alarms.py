"""Alarms: what rises at another's cost, what falls silent, and what may fall because nobody wishes for it."""

import numpy as np
import pytest

from moalign.diagnostics import RewardTable, alarms

STEPS, PROMPTS, GROUP = 9, 12, 4


def run(slopes: tuple[float, ...], *, seed: int = 0, weights: tuple[float, ...] | None = None) -> RewardTable:
    """A run in which each reward's mean moves by its slope over the steps, with noise of 1."""
    made = np.random.default_rng(seed)
    step = np.repeat(np.arange(STEPS), PROMPTS * GROUP)
    values = made.normal(size=(len(step), len(slopes))) + np.array(slopes) * step[:, None] / (STEPS - 1)
    return RewardTable(
        names=("accuracy", "format", "length")[: len(slopes)],
        values=values,
        group=np.arange(len(step)) // GROUP,
        step=step,
        weights=np.broadcast_to(np.array(weights or (1.0,) * len(slopes)), values.shape).astype(float),
        bounds=np.full((len(slopes), 2), np.nan),
    )


def kinds(table: RewardTable) -> list[tuple[str, str, str | None]]:
    return [(a.kind, a.objective, a.other) for a in alarms(table)]


def test_one_rises_while_another_falls() -> None:
    assert kinds(run((-1.0, 2.0))) == [("traded", "accuracy", "format")]
    (alarm,) = alarms(run((-1.0, 2.0)))
    assert alarm.text.startswith("`format` rose by 1.") and "while `accuracy` fell by 0." in alarm.text


@pytest.mark.parametrize("slopes", [(1.0, 2.0), (-1.0, -2.0), (0.0, 2.0)])
def test_no_trade_no_alarm(slopes: tuple[float, float]) -> None:
    assert kinds(run(slopes)) == []


def test_what_is_not_wished_for_may_fall() -> None:
    assert kinds(run((-1.0, 2.0), weights=(0.1, 0.9))) == []


def test_values_that_vanish() -> None:
    table = run((0.0, 0.0))
    gone = np.random.default_rng(1).random(len(table.values)) < 0.8 * (table.step >= 6)
    table.values[gone, 1] = np.nan
    assert kinds(table) == [("vanishing", "format", None)]
    assert "of the last completions, for 100% of the first" in alarms(table)[0].text


def test_groups_that_fall_silent() -> None:
    table = run((0.0, 0.0))
    table.values[table.step >= 6, 1] = 0.3
    assert kinds(table) == [("flat", "format", None)]
    assert "varies within 0% of the last groups, within 100% of the first" in alarms(table)[0].text


def test_what_credit_pushes_down() -> None:
    table = run((0.0, 0.0))
    against = -(table.values[:, 0] - np.repeat(table.values[:, 0].reshape(-1, GROUP).mean(1), GROUP))
    (alarm,) = alarms(table, against)
    assert (alarm.kind, alarm.objective) == ("against", "accuracy")


def test_few_steps_or_groups_say_nothing() -> None:
    table = run((-3.0, 3.0))
    assert kinds(table.rows(table.step < 2)) == []
    assert kinds(table.rows((table.group % PROMPTS) < 2)) == []
