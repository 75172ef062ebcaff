"""TRL's GRPO, number for number: `from_trl` takes a `GRPOConfig` apart."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from moalign.credit import CreditPipeline, trl_normalize_then_sum, trl_sum_then_normalize
from moalign.errors import ConfigError
from moalign.losses import KL, PolicyLoss, constant_bounds, k3_ratio, masked, truncated
from moalign.optimizers.steps import AdamW
from moalign.parts import Knob, Linear, bind
from moalign.rollouts.collect import Sample
from moalign.training.descent import Descent
from moalign.training.recipe import Recipe, with_options
from moalign.weighting import RewardWeights

TAKEN = {
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "learning_rate: linear, constant or constant_with_warmup",
    "warmup_steps": "learning_rate: share of the steps",
    "max_steps": "steps × num_iterations; must be given, a recipe does not know the data's length",
    "per_device_train_batch_size": "prompts_per_step",
    "gradient_accumulation_steps": "prompts_per_step",
    "generation_batch_size": "prompts_per_step × num_generations",
    "optim": "update.rule: adamw_torch or adamw_torch_fused",
    "steps_per_generation": "must equal gradient_accumulation_steps: one optimizer step per batch and pass",
    "num_generations": "num_generations",
    "max_completion_length": "max_completion_length",
    "temperature": "temperature",
    "num_iterations": "update.passes",
    "weight_decay": "update.rule.weight_decay",
    "adam_beta1": "update.rule.beta1",
    "adam_beta2": "update.rule.beta2",
    "adam_epsilon": "update.rule.eps",
    "max_grad_norm": "update.max_grad_norm",
    "beta": "losses.kl.beta",
    "use_bias_correction_kl": "losses.kl.estimator: k3_ratio or k3",
    "epsilon": "losses.policy.bounds.epsilon",
    "epsilon_high": "losses.policy.bounds.epsilon_high",
    "importance_sampling_level": "losses.policy.ratio",
    "loss_type": "reduce: grpo, dr_grpo, dapo or bnpo",
    "reward_weights": "weighting.weights, in the order of `reward_names`",
    "multi_objective_aggregation": "credit",
    "scale_rewards": "credit.estimate",
    "mask_truncated_completions": "collect.mask_truncated",
    "use_vllm": "the study's `engine`, by hand; with it the correction below",
    "vllm_importance_sampling_correction": "losses.policy.correction, or None",
    "vllm_importance_sampling_mode": "losses.policy.correction: truncated or masked, and its level",
    "vllm_importance_sampling_clip_max": "losses.policy.correction.cap",
    "vllm_importance_sampling_clip_min": "losses.policy.correction.floor",
    "vllm_importance_sampling_cap": "an old name of vllm_importance_sampling_clip_max, which TRL sets from it",
    "disable_dropout": "always so: policies do not drop out",
    "seed": "the study's seed, by hand",
}
"""Fields of `GRPOConfig` that change numbers and are taken over, and where to."""

BESIDE = frozenset(
    """output_dir logging_strategy logging_steps logging_first_step log_on_each_node logging_nan_inf_filter log_level
    log_level_replica disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id
    trackio_static_space_id eval_strategy eval_steps eval_delay per_device_eval_batch_size eval_on_start
    save_strategy save_steps save_total_limit save_only_model save_on_each_node enable_jit_checkpoint push_to_hub
    hub_token hub_model_id hub_strategy hub_private_repo hub_always_push hub_revision bf16 fp16 tf32 bf16_full_eval
    fp16_full_eval gradient_checkpointing gradient_checkpointing_kwargs activation_checkpointing
    activation_checkpointing_kwargs use_cache use_cpu dataloader_num_workers dataloader_pin_memory
    dataloader_persistent_workers dataloader_prefetch_factor accelerator_config average_tokens_across_devices
    remove_unused_columns num_train_epochs use_liger_kernel torch_compile num_generations_eval log_completions
    log_multimodal num_completions_to_print log_unique_prompts log_completions_hub_repo ddp_timeout
    skip_memory_metrics pad_to_multiple_of local_rank do_train do_eval debug include_for_metrics vllm_mode
    vllm_model_impl vllm_enable_sleep_mode vllm_server_base_url vllm_server_host vllm_server_port vllm_server_timeout
    vllm_group_port vllm_gpu_memory_utilization vllm_max_model_length vllm_tensor_parallel_size""".split()
)
"""Fields that say where logs go or how memory is used; they change no number that a recipe is about."""

SCHEDULES = ("linear", "constant", "constant_with_warmup")
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused")
CORRECTIONS = {
    "token_truncate": bind(truncated, level="token"),
    "token_mask": bind(masked, level="token"),
    "sequence_truncate": bind(truncated, level="sequence"),
    "sequence_mask": bind(masked, level="sequence"),
}
REDUCTIONS = {"grpo": "sequence-mean", "bnpo": "token-mean", "dapo": "token-mean", "dr_grpo": "constant"}


def from_trl(config: Any, *, reward_names: list[str] | None = None, **changes: Any) -> Recipe:
    """Return the recipe that computes what TRL's `GRPOTrainer` computes under a `GRPOConfig`.

    `reward_names` gives `reward_weights` their objectives. Raises `ConfigError` naming every field that is off its
    default and has no counterpart here. See `TAKEN` for what goes where.
    """
    problems = [_refusal(name, value) for name, value in _off_default(config).items()]
    problems += _unsupported_values(config, reward_names)
    if problems:
        raise ConfigError("from_trl: " + " ".join(problems))
    recipe = Recipe(
        name="trl",
        collect=Sample(mask_truncated=config.mask_truncated_completions),
        credit=_credit(config),
        losses=_losses(config),
        reduce=REDUCTIONS[config.loss_type],
        weighting=RewardWeights(weights=_weights(config, reward_names)),
        update=Descent(
            rule=AdamW(config.adam_beta1, config.adam_beta2, config.adam_epsilon, config.weight_decay),
            passes=config.num_iterations,
            max_grad_norm=config.max_grad_norm,
        ),
        steps=config.max_steps // config.num_iterations,
        prompts_per_step=config.generation_batch_size // config.num_generations,
        num_generations=config.num_generations,
        max_completion_length=config.max_completion_length,
        temperature=config.temperature,
        learning_rate=_learning_rate(config),
    )
    return with_options(recipe, changes)


def _off_default(config: Any) -> dict[str, Any]:
    """Return the fields that differ from a fresh configuration's and are neither taken over nor beside the point."""
    fresh = type(config)(output_dir=config.output_dir, use_cpu=True, bf16=False, report_to=[])
    return {
        f.name: getattr(config, f.name)
        for f in dataclasses.fields(config)
        if f.name not in TAKEN and f.name not in BESIDE and not _same(getattr(config, f.name), getattr(fresh, f.name))
    }


def _same(a: Any, b: Any) -> bool:
    return a == b or (type(a) is type(b) and dataclasses.is_dataclass(a) and vars(a) == vars(b))


def _refusal(name: str, value: Any) -> str:
    return f"`{name}={value!r}` has no counterpart; set it back to its default."


def _unsupported_values(config: Any, reward_names: list[str] | None) -> list[str]:
    schedule, optimizer = _plain(config.lr_scheduler_type), _plain(config.optim)
    problems = []
    if config.loss_type not in REDUCTIONS:
        problems.append(f"`loss_type={config.loss_type!r}` must be one of {', '.join(REDUCTIONS)}.")
    if schedule not in SCHEDULES:
        problems.append(f"`lr_scheduler_type={schedule!r}` must be one of {', '.join(SCHEDULES)}.")
    if optimizer not in OPTIMIZERS:
        problems.append(f"`optim={optimizer!r}` must be one of {', '.join(OPTIMIZERS)}.")
    if config.vllm_importance_sampling_mode not in CORRECTIONS:
        mode = config.vllm_importance_sampling_mode
        problems.append(f"`vllm_importance_sampling_mode={mode!r}` must be one of {', '.join(CORRECTIONS)}.")
    if config.max_steps < 1:
        problems.append(f"`max_steps` must be at least 1, got {config.max_steps}: a recipe does not know epochs.")
    if config.max_steps % config.num_iterations:
        problems.append(
            f"`max_steps` must be a multiple of `num_iterations={config.num_iterations}`: of whole batches."
        )
    if config.num_iterations > 1 and schedule != "constant":
        problems.append("`num_iterations` above 1 needs `lr_scheduler_type='constant'`: a batch has one rate.")
    if config.steps_per_generation != config.gradient_accumulation_steps:
        problems.append("`steps_per_generation` must equal `gradient_accumulation_steps`: one step per batch.")
    if config.loss_type == "bnpo" and config.gradient_accumulation_steps != 1:
        problems.append("`loss_type='bnpo'` normalises per accumulation step; set `gradient_accumulation_steps=1`.")
    if config.reward_weights is not None and len(reward_names or []) != len(config.reward_weights):
        problems.append(f"`reward_names` must name the {len(config.reward_weights)} `reward_weights`, in TRL's order.")
    return problems


def _credit(config: Any) -> CreditPipeline:
    if config.multi_objective_aggregation == "normalize_then_sum":
        return trl_normalize_then_sum()
    return trl_sum_then_normalize(scale_rewards=config.scale_rewards)


def _losses(config: Any) -> dict[str, Any]:
    bounds = bind(constant_bounds, epsilon=config.epsilon, epsilon_high=config.epsilon_high)
    policy = PolicyLoss(ratio=config.importance_sampling_level, bounds=bounds, correction=_correction(config))
    divergence = bind(k3_ratio, ratio=policy.ratio) if config.use_bias_correction_kl else "k3"
    return {"policy": policy, "kl": KL(divergence, beta=config.beta)}


def _correction(config: Any) -> Any:
    if not (config.use_vllm and config.vllm_importance_sampling_correction):
        return None
    low, high = config.vllm_importance_sampling_clip_min, config.vllm_importance_sampling_clip_max
    return bind(CORRECTIONS[config.vllm_importance_sampling_mode], floor=low, cap=high)


def _weights(config: Any, reward_names: list[str] | None) -> Mapping[str, float]:
    return dict(zip(reward_names or [], config.reward_weights or []))


def _learning_rate(config: Any) -> Knob:
    schedule = _plain(config.lr_scheduler_type)
    if schedule == "constant":  # ignores `warmup_steps`, as there
        return config.learning_rate
    end = 0.0 if schedule == "linear" else config.learning_rate
    return Linear(config.learning_rate, end, warmup=config.get_warmup_steps(config.max_steps) / config.max_steps)


def _plain(value: Any) -> Any:
    """Return the value of an enum's member."""
    return getattr(value, "value", value)
