"""Replays of a real run: its own settings give back what was stored; others do what the real credit does."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from moalign import Objective, Study, recipes
from moalign.credit import AtAdvantage, AtReward, CreditPipeline
from moalign.diagnostics._record import from_record, objectives_of
from moalign.diagnostics.rescore import rescore
from moalign.errors import ConfigError, RunError, StudyError, UnknownNameError
from moalign.parts import spec
from moalign.recipes import RECIPES

MIXED = [{"digits": 0.7, "short": 0.3}, {"digits": 0.3, "short": 0.7}]
DATA = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(10, 20) for b in range(10, 20)]


def digits(completions: list[str], **columns: Any) -> list[float | None]:
    """A third does not apply."""
    return [None if len(c) % 3 == 0 else sum(x.isdigit() for x in c) / max(len(c), 1) for c in completions]


def letters(completions: list[str], **columns: Any) -> list[float]:
    return [float(len(set(c))) for c in completions]


def right(completions: list[str], answer: list[str], **columns: Any) -> list[float]:
    return [float(a in c) for c, a in zip(completions, answer)]


def tokens(completion_ids: list[list[int]], **columns: Any) -> list[float]:
    return [float(len(ids)) for ids in completion_ids]


@pytest.fixture(scope="session")
def kept(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with missing rewards, a cost and per-batch credit, two of whose three groups are kept."""
    study = Study(
        "kept",
        [Objective("digits", digits, bounds=(0, 1)), Objective("short", letters, maximize=False)],
        model=tiny_model,
        train_dataset=DATA,
        recipe=recipes.gdpo(steps=3, prompts_per_step=3, num_generations=4, max_completion_length=8),
        members=2,
        preferences=MIXED,
        reference_point={"digits": 0.0, "short": 9.0},
        eval_prompts=4,
        save_steps=1,
        save_rollouts=2,
    )
    path = tmp_path_factory.mktemp("rescore") / "kept"
    study.run(path, on_step=lambda record: None)
    return path


def test_the_runs_own_settings_give_back_what_was_stored(kept: Path) -> None:
    found = rescore(kept)
    table = pd.concat(pd.read_parquet(file) for file in sorted((kept / "rollouts").glob("*.parquet")))
    assert table["advantage"].abs().max() > 0.5 and table["reward/digits"].isna().any()
    assert found.difference < 2e-5 and found.groups == "2 of 3 groups of each member"
    assert found.completions == 3 * 2 * 2 * 4 == len(table)
    assert found.before == found.after and found.turned == 0 and found.most == ()


def test_a_damaged_advantage_is_noticed(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept, tmp_path / "other")
    file = tmp_path / "other" / "rollouts" / "step-000001.parquet"
    frame = pd.read_parquet(file)
    frame.loc[0, "advantage"] += 0.25
    frame.to_parquet(file)
    assert rescore(tmp_path / "other").difference == pytest.approx(0.25, abs=1e-4)


def test_all_weight_on_one_objective(kept: Path) -> None:
    found = rescore(kept, {"weights.digits": 0.0, "weights.short": 1})
    assert found.after.weights == {"digits": 0.0, "short": 1.0}
    assert found.after.pressure["short"] > found.before.pressure["short"]
    assert found.turned > 0 and found.correlation < 1.0
    sizes = [abs(t.after - t.before) for t in found.most]
    assert sizes == sorted(sizes, reverse=True) and all(t.before * t.after < 0 for t in found.most)
    assert found.after.means == found.before.means and found.after.hypervolume == found.before.hypervolume


def test_weights_of_any_size_are_divided_out(kept: Path) -> None:
    one, ten = (rescore(kept, {"weights.digits": 0.5 * x, "weights.short": 0.5 * x}) for x in (1.0, 10.0))
    assert one.after.pressure == pytest.approx(ten.after.pressure, abs=1e-4)


def test_another_credit_by_name_and_by_path(kept: Path) -> None:
    by_name = rescore(kept, {"recipe": "grpo"}).after
    by_path = rescore(kept, {"recipe.credit.rescale": None, "recipe.credit.collapse": "at_reward"}).after
    assert by_name == by_path != rescore(kept).after
    changes = {"collapse.scalarizer": "chebyshev", "collapse": "at-reward"}  # whatever their order
    assert rescore(kept, changes) == rescore(kept, dict(reversed(changes.items())))


def test_new_rewards(kept: Path) -> None:
    given = [Objective("right", right, bounds=(0, 1)), Objective("short", letters)]  # a cost becomes a gain
    found = rescore(kept, {"weights.right": 0.2}, rewards=given, data=DATA)
    assert list(found.after.means) == ["digits", "right", "short"] and list(found.before.means) == ["digits", "short"]
    assert found.after.means["short"] == pytest.approx(found.before.means["short"])
    assert found.after.pressure["short"] > 0 and found.turned > 0
    assert found.after.hypervolume is None and found.before.hypervolume is not None  # `right` has no reference


def test_the_same_rewards_change_nothing(kept: Path) -> None:
    given = [Objective("digits", digits, bounds=(0, 1)), Objective("short", letters, maximize=False)]
    assert rescore(kept, rewards=given).after == rescore(kept).before


def test_a_gate_may_follow_a_stored_objective(kept: Path) -> None:
    gated = Objective("late", letters, bounds=(0, 100), after="enough")
    enough = Objective("enough", digits, threshold=2.0, optimize=False)  # never met: `late` is at its worst
    found = rescore(kept, {"weights.late": 0.5}, rewards=[gated, enough])
    assert found.after.means["late"] == 0.0 and found.after.pressure["late"] == 0.0


def test_json(kept: Path) -> None:
    record = json.loads(json.dumps(rescore(kept, {"weights.digits": 0.0}).as_json(), allow_nan=False))
    assert record["before"]["weights"]["digits"] == pytest.approx(0.5) and record["most"][0]["member"] in ("m00", "m01")


@pytest.mark.parametrize(
    "ask, error, words",
    [
        ({"changes": {"weights.digit": 1.0}}, UnknownNameError, "did you mean digits.*a replay changes"),
        ({"changes": {"weights.digits": "much"}}, ConfigError, "`weights.digits` must be a number, not 'much'"),
        ({"changes": {"recipe.learning_rate": 1.0}}, UnknownNameError, "`learning_rate`.*a replay changes"),
        ({"changes": {"recipe": "gdpoo"}}, UnknownNameError, "no recipe is called `gdpoo`; did you mean gdpo"),
        ({"changes": {"recipe": "vapo"}}, ConfigError, "value heads"),
        ({"rewards": [Objective("new", letters)]}, ConfigError, "`new` is new and has no weight"),
        ({"rewards": [Objective("short", tokens)]}, ConfigError, "`short` asks for `completion_ids`"),
        ({"rewards": [Objective("short", right)]}, StudyError, "column `answer`.*Define `train_dataset`"),
        ({"rewards": [Objective("short", right)], "data": DATA[::-1]}, ConfigError, "is not the run's: its row"),
    ],
)
def test_errors(kept: Path, ask: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        rescore(kept, **ask)


def test_what_is_no_run_or_kept_nothing(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no spec.json"):
        rescore(tmp_path)
    shutil.copy(kept / "spec.json", tmp_path)
    with pytest.raises(RunError, match="`save_rollouts` above 0"):
        rescore(tmp_path)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipes_credit_comes_back_from_its_record(name: str) -> None:
    credit = RECIPES[name]().credit
    record = json.loads(json.dumps(spec(credit)))
    assert spec(from_record(record, "credit")) == record


def test_a_record_is_never_executed() -> None:
    record = spec(CreditPipeline()) | {"estimate": {"call": "os:system", "sha256": "0"}}
    with pytest.raises(ConfigError, match="`os:system` is not a part of moalign's"):
        from_record(record, "credit")
    with pytest.raises(UnknownNameError, match="os:system"):
        from_record({"part": "os:system"}, "credit")


def test_records_of_nested_parts() -> None:
    made = from_record(spec(CreditPipeline(collapse=AtReward(missing="zero"))), "credit")
    assert made.collapse == AtReward(missing="zero") and from_record({"part": "at-advantage"}) == AtAdvantage()


def test_objectives_come_without_what_is_only_tracked() -> None:
    first = Objective("b", len, maximize=False, bounds=(0, 2))
    objectives = [first, Objective("a", len), Objective("c", len, optimize=False)]
    found = objectives_of({"objectives": spec(tuple(objectives))})
    assert [o.name for o in found] == ["a", "b"] and found[1] == dataclasses.replace(first, reward=None)
