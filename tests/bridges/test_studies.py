"""`Study.from_trl` takes TRL's arguments apart, `study.to_trl` puts one member together; nothing gets lost unsaid."""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from moalign import Objective, Study, recipes
from moalign.credit import CreditPipeline
from moalign.errors import ConfigError, StudyError
from moalign.parts import Linear, Schedule, bind, spec
from moalign.policies.engines import VLLM
from moalign.weighting import Constant, Lagrangian, RewardWeights

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

ROWS = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(10, 20) for b in range(10, 20)]


def correct(completions: list[str], answer: list[str], **columns: Any) -> list[float]:
    return [float(text == right) for text, right in zip(completions, answer)]


def tokens(completion_ids: list[list[int]]) -> list[float | None]:
    """Length; its signature takes none of the other things that TRL hands over."""
    return [float(len(ids)) or None for ids in completion_ids]


async def later(completions: list[str]) -> list[float]:
    return [1.0 for _ in completions]


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.trainer.grpo_config import GRPOConfig

    def build(**options: Any) -> Any:
        fixed: dict[str, Any] = {
            "output_dir": str(tmp_path / "my run"),
            "use_cpu": True,
            "bf16": False,
            "report_to": [],
        }
        return GRPOConfig(**fixed | {"max_steps": 4, "gradient_checkpointing": False} | options)

    return build


def test_a_trainers_arguments_become_a_study(config: Any, tiny_model: str) -> None:
    args = config(
        reward_weights=[1.0, 0.3], seed=7, save_steps=5, save_total_limit=3, num_generations=4,
        per_device_train_batch_size=4, gradient_accumulation_steps=2, gradient_checkpointing=True, max_steps=4,
    )  # fmt: skip
    study = Study.from_trl(tiny_model, [correct, tokens], args, ROWS, reference_point={"correct": 0.0, "tokens": 9.0},
                           **{"objectives.tokens.maximize": False})  # fmt: skip
    assert [(o.name, o.reward, o.maximize) for o in study.objectives] == [
        ("correct", correct, True),
        ("tokens", tokens, False),
    ]
    assert spec(study.recipe) == spec(recipes.from_trl(args, reward_names=["correct", "tokens"]))
    assert study.recipe.weighting == RewardWeights({"correct": 1.0, "tokens": 0.3})
    assert (study.name, study.members, study.peft_config, study.seed) == ("my_run", 1, "full", 7)
    assert (study.save_steps, study.save_total_limit, study.micro_rows) == (5, 3, 4)
    assert study.gradient_checkpointing and study.engine == "transformers"


@pytest.mark.slow
def test_it_trains(config: Any, tiny_model: str, runs: Path) -> None:
    args = config(num_generations=4, per_device_train_batch_size=4, max_completion_length=4, max_steps=1)
    changes = {"reference_point": {"right": -1.0, "long": -1.0}, "eval_prompts": 2}
    study = Study.from_trl(
        tiny_model, [correct, tokens], args, ROWS, reward_names=["right", "long"], peft_config=None, **changes
    )
    front = study.run(runs / "r", on_step=lambda record: None)
    assert len(front) == 1


def test_several_members_have_preferences(config: Any, tiny_model: str) -> None:
    adapters = LoraConfig(r=4, target_modules="all-linear")
    study = Study.from_trl(tiny_model, [correct, tokens], config(), ROWS, members=3, peft_config=adapters)
    assert study.members == 3 and study.recipe.weighting == Constant() and study.peft_config is adapters
    with pytest.raises(StudyError, match="several members have `preferences`"):
        Study.from_trl(tiny_model, [correct, tokens], config(reward_weights=[1.0, 2.0]), ROWS, members=3)


def test_names_of_rewards(config: Any, tiny_model: str) -> None:
    rewards = [functools.partial(tokens), "org/reward-v1.1", torch.nn.Identity()]
    names = [o.name for o in Study.from_trl(tiny_model, rewards, config(), ROWS).objectives]
    assert names == ["tokens", "reward-v1_1", "Identity"]


@pytest.mark.parametrize("options", [{"num_train_epochs": 2.5}, {"gradient_accumulation_steps": 3}])
def test_epochs_are_counted_as_trl_does(config: Any, tiny_model: str, options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from trl.trainer.grpo_trainer import GRPOTrainer
    data = Dataset.from_list(ROWS[:23])
    args = config(max_steps=-1, num_generations=4, per_device_train_batch_size=8, **options)
    trainer = GRPOTrainer(tiny_model, correct, args, data)
    *_, theirs = trainer.set_initial_training_values(args, trainer.get_train_dataloader())
    study = Study.from_trl(tiny_model, correct, args, data)
    assert study.recipe.steps == theirs > 1 and args.max_steps == -1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tools": [correct]}, "`tools` has no counterpart"),
        ({"callbacks": [object()]}, r"`callbacks` .*study\.run\(callbacks"),
        ({"quantization_config": object()}, "`quantization_config`"),
        ({"rollout_func": correct}, "`rollout_func`"),
        ({"peft_config": LoraConfig(r=4)}, "`peft_config.target_modules` is None"),
        ({"args": {"top_p": 0.5}}, "`top_p=0.5`"),
        ({"args": {"use_vllm": True, "vllm_mode": "server"}}, "`vllm_mode='server'`"),
        ({"reward_names": ["a"]}, "`reward_names` has 1 entries for 2"),
    ],
)
def test_what_has_no_counterpart_is_named(config: Any, tiny_model: str, given: dict[str, Any], message: str) -> None:
    args = config(**given.pop("args", {}))
    with pytest.raises(StudyError, match=message):
        Study.from_trl(tiny_model, [correct, tokens], args, ROWS, **given)


def test_vllm_is_taken_over(config: Any, tiny_model: str) -> None:
    args = config(use_vllm=True, vllm_mode="colocate", vllm_gpu_memory_utilization=0.5, vllm_max_model_length=64)
    study = Study.from_trl(tiny_model, correct, args, ROWS, peft_config=LoraConfig(target_modules="all-linear"))
    assert study.engine == VLLM(0.5, 64, sleep=args.vllm_enable_sleep_mode)


@pytest.fixture
def study(tiny_study: Callable[..., Study]) -> Study:
    return tiny_study(objectives=[Objective("digits", tokens), Objective("later", later)])


def test_one_member_for_trl(study: Study, tiny_model: str) -> None:
    study = study.replace(**{"recipe.learning_rate": Linear(0.01, 0.0), "recipe.weighting": Lagrangian(),
                             "objectives.digits.threshold": 2.0})  # fmt: skip
    config, given = study.to_trl({"later": 1.0}, use_cpu=True, report_to=[])
    assert (config.max_steps, config.num_generations, config.max_completion_length) == (3, 4, 8)
    assert (config.learning_rate, config.lr_scheduler_type.value, config.loss_type) == (0.01, "linear", "dapo")
    assert config.generation_batch_size == 8 and config.reward_weights == [0.0, 1.0]
    assert given["credit"] is study.recipe.credit and given["weighting"] == Lagrangian()
    assert given["model"] == tiny_model and given["peft_config"].target_modules == "all-linear"
    assert {row["prompt"] for row in given["train_dataset"]}.isdisjoint(r["prompt"] for r in given["eval_dataset"])
    ids = [[1, 2], []]
    first, second = given["reward_funcs"]
    assert first.__name__ == "digits"
    assert first(prompts=["a", "b"], completions=["x", ""], completion_ids=ids, log_extra=None) == [2.0, None]
    with pytest.raises(StopIteration) as end:
        second(prompts=["a"], completions=["x"], completion_ids=[[1]]).send(None)
    assert end.value.value == [1.0]


def test_there_and_back(config: Any, tiny_model: str) -> None:
    """What comes from TRL goes back to the same configuration, whatever it says."""
    same = ("max_steps", "learning_rate", "beta", "epsilon", "epsilon_high", "loss_type", "num_iterations", "seed",
            "temperature", "importance_sampling_level", "max_grad_norm", "adam_beta1", "weight_decay",
            "num_generations", "per_device_train_batch_size", "gradient_accumulation_steps", "lr_scheduler_type",
            "warmup_steps", "mask_truncated_completions", "use_bias_correction_kl")  # fmt: skip
    cases = [
        {},
        {"loss_type": "dr_grpo", "beta": 0.04, "epsilon_high": 0.28, "mask_truncated_completions": True},
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "beta": 0.1, "lr_scheduler_type": "constant",
         "num_iterations": 2, "gradient_accumulation_steps": 2, "adam_beta1": 0.8, "weight_decay": 0.1},
        {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 2, "beta": 0.2, "use_bias_correction_kl": False},
    ]  # fmt: skip
    for options in cases:
        args = config(**options)
        back, given = Study.from_trl(tiny_model, [correct, tokens], args, ROWS).to_trl(use_cpu=True, report_to=[])
        assert {k: getattr(back, k) for k in same} == {k: getattr(args, k) for k in same}, options
        assert given["peft_config"] is None


class Halving(Schedule):
    def at(self, progress: float) -> float:
        return 0.5**progress


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives.digits.timeout": 3}, "`timeout` of objective `digits`"),
        ({"recipe.learning_rate": Halving()}, "`learning_rate` is .*Halving"),
        ({"recipe.epsilon": Linear(0.2, 0.1)}, "`epsilon` is Linear"),
        ({"recipe.collect": "gfpo"}, "TRL's words: collect"),
        ({"recipe.reduce": "sequence-sum"}, "TRL's words: reduce"),
        ({"recipe.update.rule": "sgd"}, "TRL's words: update"),
        ({"recipe.losses": recipes.vapo().losses}, "TRL's words: losses"),
        ({"recipe.credit.collapse": "at-gradient"}, "takes one advantage for each completion"),
        ({"recipe.credit": recipes.vapo().credit}, "no value heads"),
        ({"sample_rows": 3}, "`sample_rows`"),
    ],
)
def test_what_trl_cannot_do_is_named(study: Study, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study.replace(**changes).to_trl(use_cpu=True)


def test_unknown_weights(study: Study) -> None:
    with pytest.raises(ConfigError, match="did you mean digits"):
        study.to_trl({"digit": 1.0})
    assert CreditPipeline().place == bind(CreditPipeline().place)
