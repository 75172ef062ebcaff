"""Bad input: a clear error before anything is trained, and all of them at once."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from moalign import Objective, PerMember, RunError, Simplex, Study, StudyError, recipes
from moalign.errors import ConfigError, UnknownNameError

Make = Callable[..., Study]
DATA = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(10, 20) for b in range(10, 20)]
ENOUGH = [{"prompt": f"{i}="} for i in range(100)]


def problems(study: Study) -> tuple[str, ...]:
    with pytest.raises(StudyError) as caught:
        study.check()
    return caught.value.problems


def only(study: Study) -> str:
    [problem] = problems(study)
    return problem


def one(completions: list[str], **columns: Any) -> list[float]:
    return [1.0 for _ in completions]


def by_answer(completions: list[str], answer: list[str], **columns: Any) -> list[float]:
    return [float(c == a) for c, a in zip(completions, answer)]


def test_a_right_study_has_no_problem(tiny_study: Make) -> None:
    plan = tiny_study().check()
    assert plan.rollouts == 3 * 3 * 2 * 4  # steps, members, prompts, generations


def test_objectives(tiny_study: Make) -> None:
    digits, short = tiny_study().objectives
    bare = tiny_study(objectives=[digits, Objective("short", bounds=(0, 1))])
    assert "objective `short` has no `reward`" in only(bare)
    twice = tiny_study(objectives=[digits, digits, short])
    assert "2 objectives are called `digits`" in only(twice)
    assert "nothing to optimize" in problems(tiny_study(objectives=[]))[0]
    no_class = tiny_study(objectives=[digits, Objective("short", "nowhere/to/be/found/classifier", bounds=(0, 1))])
    assert "no such path" in only(no_class)
    no_function = tiny_study(objectives=[digits, Objective("short", "json:no_such_function", bounds=(0, 1))])
    assert "the reward of objective `short`: `json:no_such_function` cannot be imported" in only(no_function)
    with pytest.raises(ConfigError, match="`objectives` must be"):
        tiny_study(objectives=3)


def test_preferences(tiny_study: Make) -> None:
    corner = {"digits": 1.0}
    assert "`shrot`, which is not a trained objective; did you mean short?" in only(
        tiny_study(preferences=[corner, corner, {"shrot": 1.0}])
    )
    assert "`preferences[1]` is off the simplex (sum 1.5)" in only(
        tiny_study(preferences=[corner, {"digits": 0.5, "short": 1.0}, corner])
    )
    assert "`preferences[0]` is off the simplex" in only(
        tiny_study(preferences=[{"digits": 2.0, "short": -1.0}, corner, corner])
    )
    assert "has 1 entries for 3 members" in only(tiny_study(preferences=[corner]))
    assert "`preferences[0]` must map objectives to numbers" in only(
        tiny_study(preferences=[{"digits": "all"}, corner, corner])
    )
    assert "must be 'simplex'" in only(tiny_study(preferences=3))
    assert "`preferences`" in only(tiny_study(preferences=Simplex(min={"digits": 0.7, "short": 0.7})))


def test_reference_point(tiny_study: Make) -> None:
    digits = tiny_study().objectives[0]
    cost = Objective("used", one, maximize=False, bounds=(0, 8))
    at = lambda value: tiny_study(objectives=[digits, cost], reference_point={"digits": 0.0, "used": value})  # noqa: E731
    at(8.0).check()
    assert "`used` is 0; it must lie above the best value 0" in only(at(0.0))  # a cost: in its own sign
    assert "`digits` is 1; it must lie below the best value 1" in only(
        tiny_study(reference_point={"digits": 1.0, "short": 0.0})
    )
    assert "no value for objective `short`" in only(tiny_study(reference_point={"digits": 0.0}))
    assert "names `digit`" in problems(tiny_study(reference_point={"digit": 0.0, "short": 0.0}))[0]


def test_a_missing_reference_point_is_suggested(tiny_study: Make, runs: Path) -> None:
    digits = tiny_study().objectives[0]
    study = tiny_study(objectives=[digits, Objective("used", lambda completion_ids: [len(i) for i in completion_ids],
                                                     maximize=False)], reference_point=None)  # fmt: skip
    with pytest.raises(StudyError) as caught:
        study.run(runs / "tiny")
    [problem] = caught.value.problems
    assert not runs.exists()
    pasted = json.loads(problem.partition("reference_point=")[2])
    assert set(pasted) == {"digits", "used"} and 0 <= pasted["digits"] < 1 and 0 < pasted["used"] <= 8
    study.replace(reference_point=pasted).check()
    # beside another problem it is only said to be missing
    missing, other = problems(tiny_study(reference_point=None, save_steps=0))
    assert "`reference_point` is missing" in missing and "reference_point=" not in missing and "`save_steps`" in other


def test_members(tiny_study: Make) -> None:
    assert "`members` must be an integer of at least 1, got 0" in only(tiny_study(members=0))
    assert "2 values for 3 members" in only(
        tiny_study(recipe=recipes.gdpo(learning_rate=PerMember([1e-3, 1e-2]), max_completion_length=8))
    )
    assert "`members` must be 1 when peft_config='full'" in only(tiny_study(peft_config="full"))


def test_unknown_parts_and_options(tiny_study: Make) -> None:
    assert "no recipe is called `gdop`; did you mean gdpo" in only(tiny_study(recipe="gdop"))
    with pytest.raises(UnknownNameError, match=r"learning_rat.*did you mean learning_rate"):
        tiny_study().replace(**{"recipe.learning_rat": 1.0})
    with pytest.raises(UnknownNameError, match=r"no estimator is called `group-relativ`.*group-relative"):
        tiny_study().replace(**{"recipe.credit.estimate": "group-relativ"})
    with pytest.raises(ConfigError, match="learning_rat"):
        recipes.gdpo(learning_rat=1.0)


def test_model_and_tokenizer(tiny_study: Make, tiny_model: str, tmp_path: Path) -> None:
    assert "there is no such path" in only(tiny_study(model=str(tmp_path / "nothing" / "here" / "x")))
    assert "`model` must be a path" in only(tiny_study(model=3))
    assert "`processing_class`" in only(tiny_study(processing_class=str(tmp_path / "no" / "tokenizer" / "x")))
    loaded = AutoModelForCausalLM.from_pretrained(tiny_model)
    tiny_study(model=loaded).check()
    loaded.config._name_or_path = loaded.name_or_path = ""
    assert "`processing_class` is missing" in only(tiny_study(model=loaded))
    tiny_study(model=loaded, processing_class=AutoTokenizer.from_pretrained(tiny_model)).check()


def test_a_tokenizer_object_is_used(tiny_study: Make, tiny_model: str, runs: Path) -> None:
    plain = tiny_study().run(runs / "a")
    loaded = AutoModelForCausalLM.from_pretrained(tiny_model)
    given = tiny_study(model=loaded, processing_class=AutoTokenizer.from_pretrained(tiny_model)).run(runs / "b")
    assert [p.values for p in given] == [p.values for p in plain]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("lora", "`peft_config` must be a LoraConfig"),
        (7, "`peft_config` must be a LoraConfig"),
        ({"rank": 4}, "`peft_config` has no option `rank`"),
        ({"r": 0}, "`peft_config`.*`r`"),
        (LoraConfig(use_dora=True), "sets `use_dora=True`"),
        ({"lora_dropout": 0.1}, "sets `lora_dropout=0.1`"),
    ],
)
def test_peft_config(tiny_study: Make, config: Any, message: str) -> None:
    assert re.search(message, only(tiny_study(peft_config=config)))


def test_a_dict_is_a_lora_config(tiny_study: Make, runs: Path) -> None:
    steps = recipes.gdpo(steps=1, prompts_per_step=2, num_generations=2, max_completion_length=4)
    a = tiny_study(peft_config={"r": 2, "target_modules": ["q_proj"]}, recipe=steps).run(runs / "a")
    b = tiny_study(peft_config=LoraConfig(r=2, target_modules=["q_proj"]), recipe=steps).run(runs / "b")
    assert [p.values for p in a] == [p.values for p in b]
    saved = json.loads((runs / "a" / "points" / "m00" / "adapter_config.json").read_text())
    assert saved["r"] == 2 and saved["target_modules"] == ["model.layers.0.self_attn.q_proj"]


def test_data(tiny_study: Make, tmp_path: Path) -> None:
    assert "`train_dataset`: `no-such-file.jsonl` should be a data file" in only(
        tiny_study(train_dataset="no-such-file.jsonl")
    )
    (tmp_path / "data.jsonl").write_text('{"question": "1+1="}\n')
    problem = only(tiny_study(train_dataset=str(tmp_path / "data.jsonl")))
    assert "no `prompt` in row 0" in problem and "rename_column('question', 'prompt')" in problem
    assert "`train_dataset` is missing" in only(tiny_study(train_dataset=None))
    assert "both `eval_dataset` and `test_dataset`" in only(tiny_study(eval_dataset=ENOUGH))
    assert "cannot be split (at least 64)" in only(tiny_study(train_dataset=ENOUGH[:63]))
    tiny_study(train_dataset=ENOUGH[:1], eval_dataset=ENOUGH[1:2], test_dataset=ENOUGH[2:3]).check()


def test_columns(tiny_study: Make) -> None:
    digits = tiny_study().objectives[0]
    study = tiny_study(objectives=[digits, Objective("short", by_answer, bounds=(0, 1))])
    study.check()  # the data has `answer`
    assert "asks for the column `answer`, which `train_dataset` does not have" in only(
        study.replace(train_dataset=ENOUGH)
    )
    near = study.replace(train_dataset=[{**row, "answers": "x"} for row in ENOUGH])
    assert "did you mean answers" in only(near)
    assert "learns from the column `chosen`" in problems(tiny_study(recipe="dpo"))[0]


def test_everything_at_once_and_nothing_written(tiny_study: Make, runs: Path) -> None:
    tiny_study().run(runs / "taken")
    before = sorted(p.name for p in runs.rglob("*"))
    digits = tiny_study().objectives[0]
    study = tiny_study(
        "no/name",
        objectives=[digits, digits, Objective("bare")],
        model="./no/model",
        train_dataset="no.jsonl",
        recipe="gdop",
        members=0,
        reference_point={"digits": 2.0, "other": 0.0},
        peft_config={"rank": 2},
        engine="warp",
        eval_prompts=0,
        save_steps=-1,
        micro_rows=0,
    )
    with pytest.raises(StudyError) as caught:
        study.run(runs / "taken", on_step=lambda record: pytest.fail("a step was taken"))
    text = str(caught.value)
    for part in (
        "`name`", "2 objectives are called `digits`", "`bare` has no `reward`", "./no/model", "no.jsonl", "gdop",
        "`members`", "below the best value", "names `other`", "no value for objective `bare`", "no option `rank`",
        "`engine`", "`eval_prompts`", "`save_steps`", "`micro_rows`", "is the run of another study",
    ):  # fmt: skip
        assert part in text
    assert len(caught.value.problems) == 16
    assert sorted(p.name for p in runs.rglob("*")) == before


def test_a_study_that_fails_to_load_leaves_the_directory_free(tiny_study: Make, runs: Path) -> None:
    chats = [{"prompt": [{"role": "user", "content": f"{i}="}]} for i in range(100)]
    with pytest.raises(ConfigError, match="`chat_template`"):
        tiny_study(train_dataset=chats).run(runs / "tiny")
    assert not (runs / "tiny").exists()
    assert len(tiny_study().run(runs / "tiny")) > 0


def test_directory_of_another_study(tiny_study: Make, runs: Path) -> None:
    tiny_study().run(runs / "tiny")
    with pytest.raises(RunError, match=r"another study(.|\n)*members: 3 -> 2"):
        tiny_study(members=2).run(runs / "tiny")


# --- wrong types: in a process of its own, because tests check every annotation at run time -----------------------

WRONG_TYPES = """
import json, sys
from moalign import Objective, Study, recipes
from moalign.errors import ConfigError

def one(completions, **columns): return [1.0 for _ in completions]

def study(**changes):
    base = dict(objectives=[Objective("a", one, bounds=(0, 1))], model=sys.argv[1], reference_point={"a": 0.0},
                train_dataset=[{"prompt": f"{i}="} for i in range(100)], members=2)
    return Study("s", **{**base, **changes})

def said(make):
    try:
        make().check()
    except ConfigError as error:
        return str(error)
    return None

changes = dict(
    members="8", seed="x", preferences=3, save_steps=1.5, eval_prompts=True, micro_rows="all", save_rollouts=-1,
    reference_point=[0.0], train_dataset=5, recipe=7, model=None, engine=None, peft_config=[1], name=3, objectives=[],
)
found = {name: said(lambda: study(**{name: value}) if name != "name" else study().replace(name=value))
         for name, value in changes.items()}
found["value"] = said(lambda: study(reference_point={"a": "low"}))
found["entry"] = said(lambda: study(preferences=["a", "b"]))
found["bounds"] = said(lambda: study(objectives=[Objective("a", one, bounds=7)]))
found["threshold"] = said(lambda: study(objectives=[Objective("a", one, threshold="high")]))
found["reward"] = said(lambda: study(objectives=[Objective("a", 7)]))
found["learning_rate"] = said(lambda: study(recipe=recipes.gdpo(learning_rate="fast")))
found["temperature"] = said(lambda: study(recipe=recipes.gdpo(temperature=-1.0)))
found["steps"] = said(lambda: study(recipe=recipes.gdpo(steps="many")))
found["nothing wrong"] = said(lambda: study(recipe=recipes.gdpo(max_completion_length=8)))
print(json.dumps(found))
"""


def test_wrong_types_are_errors_of_the_study(tiny_model: str) -> None:
    done = subprocess.run([sys.executable, "-c", WRONG_TYPES, tiny_model], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("nothing wrong") is None
    inside = {"value": "reference_point", "entry": "preferences", "bounds": "bounds", "reward": "reward"}
    for name, message in found.items():
        assert message is not None, name
        assert f"`{inside.get(name, name)}" in message or name in ("objectives", "reward", "learning_rate"), message
        assert "\n" not in message or name == "objectives", message  # this and nothing else


@pytest.mark.parametrize(
    ("settings", "messages"),
    [
        (["recipe.learning_rat=1"], ["did you mean learning_rate"]),
        (["recipe=gdop", "members=0"], ["did you mean gdpo", "`members` must be an integer of at least 1"]),
        (["recipe.learning_rat=1", "membrs=4"], ["did you mean learning_rate", "did you mean members"]),
        (["recipe.weighting=constan"], ["no controller is called `constan`; did you mean constant"]),
        (["members"], ["write path=value"]),
        (
            ["train_dataset=no.jsonl", "save_steps=0"],  # both studies of the file
            ["- tiny: `save_steps`", "- tiny: `train_dataset`", "- tiny-fixed: `save_steps`", "tiny-fixed: `train_"],
        ),
    ],
)
def test_settings_on_the_command_line(
    moalign: Callable[..., tuple[int, str, str]], study_file: Path, runs: Path, settings: list[str], messages: list[str]
) -> None:
    code, _, errors = moalign("run", study_file, "--out", runs, *[f"--set={setting}" for setting in settings])
    assert code == 2 and "Traceback" not in errors and not runs.exists()
    for message in messages:
        assert message in errors


def test_no_study_of_a_file_starts_when_one_has_no_place(
    moalign: Callable[..., tuple[int, str, str]], study_file: Path, finished: Path
) -> None:
    out = finished.parent  # holds the first study as it is
    code, _, errors = moalign("run", study_file, "--out", out, "--set=seed=5")
    assert code == 2 and "tiny: " in errors and "another study" in errors and "seed: 0 -> 5" in errors
    assert sorted(path.name for path in out.iterdir()) == ["tiny"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"recipe": recipes.lagrangian(max_completion_length=8)}, "no trained objective has one"),
        ({"recipe": recipes.gdpo(max_completion_length=8, num_generations=1)}, "`num_generations` must be at least 2"),
        ({"recipe": recipes.gdpo(max_completion_length=500)}, r"`max_completion_length` 500 do not fit the model's 64"),
        ({"recipe": recipes.gdpo(max_completion_length=8, weighting="hypervolume-gradient")}, "in their own units"),
        ({"eval_dataset": DATA[:9], "test_dataset": DATA[8:]}, "1 prompts are both in `eval_dataset` and"),
        ({"train_dataset": [{"prompt": [{"role": "user", "content": str(i)}]} for i in range(80)]}, "template"),
    ],
)
def test_what_does_not_fit_together(tiny_study: Make, changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(StudyError, match=rule):
        tiny_study(**changes).check()


def test_an_objective_with_a_threshold_is_a_floor_instead_of_a_wish(tiny_study: Make) -> None:
    from moalign.study._assemble import assemble

    study = tiny_study(recipe=recipes.lagrangian(max_completion_length=8))
    floor = study.replace(**{"objectives.digits.threshold": 0.2})
    made = assemble(floor)
    assert made.preferences[:, [o.name for o in made.trained].index("digits")].tolist() == [0.0] * 3
    assert made.preferences.sum(dim=1).tolist() == [1.0] * 3
