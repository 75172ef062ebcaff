"""The completions a run keeps to be read."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from moalign import Objective, RunError, Study, load, recipes
from moalign.credit import AtGradient
from moalign.records import Credit, Rewards, Rows
from moalign.training.kept import kept_rollouts

Make = Callable[..., Study]
SMALL: dict[str, Any] = {
    "steps": 5,
    "prompts_per_step": 3,
    "num_generations": 4,
    "max_completion_length": 8,
    "learning_rate": 1e-2,
}


def used(completion_ids: list[list[int]], **columns: Any) -> list[float | None]:
    return [None if len(ids) == 8 else float(len(ids)) for ids in completion_ids]


def test_every_checkpointed_step_keeps_two_groups_of_each_member(tiny_study: Make, runs: Path) -> None:
    digits = tiny_study().objectives[0]
    study = tiny_study(
        objectives=[digits, Objective("used", used, maximize=False, bounds=(0, 8))],
        reference_point={"digits": 0.0, "used": 8.0},
        recipe=recipes.gdpo(**SMALL),
    )
    study.run(runs / "tiny")
    run = load(runs / "tiny")
    names = sorted(path.name for path in (runs / "tiny" / "rollouts").iterdir())
    assert names == ["step-000001.parquet", "step-000003.parquet", "step-000004.parquet"]  # each 2nd, and the last
    table = run.rollouts(3)
    assert len(table) == 3 * 2 * 4  # members, groups, generations
    assert table.groupby("member").size().to_dict() == {"m00": 8, "m01": 8, "m02": 8}
    assert table["reward/used"].notna().any() and table["reward/used"].isna().any()
    assert set(table["group"]) == {0, 1} and (table.groupby(["group"])["prompt"].nunique() == 1).all()
    for row in table.to_dict("records"):
        text = row["completion"]
        assert row["reward/digits"] == pytest.approx(sum(c.isdigit() for c in text) / max(len(text), 1), abs=1e-6)
        # a cost in its own sign; cut off at 8 tokens, nothing is known of it
        assert math.isnan(row["reward/used"]) if not row["finished"] else not row["reward/used"] < 1
    # advantages are centred in every group
    assert table.groupby(["member", "group"])["advantage"].sum().abs().max() < 1e-4
    with pytest.raises(RunError, match=r"no rollouts of step 2; it has those of \[1, 3, 4\]"):
        run.rollouts(2)


def test_none_are_kept_when_none_are_wanted(tiny_study: Make, runs: Path) -> None:
    tiny_study(save_rollouts=0).run(runs / "tiny")
    assert not (runs / "tiny" / "rollouts").exists()


def test_advantages_per_objective(tiny_study: Make, runs: Path) -> None:
    tiny_study(recipe=recipes.gdpo(**SMALL, collapse=AtGradient())).run(runs / "tiny")
    table = load(runs / "tiny").rollouts(4)
    assert {"advantage/digits", "advantage/short"} <= set(table.columns) and "advantage" not in table.columns


def test_values() -> None:
    rows = Rows(
        members=2,
        member=torch.tensor([0, 0, 1, 1]),
        prompt_id=torch.tensor([7, 9, 7, 9]),
        group=torch.tensor([0, 1, 0, 1]),
        prompt_tokens=torch.zeros(4, 1, dtype=torch.long),
        prompt_mask=torch.ones(4, 1, dtype=torch.bool),
        tokens=torch.zeros(4, 2, dtype=torch.long),
        completion_mask=torch.ones(4, 2, dtype=torch.bool),
        train_mask=torch.tensor([[True, True], [True, True], [True, False], [True, True]]),
        keep=torch.tensor([True, True, False, True]),
        temperature=torch.ones(4),
        index=torch.arange(4),
        rewards=Rewards(
            values=torch.tensor([[-3.0], [0.0], [-1.0], [-2.0]]),
            valid=torch.tensor([[True], [False], [True], [True]]),
            names=("cost",),
            ideal=torch.tensor([0.0]),
            nadir=torch.tensor([-8.0]),
        ),
        columns={"prompt": ["a", "b", "a", "b"], "completion": ["w", "x", "y", "z"]},
    )
    credit = Credit(torch.tensor([[1.0, 2.0], [0.0, 0.0], [4.0, 100.0], [0.0, 0.0]])[..., None])
    cost = Objective("cost", used, maximize=False)
    first, second = kept_rollouts(rows, credit, members=("m00", "m01"), objectives=[cost], groups=1)
    # (1 + 2) / 2, and 4 alone where the second token is masked
    assert (first["member"], first["prompt"], first["completion"], first["reward/cost"], first["advantage"]) == (
        "m00", "a", "w", 3.0, 1.5,
    )  # fmt: skip
    assert (second["member"], second["kept"], second["reward/cost"], second["advantage"]) == ("m01", False, 1.0, 4.0)
    everything = kept_rollouts(rows, credit, members=("m00", "m01"), objectives=[cost], groups=2)
    assert [row["reward/cost"] for row in everything] == [3.0, None, 1.0, 2.0]
