"""Numbers that are scheduled or differ between members, from the study to the front; value heads on a real model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moalign import Study, StudyError, recipes
from moalign.losses import KL, PolicyLoss, value_mse
from moalign.parts import Linear, PerMember, bind

Make = Callable[..., Study]
SMALL: dict[str, Any] = {"steps": 3, "prompts_per_step": 2, "num_generations": 4, "max_completion_length": 8}


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_knobs_of_every_part_run_in_a_study(tiny_study: Make, runs: Path) -> None:
    recipe = recipes.gdpo(
        **SMALL,
        learning_rate=Linear(1e-2, 0.0, warmup=0.4),
        temperature=PerMember([1.0, 0.8, 0.6]),
        max_grad_norm=PerMember([1.0, 0.5, 0.1]),
        beta=Linear(0.0, 0.1),
        epsilon=PerMember([0.1, 0.2, 0.3]),
        passes=2,
    )
    front = tiny_study(recipe=recipe).run(runs / "tiny")
    assert front.temperature is None  # each member was valued at its own
    rates = [record["learning_rate"] for record in records(runs / "tiny")]
    # progress 0, 1/3, 2/3 of a warmup to 0.4: 0, then 0.01 * (1/3) / 0.4, then 0.01 * (1 - (2/3 - 0.4) / 0.6)
    assert rates == pytest.approx([0.0, 0.008333, 0.005556], abs=1e-6)


def test_members_are_valued_at_the_end_of_a_schedule(tiny_study: Make, runs: Path) -> None:
    recipe = recipes.gdpo(**SMALL, learning_rate=1e-2, temperature=Linear(1.0, 0.5))
    assert tiny_study(recipe=recipe).run(runs / "a").temperature == 0.5
    greedy = recipes.gdpo(**SMALL, learning_rate=1e-2, temperature=Linear(1.0, 0.5), eval_temperature=0.0)
    assert tiny_study(recipe=greedy).run(runs / "b").temperature == 0.0


def test_soups_of_members_at_different_temperatures_need_one_to_be_valued_at(tiny_study: Make) -> None:
    recipe = recipes.rewarded_soup(**SMALL, temperature=PerMember([1.0, 0.8]))
    with pytest.raises(StudyError, match=r"`recipe.eval_temperature` must be one number"):
        tiny_study(recipe=recipe, members=2).check()
    tiny_study(recipe=recipe, members=2).replace(**{"recipe.eval_temperature": 1.0}).check()


def test_value_heads_learn_beside_the_policy(tiny_study: Make, runs: Path) -> None:
    losses = {"policy": PolicyLoss(), "value": bind(value_mse), "kl": KL(beta=0.0)}
    recipe = recipes.gdpo(**{**SMALL, "steps": 12, "learning_rate": 3e-2, "losses": losses})
    tiny_study(recipe=recipe).run(runs / "tiny")
    found = [record["loss"] for record in records(runs / "tiny")]
    first, last = ([sum(step[k] for step in part) / len(part) for k in range(3)] for part in (found[:3], found[-3:]))
    assert all(after < before for before, after in zip(first, last))


def test_the_constant_of_the_reduction_follows_a_replaced_length(tiny_study: Make, runs: Path) -> None:
    study = tiny_study(recipe=recipes.linear(**{**SMALL, "learning_rate": 1e-2}))
    changed = study.replace(**{"recipe.max_completion_length": 4})
    again = tiny_study(recipe=recipes.linear(**{**SMALL, "learning_rate": 1e-2, "max_completion_length": 4}))
    assert changed.spec() == again.spec()
    changed.run(runs / "a")
    fixed = changed.replace(**{"recipe.reduce.length": 400})
    fixed.run(runs / "b")
    losses = [records(runs / name)[0]["grad_norm"][1] for name in "ab"]
    assert losses[0] == pytest.approx(100 * losses[1], rel=1e-3)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_configuration_of_trl_trains_in_a_study(tiny_study: Make, runs: Path, tmp_path: Path) -> None:
    from trl.trainer.grpo_config import GRPOConfig

    config = GRPOConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        max_steps=4,
        num_iterations=2,
        lr_scheduler_type="constant",
        learning_rate=1e-2,
        num_generations=4,
        max_completion_length=8,
        loss_type="dr_grpo",
        beta=0.04,
        reward_weights=[1.0, 0.5],
    )
    recipe = recipes.from_trl(config, reward_names=["digits", "short"])
    tiny_study(recipe=recipe, members=1).run(runs / "tiny")
    found = records(runs / "tiny")
    assert len(found) == 2  # batches: TRL counts their two iterations as two steps
    assert found[0]["weights/digits"] == [1.0] and found[0]["weights/short"] == [0.5]
    assert len(found[0]["loss"]) == 1 and found[1]["tokens"] > 0


def test_greedy_valuation_is_shown(tiny_study: Make, runs: Path) -> None:
    from io import StringIO

    from rich.console import Console

    from moalign.fronts import print_front

    front = tiny_study().replace(**{"recipe.eval_temperature": 0.0}).run(runs / "tiny")
    text = StringIO()
    print_front(front, Console(file=text, width=120))
    assert front.temperature == 0 and "test, greedy;" in text.getvalue()
