"""A study from specification to front: what is written, what is equal, what goes on after a stop."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from moalign import Front, Objective, RunError, Study, StudyError, load, recipes
from moalign.training.recipe import Recipe

Make = Callable[..., Study]


def values(front: Front) -> dict[str, dict[str, float]]:
    return {point.id: point.values for point in [*front, *front.dominated]}


def test_a_front_is_written_and_read_back(tiny_study: Make, runs: Path) -> None:
    front = tiny_study().run(runs / "tiny")
    assert len(front) + len(front.dominated) == 3
    for name in ("spec.json", "metrics.jsonl", "front.json", "status.json"):
        assert (runs / "tiny" / name).is_file()
    again = load(runs / "tiny")
    assert values(again.front) == values(front)
    metrics = again.metrics()
    assert sorted(metrics["step"].unique()) == [0, 1, 2] and set(metrics["member"]) == {"m00", "m01", "m02"}
    assert again.status == "finished"


def test_a_finished_run_is_returned_as_it_is(tiny_study: Make, runs: Path) -> None:
    first = tiny_study().run(runs / "tiny")
    before = (runs / "tiny" / "front.json").stat().st_mtime_ns
    assert values(tiny_study().run(runs / "tiny")) == values(first)
    assert (runs / "tiny" / "front.json").stat().st_mtime_ns == before


def test_the_directory_of_another_study_is_refused(tiny_study: Make, runs: Path) -> None:
    tiny_study().run(runs / "tiny")
    with pytest.raises(RunError, match=r"recipe\.learning_rate: 0\.01 -> 0\.5"):
        tiny_study().replace(**{"recipe.learning_rate": 0.5}).run(runs / "tiny")
    with pytest.raises(RunError):
        tiny_study().run(runs / "tiny", resume="never")
    with pytest.raises(RunError):
        tiny_study().run(runs / "nothing-here", resume="must")


class Stopped(Exception):
    pass


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_stopped_run_ends_in_the_same_front(tiny_study: Make, runs: Path, at: int) -> None:
    def stop(record: dict[str, Any]) -> None:
        if record.get("step") == at:
            raise Stopped

    make = lambda: tiny_study(recipe=recipes.hypervolume(**SMALL))  # noqa: E731
    whole = make().run(runs / "whole")
    with pytest.raises(Stopped):
        make().run(runs / "stopped", on_step=stop)
    assert values(make().run(runs / "stopped", resume="must")) == values(whole)
    assert lines(runs / "whole") == lines(runs / "stopped")


SMALL: dict[str, Any] = {
    "steps": 4,
    "prompts_per_step": 2,
    "num_generations": 4,
    "max_completion_length": 8,
    "learning_rate": 1e-2,
}


def used(completion_ids: list[list[int]], **columns: Any) -> list[float]:
    return [float(len(ids)) for ids in completion_ids]


def lines(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


def test_order_of_objectives_changes_nothing(tiny_study: Make, runs: Path) -> None:
    study = tiny_study()
    turned = study.replace(name="turned", objectives=tuple(reversed(study.objectives)))
    assert values(study.run(runs / "a")) == values(turned.run(runs / "b"))


def test_names_of_objectives_change_nothing(tiny_study: Make, runs: Path) -> None:
    wishes = [{"digits": 1.0}, {"digits": 0.5, "short": 0.5}, {"short": 1.0}]
    study = tiny_study(preferences=wishes)
    rename = {"digits": "zeta", "short": "alpha"}  # also turns the alphabetical order round
    other = tiny_study(
        objectives=[Objective(rename[o.name], o.reward, bounds=o.bounds) for o in study.objectives],
        preferences=[{rename[n]: w for n, w in wish.items()} for wish in wishes],
        reference_point={"zeta": 0.0, "alpha": 0.0},
    )
    found, expected = values(other.run(runs / "b")), values(study.run(runs / "a"))
    for point, own in expected.items():
        assert {rename[n]: v for n, v in own.items()} == pytest.approx(found[point], abs=1e-6)


def test_a_cost_is_shown_in_its_own_sign(tiny_study: Make, runs: Path) -> None:
    study = tiny_study(
        objectives=[tiny_study().objectives[0], Objective("used", used, maximize=False, bounds=(0, 8))],
        reference_point={"digits": 0.0, "used": 8.0},
    )
    front = study.run(runs / "tiny")
    assert all(0 < point.values["used"] <= 8 for point in front)
    recorded = lines(runs / "tiny")[0]["rewards/used/mean"]
    assert all(0 < mean <= 8 for mean in recorded)


ANSWERED = [  # some recipes learn from the data's answers
    {"prompt": f"{a}+{b}=", "completion": str(a + b)} for a in range(10, 20) for b in range(10, 20)
]
ALL = sorted(set(recipes.RECIPES) - {"dpo", "modpo", "sft"})
REQUIRED: dict[str, dict[str, Any]] = {
    "f-grpo": {"route": {"digits": "after", "short": ("before", "after")}},
    "knapsack-grpo": {"first": 2, "objective": "digits"},  # fewer than the four of each: a second round
}


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_runs_in_a_study(tiny_study: Make, runs: Path, name: str) -> None:
    recipe = recipes.RECIPES[name](**SMALL, **REQUIRED.get(name, {}))
    assert isinstance(recipe, Recipe)
    study = tiny_study(recipe=recipe, train_dataset=ANSWERED)
    study = study.replace(**{"objectives.digits.threshold": 0.2})  # a floor, for those who hold any
    front = study.run(runs / "tiny")
    for point in [*front, *front.dominated]:
        assert np.isfinite(list(point.values.values())).all()
    lines_ = lines(runs / "tiny")
    assert len(lines_) == 4 and all(np.isfinite(line["loss"]).all() for line in lines_ if "loss" in line)


def test_credit_by_segment_names_objectives_that_there_are(tiny_study: Make, runs: Path) -> None:
    wrong = tiny_study(recipe=recipes.f_grpo(**SMALL, route={"digit": "after"}))
    with pytest.raises(StudyError, match=r"`recipe.credit.place` names the objective `digit`, .* did you mean digits"):
        wrong.check()
    with pytest.raises(StudyError, match="`route` is empty"):
        tiny_study(recipe="f-grpo").check()
    with pytest.raises(StudyError, match="to the segment `behind`"):
        wrong.replace(**{"recipe.route": {"digits": "behind"}}).check()


def test_full_parameter_model(tiny_study: Make, runs: Path, tmp_path: Path) -> None:
    front = tiny_study(members=1, peft_config="full", recipe=recipes.gdpo(**SMALL)).run(runs / "tiny")
    written = front[0].export(tmp_path / "out", merge=True)
    assert AutoModelForCausalLM.from_pretrained(written).num_parameters() > 0


def test_offline_recipes(tiny_study: Make, runs: Path) -> None:
    data = [{"prompt": f"{a}+{b}=", "chosen": str(a + b), "rejected": "x", "completion": str(a + b)}
            for a in range(10, 20) for b in range(10, 20)]  # fmt: skip
    for name in ("dpo", "sft"):
        recipe = recipes.RECIPES[name](**{**SMALL, "learning_rate": 3e-2, "steps": 6})
        front = tiny_study(name, recipe=recipe, train_dataset=data, members=1).run(runs / name)
        losses = [line["loss"][0] for line in lines(runs / name)]
        assert losses[-1] < losses[0]
        assert len(front) == 1


def test_modpo_makes_a_front_of_its_preferences(tiny_study: Make, runs: Path) -> None:
    data = [
        {"prompt": f"{a}+{b}=", "chosen": str(a + b), "rejected": "x"} for a in range(10, 20) for b in range(10, 20)
    ]
    wishes = [{"digits": w, "short": round(1 - w, 2)} for w in (1.0, 0.6, 0.2)]
    recipe = recipes.modpo(**{**SMALL, "learning_rate": 3e-2, "steps": 6}, objective="digits")
    front = tiny_study(recipe=recipe, train_dataset=data, preferences=wishes).run(runs / "modpo")
    assert len([*front, *front.dominated]) == 3
    found = lines(runs / "modpo")
    assert found[0]["loss"][0] == pytest.approx(np.log(2))  # all the weight on what the pairs express: DPO
    assert found[0]["loss"][1] != pytest.approx(np.log(2)) and found[-1]["loss"][0] < found[0]["loss"][0]
    assert len({point.values["digits"] for point in [*front, *front.dominated]}) == 3
