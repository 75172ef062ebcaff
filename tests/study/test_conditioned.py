"""One adapter, a front of as many points as there are preferences: each is a text before every prompt."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from moalign import Study, StudyError, load, recipes
from moalign.errors import ConfigError
from moalign.fronts._soup import soup
from moalign.parts import PerMember

ANSWERS = ["7", "13", "#13", "7, 13"]
DATA = [
    {"prompt": f"{a}+{b}=", "completion": ANSWERS[(a + b) % len(ANSWERS)]} for a in range(10, 20) for b in range(10, 20)
]
SMALL: dict[str, Any] = {
    "steps": 4, "prompts_per_step": 4, "max_completion_length": 8, "learning_rate": 1e-2, "online": 0.5,
    "template": "{value}", "separator": ",", "levels": 9,
}  # fmt: skip


@pytest.fixture
def study(tiny_study: Callable[..., Study]) -> Callable[..., Study]:
    def make(**changes: Any) -> Study:
        return tiny_study(recipe=recipes.ric(**SMALL, **changes), train_dataset=DATA, members=4)

    return make


def every(front: Any) -> dict[str, Any]:
    return {point.id: point for point in sorted([*front, *front.dominated], key=lambda point: point.id)}


def test_a_front_of_prefixes_of_one_adapter(study: Callable[..., Study], runs: Path) -> None:
    front = study().run(runs / "tiny")
    points = every(front)
    assert list(points) == ["c00", "c01", "c02", "c03"] and {p.kind for p in points.values()} == {"conditioned"}
    # wishes 1, 2/3, 1/3, 0 for digits; shares p / |p| of nine levels: 9, 8.05, 4.02, 0
    assert [p.prefix for p in points.values()] == ["9,0 ", "8,4 ", "4,8 ", "0,9 "]
    assert [round(p.preference["digits"], 2) for p in points.values()] == [1.0, 0.67, 0.33, 0.0]
    adapters = [load_file(p.path / "adapter_model.safetensors") for p in points.values()]
    assert all(torch.equal(own[name], adapters[0][name]) for own in adapters for name in own)
    (saved,) = (runs / "tiny" / "checkpoints").glob("step-*4")
    whole = [load_file(file) for file in saved.glob("*.safetensors")]
    trained = {n: x.shape for part in whole for n, x in part.items() if "policy" in n and "lora_" in n}
    assert trained and all(shape[0] == 1 for shape in trained.values())  # the leading axis is the member's
    metrics = load(runs / "tiny").metrics()
    assert set(metrics["member"]) == {"m00"} and len(metrics) == 4
    again = every(load(runs / "tiny").front)
    assert [p.prefix for p in again.values()] == [p.prefix for p in points.values()]
    with pytest.raises(ConfigError, match="different prefixes"):
        soup(list(points.values())[:2], {"c00": 0.5, "c01": 0.5}, None)


def test_one_behaviour_gets_its_own_wish(study: Callable[..., Study], runs: Path) -> None:
    one = study().replace(members=1, preferences=[{"digits": 0.0, "short": 1.0}])
    (point,) = every(one.run(runs / "tiny")).values()
    assert point.preference == {"digits": 0.0, "short": 1.0} and point.prefix == "0,9 "


class Stopped(Exception):
    pass


@pytest.mark.parametrize("at", [1, 2])
def test_a_stopped_run_ends_in_the_same_front(study: Callable[..., Study], runs: Path, at: int) -> None:
    def stop(record: dict[str, Any]) -> None:
        if record.get("step") == at:
            raise Stopped

    whole = study().run(runs / "whole")
    with pytest.raises(Stopped):
        study().run(runs / "stopped", on_step=stop)
    resumed = study().run(runs / "stopped", resume="must")
    assert {i: (p.prefix, p.values) for i, p in every(resumed).items()} == {
        i: (p.prefix, p.values) for i, p in every(whole).items()
    }


def test_the_order_of_objectives_changes_nothing(study: Callable[..., Study], runs: Path) -> None:
    made = study()
    turned = made.replace(name="turned", objectives=tuple(reversed(made.objectives)))
    a, b = every(made.run(runs / "a")), every(turned.run(runs / "b"))
    assert {i: (p.prefix, p.values, p.preference) for i, p in a.items()} == {
        i: (p.prefix, p.values, p.preference) for i, p in b.items()
    }


def test_the_prefix_is_told_and_used(study: Callable[..., Study], runs: Path, tmp_path: Path, moalign: Any) -> None:
    study().run(runs / "tiny")
    points = every(load(runs / "tiny").front)
    code, out, _ = moalign("show", runs / "tiny", "c01")
    assert code == 0 and "before every prompt: '8,4 '" in out
    code, out, _ = moalign("export", runs / "tiny", "c01", "--to", tmp_path / "out", "--merge")
    assert code == 0 and "put '8,4 ' before every prompt" in out
    assert json.loads((tmp_path / "out" / "condition.json").read_text()) == {"prefix": "8,4 "}
    options: dict[str, Any] = {"max_new_tokens": 4, "temperature": 0.0}
    bare = replace(points["c01"], prefix="")
    assert points["c01"].generate(["12+13=", "7"], **options) == bare.generate(["8,4 12+13=", "8,4 7"], **options)


def test_the_plan_counts_one_member(study: Callable[..., Study]) -> None:
    plan = study().check()
    assert plan.members == 1 and plan.evaluations == 2 * 8 * 4  # splits, prompts, behaviours
    with pytest.raises(StudyError, match="4 values for 1 members"):
        study(temperature=PerMember([1.0] * 4)).check()
    study().replace(peft_config="full").check()  # one whole model will do, too
