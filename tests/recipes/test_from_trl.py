"""`from_trl` takes a `GRPOConfig` apart, or refuses it by name. The numbers themselves: tests/parity/test_trl.py."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from moalign.credit import AtAdvantage
from moalign.errors import ConfigError
from moalign.losses import KL, k3_ratio, masked, sequence_ratio, token_ratio, truncated
from moalign.optimizers.steps import AdamW
from moalign.parts import Linear, bind
from moalign.recipes import from_trl
from moalign.recipes._trl import BESIDE, TAKEN
from moalign.records import Need
from moalign.rollouts.collect import Sample
from moalign.training.recipe import Recipe, resolve

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture
def config(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.trainer.grpo_config import GRPOConfig

    def build(**options: Any) -> Any:
        settings: dict[str, Any] = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": []}
        return GRPOConfig(**settings | {"max_steps": 100} | options)

    return build


def length(recipe: Recipe) -> Any:
    return dict(resolve(recipe, 0.0, {}).reduce.options).get("length")


def test_the_defaults_of_trl(config: Any) -> None:
    recipe = from_trl(config())
    assert (recipe.steps, recipe.prompts_per_step, recipe.num_generations) == (100, 1, 8)
    assert (recipe.max_completion_length, recipe.temperature) == (512, 1.0)
    assert recipe.learning_rate == Linear(1e-6, 0.0)
    assert recipe.update.rule == AdamW(0.9, 0.999, 1e-8, 0.0)
    assert (recipe.update.max_grad_norm, recipe.update.passes) == (1.0, 1)
    assert recipe.losses["kl"] == KL(bind(k3_ratio, ratio=bind(token_ratio)), beta=0.0)
    assert dict(recipe.losses["policy"].bounds.options) == {"epsilon": 0.2, "epsilon_high": None}
    assert recipe.reduce.fn.part_name == "token-mean" and recipe.collect == Sample(mask_truncated=False)
    assert recipe.weighting.weights == {}


@pytest.mark.parametrize(
    ("field", "value", "read", "expected"),
    [
        ("learning_rate", 3e-5, lambda r: r.learning_rate.start, 3e-5),
        ("lr_scheduler_type", "constant", lambda r: r.learning_rate, 1e-6),
        ("warmup_steps", 10, lambda r: r.learning_rate, Linear(1e-6, 0.0, warmup=0.1)),
        ("max_steps", 7, lambda r: r.steps, 7),
        ("num_generations", 4, lambda r: (r.num_generations, r.prompts_per_step), (4, 2)),
        ("per_device_train_batch_size", 32, lambda r: (r.num_generations, r.prompts_per_step), (8, 4)),
        ("gradient_accumulation_steps", 3, lambda r: (r.num_generations, r.prompts_per_step), (8, 3)),
        ("max_completion_length", 77, lambda r: r.max_completion_length, 77),
        ("temperature", 0.6, lambda r: r.temperature, 0.6),
        ("weight_decay", 0.1, lambda r: r.update.rule.weight_decay, 0.1),
        ("adam_beta1", 0.8, lambda r: r.update.rule.beta1, 0.8),
        ("adam_beta2", 0.95, lambda r: r.update.rule.beta2, 0.95),
        ("adam_epsilon", 1e-6, lambda r: r.update.rule.eps, 1e-6),
        ("max_grad_norm", 0.2, lambda r: r.update.max_grad_norm, 0.2),
        ("beta", 0.04, lambda r: r.losses["kl"].beta, 0.04),
        ("use_bias_correction_kl", False, lambda r: r.losses["kl"].estimator.fn.part_name, "k3"),
        ("epsilon", 0.1, lambda r: dict(r.losses["policy"].bounds.options)["epsilon"], 0.1),
        ("epsilon_high", 0.28, lambda r: dict(r.losses["policy"].bounds.options)["epsilon_high"], 0.28),
        ("importance_sampling_level", "sequence", lambda r: r.losses["policy"].ratio, bind(sequence_ratio)),
        ("loss_type", "grpo", lambda r: r.reduce.fn.part_name, "sequence-mean"),
        ("loss_type", "bnpo", lambda r: r.reduce.fn.part_name, "token-mean"),
        ("loss_type", "dr_grpo", lambda r: (r.reduce.fn.part_name, length(r)), ("constant", 512)),
        ("scale_rewards", "batch", lambda r: r.credit.estimate.fn.__name__, "batch_scaled"),
        ("scale_rewards", False, lambda r: dict(r.credit.estimate.options), {"scale": False}),
        ("multi_objective_aggregation", "normalize_then_sum", lambda r: r.credit.collapse, AtAdvantage()),
        ("mask_truncated_completions", True, lambda r: r.collect, Sample(mask_truncated=True)),
        ("optim", "adamw_torch", lambda r: r.update.rule, AdamW()),
    ],
)  # fmt: skip
def test_a_supported_field_is_taken_over(config: Any, field: str, value: Any, read: Any, expected: Any) -> None:
    assert read(from_trl(config(**{field: value}))) == expected


def test_the_divergence_takes_the_ratio_of_the_policy_loss(config: Any) -> None:
    recipe = from_trl(config(importance_sampling_level="sequence", beta=0.1))
    assert recipe.losses["kl"] == KL(bind(k3_ratio, ratio=bind(sequence_ratio)), beta=0.1)


def test_reward_weights_go_by_name(config: Any) -> None:
    both = config(reward_weights=[1.0, 0.3])
    assert from_trl(both, reward_names=["b", "a"]).weighting.weights == {"b": 1.0, "a": 0.3}
    with pytest.raises(ConfigError, match="`reward_names` must name the 2 `reward_weights`"):
        from_trl(both)


def test_several_iterations_are_passes_over_one_batch(config: Any) -> None:
    recipe = from_trl(config(num_iterations=4, lr_scheduler_type="constant"))
    assert (recipe.update.passes, recipe.steps) == (4, 25)  # TRL's 100 steps are optimizer steps
    with pytest.raises(ConfigError, match="needs `lr_scheduler_type='constant'`"):
        from_trl(config(num_iterations=2))
    with pytest.raises(ConfigError, match="multiple of `num_iterations=3`"):
        from_trl(config(num_iterations=3, lr_scheduler_type="constant"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_p", 0.9),
        ("top_k", 10),
        ("min_p", 0.1),
        ("repetition_penalty", 1.1),
        ("delta", 1.5),
        ("vllm_structured_outputs_regex", "a+"),
        ("vllm_importance_sampling_mode", "token"),
        ("sync_ref_model", True),
        ("top_entropy_quantile", 0.2),
        ("entropy_coef", 0.01),
        ("off_policy_mask_threshold", 0.5),
        ("neftune_noise_alpha", 5.0),
        ("shuffle_dataset", False),
        ("generation_kwargs", {"num_beams": 2}),
        ("loss_type", "sapo"),
        ("loss_type", "cispo"),
        ("lr_scheduler_type", "cosine"),
        ("optim", "sgd"),
        ("max_steps", -1),
        ("steps_per_generation", 2),
    ],
)
def test_any_other_field_is_refused_by_name(config: Any, field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"`{field}"):
        from_trl(config(**{field: value}))


def test_everything_refused_is_named_at_once(config: Any) -> None:
    with pytest.raises(ConfigError, match=r"(?s)`top_p=0.9`.*`loss_type='sapo'`"):
        from_trl(config(loss_type="sapo", top_p=0.9))


def test_what_only_concerns_logs_and_memory_is_left_aside(config: Any) -> None:
    aside = config(logging_steps=3, save_steps=9, log_completions=True, gradient_checkpointing=False, run_name="x")
    assert from_trl(aside) == from_trl(config())


def test_what_vllm_samples_is_corrected_as_asked(config: Any) -> None:
    assert from_trl(config()).losses["policy"].correction is None
    ours = from_trl(config(use_vllm=True, vllm_mode="server", vllm_gpu_memory_utilization=0.5))
    assert ours.losses["policy"].correction == bind(masked, level="sequence", floor=None, cap=3.0)  # TRL's defaults
    assert Need.OLD in ours.needs and Need.OLD not in from_trl(config()).needs
    options = {"vllm_importance_sampling_clip_min": 0.5, "vllm_importance_sampling_clip_max": 2.0}
    ours = from_trl(config(use_vllm=True, vllm_importance_sampling_mode="token_truncate", **options))
    assert ours.losses["policy"].correction == bind(truncated, level="token", floor=0.5, cap=2.0)
    assert from_trl(config(use_vllm=True, vllm_importance_sampling_correction=False)) == from_trl(config())


def test_bnpo_does_not_accumulate(config: Any) -> None:
    with pytest.raises(ConfigError, match="`gradient_accumulation_steps=1`"):
        from_trl(config(loss_type="bnpo", gradient_accumulation_steps=2))


@pytest.mark.parametrize("schedule", ["linear", "constant", "constant_with_warmup"])
@pytest.mark.parametrize("warmup", [0, 5, 0.123])
def test_rates_are_those_of_transformers(config: Any, schedule: str, warmup: float) -> None:
    from transformers import get_scheduler

    steps = 40
    made = config(max_steps=steps, lr_scheduler_type=schedule, warmup_steps=warmup, learning_rate=0.5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = get_scheduler(schedule, optimizer, num_warmup_steps=made.get_warmup_steps(steps), num_training_steps=steps)
    recipe = from_trl(made)
    for step in range(steps):
        rate = resolve(recipe, step / steps, {}).learning_rate
        assert rate == pytest.approx(theirs.get_last_lr()[0], abs=1e-9), step
        optimizer.step()
        theirs.step()


def test_changes_come_last(config: Any) -> None:
    recipe = from_trl(config(), steps=3, beta=0.5, name="mine")
    assert (recipe.steps, recipe.losses["kl"].beta, recipe.name) == (3, 0.5, "mine")


def test_every_field_of_the_table_is_trls(config: Any) -> None:
    fields = {field.name for field in dataclasses.fields(config())}
    assert not (TAKEN.keys() | BESIDE) - fields
    assert not TAKEN.keys() & BESIDE
