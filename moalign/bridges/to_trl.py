"""`study.to_trl`: one member of a study as TRL's configuration and the arguments of the bridge's trainer."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

from moalign.bridges.aggregator import Aggregator
from moalign.credit import CreditPipeline
from moalign.errors import ConfigError, StudyError
from moalign.models import load_tokenizer
from moalign.objectives import Objective
from moalign.parts import Bound, Linear, check_names, differences, fields, spec
from moalign.policies.engines import VLLM
from moalign.recipes import from_trl
from moalign.rewards.calling import accepted, is_async
from moalign.rewards.checking import as_numbers
from moalign.rewards.sources import resolve
from moalign.study._assemble import datasets_of, lora_config, tokenizer_source

REDUCTIONS = {"token-mean": "dapo", "sequence-mean": "grpo", "constant": "dr_grpo"}
LEVELS = ("token", "sequence")
BESIDE = ("name", "credit", "weighting", "eval_temperature")
"""Fields of a recipe that TRL's configuration need not express: the bridge's arguments, and how members are valued."""


def study_to_trl(
    study: Any, weights: Mapping[str, float | int] | None, output_dir: str | Path | None, options: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return TRL's configuration and the arguments of `moalign.bridges.trl.GRPOTrainer`; see `Study.to_trl`."""
    from trl.trainer.grpo_config import GRPOConfig

    names = [objective.name for objective in study.trained()]
    check_names(weights or {}, names, "weights")
    found = _problems(study)
    if found:
        raise StudyError(found)
    chosen = None if weights is None else [float(weights.get(o.name, 0.0)) for o in study.objectives]
    given = {
        "output_dir": str(output_dir or Path("runs") / f"{study.name}-trl"),
        "seed": study.seed,
        "save_strategy": "steps",
        "save_steps": study.save_steps,
        "save_total_limit": study.save_total_limit,
        "gradient_checkpointing": study.gradient_checkpointing,
        "bf16": False,
        "report_to": "none",
        **_sampling(study),
        **_training(study),
    }
    lost = _lost(study.recipe, GRPOConfig(**given))
    if lost:
        raise StudyError([f"`recipe` cannot be said in TRL's words: {line} (here -> there)." for line in lost])
    arguments = _arguments(study, weights)
    if torch.cuda.is_available() and study.peft_config != "full" and isinstance(study.model, str | Path):
        given["model_init_kwargs"] = {"dtype": "auto"}  # as a study loads it; TRL's default is float32
    return GRPOConfig(**{**given, "reward_weights": chosen, **options}), arguments


def _problems(study: Any) -> list[str]:
    """Return what a study has and TRL does not, with the way out."""
    found = [
        f"`{option}` of objective `{o.name}`: TRL calls rewards without it; unset it."
        for o in study.objectives
        for option in ("timeout", "isolate")
        if getattr(o, option)
    ]
    if not isinstance(study.recipe.credit, CreditPipeline):
        return [*found, "`recipe.credit` must be a CreditPipeline: TRL has no value heads."]
    if spec(study.recipe.credit.place) != spec(CreditPipeline().place):
        found.append("`recipe.credit.place`: TRL has one advantage for a completion; set place='spread'.")
    if study.engine != "transformers" and not isinstance(study.engine, VLLM) and study.engine != "vllm":
        found.append(f"`engine` must be 'transformers' or vLLM for TRL, got {study.engine!r}.")
    if study.sample_rows is not None:
        found.append("`sample_rows`: TRL samples a batch at once; set None.")
    return found


def _sampling(study: Any) -> dict[str, Any]:
    recipe = study.recipe
    found = {
        "num_generations": recipe.num_generations,
        "max_completion_length": recipe.max_completion_length,
        "temperature": _number("temperature", recipe.temperature),
        "mask_truncated_completions": bool(getattr(recipe.collect, "mask_truncated", False)),
    }
    rows = recipe.prompts_per_step * recipe.num_generations
    most = min(study.micro_rows or rows, rows)
    size = next(n for n in range(most, 0, -1) if rows % n == 0)
    found |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": rows // size}
    engine = VLLM() if study.engine == "vllm" else study.engine
    if isinstance(engine, VLLM):
        found |= {
            "use_vllm": True,
            "vllm_mode": "colocate",
            "vllm_gpu_memory_utilization": engine.gpu_memory_utilization,
            "vllm_max_model_length": engine.max_model_len,
            "vllm_enable_sleep_mode": engine.sleep,
        }
    return found


def _training(study: Any) -> dict[str, Any]:
    """Return what the recipe says of losses and updates; what this misses, `_lost` finds."""
    recipe = study.recipe
    passes = getattr(recipe.update, "passes", 1)
    found: dict[str, Any] = {"max_steps": recipe.steps * passes, "num_iterations": passes, "beta": 0.0}
    found |= _rate(recipe.learning_rate, found["max_steps"])
    rule = fields(getattr(recipe.update, "rule", None))
    adam = {"adam_beta1": "beta1", "adam_beta2": "beta2", "adam_epsilon": "eps", "weight_decay": "weight_decay"}
    found |= {theirs: _number(ours, rule[ours]) for theirs, ours in adam.items() if ours in rule}
    found["max_grad_norm"] = _number("max_grad_norm", getattr(recipe.update, "max_grad_norm", 1.0))
    found["loss_type"] = REDUCTIONS.get(_title(recipe.reduce), "dapo")

    policy = fields(recipe.losses.get("policy"))
    bounds = fields(policy.get("bounds"))
    ratio = _title(policy.get("ratio"))
    found["importance_sampling_level"] = ratio if ratio in LEVELS else "token"
    found |= {name: _number(name, bounds[name]) for name in ("epsilon", "epsilon_high") if bounds.get(name) is not None}
    if (correction := policy.get("correction")) is not None:
        kind = {"truncated": "truncate", "masked": "mask"}.get(_title(correction), "mask")
        options = fields(correction)
        found["vllm_importance_sampling_mode"] = f"{options.get('level', 'token')}_{kind}"
        found["vllm_importance_sampling_clip_min"] = options.get("floor")
        found["vllm_importance_sampling_clip_max"] = options.get("cap")
    else:
        found["vllm_importance_sampling_correction"] = False
    if (penalty := recipe.losses.get("kl")) is not None:
        found["beta"] = _number("beta", penalty.beta)
        found["use_bias_correction_kl"] = _title(penalty.estimator) == "k3-ratio"
    return found


def _rate(rate: Any, steps: int) -> dict[str, Any]:
    if not isinstance(rate, Linear):
        return {"learning_rate": _number("learning_rate", rate), "lr_scheduler_type": "constant"}
    kind = "linear" if rate.end == 0 else "constant_with_warmup"
    return {"learning_rate": rate.start, "lr_scheduler_type": kind, "warmup_steps": round(rate.warmup * steps)}


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float):
        raise ConfigError(f"`{name}` is {value!r}, and TRL's is one number; set one.")
    return float(value)


def _title(part: Any) -> str:
    return getattr(part.fn if isinstance(part, Bound) else type(part), "part_name", "")


def _lost(recipe: Any, config: Any) -> list[str]:
    """Return where the recipe that TRL's configuration means differs from the study's."""
    return differences(_comparable(recipe), _comparable(from_trl(config)))


def _comparable(recipe: Any) -> dict[str, Any]:
    losses = {n: term for n, term in recipe.losses.items() if not (n == "kl" and getattr(term, "beta", None) == 0)}
    return {k: v for k, v in spec(replace(recipe, losses=losses)).items() if k not in BESIDE}


def _arguments(study: Any, weights: Mapping[str, float | int] | None) -> dict[str, Any]:
    from datasets import Dataset

    credit, tokenizer = study.recipe.credit, load_tokenizer(tokenizer_source(study))
    objectives = [replace(o, reward=None) for o in study.objectives]
    Aggregator(  # refuses now what the trainer would refuse
        [o.name for o in objectives],
        credit=credit,
        weighting=study.recipe.weighting,
        weights=None if weights is None else {o.name: float(weights.get(o.name, 0.0)) for o in objectives},
        objectives=objectives,
        group=study.recipe.num_generations,
    )
    train, dev, _ = datasets_of(study, tokenizer)
    return {
        "model": study.model,
        "reward_funcs": [_reward(o) for o in study.objectives],
        "train_dataset": Dataset.from_list(list(train)),
        "eval_dataset": Dataset.from_list(list(dev)),
        "processing_class": tokenizer,
        "peft_config": _adapter(study.peft_config),
        "credit": credit,
        "weighting": study.recipe.weighting,
        "objectives": objectives,
    }


def _adapter(given: Any) -> LoraConfig | None:
    if given == "full":
        return None
    config = lora_config(given) or LoraConfig(r=8, lora_alpha=16)
    targets = "all-linear" if config.target_modules is None else config.target_modules
    return LoraConfig(
        r=config.r, lora_alpha=config.lora_alpha, target_modules=targets, use_rslora=config.use_rslora, lora_dropout=0.0
    )


def _reward(objective: Objective) -> Any:
    """Return an objective's reward as a function of its name that TRL can call with everything it has."""
    fn = resolve(objective.reward)

    def checked(output: Any, given: Mapping[str, Any]) -> list[float | None]:
        values = as_numbers(objective.name, output, given["completions"])
        return [None if value != value else value for value in values]

    def call(**given: Any) -> list[float | None]:
        return checked(fn(**accepted(fn, given)), given)

    async def call_async(**given: Any) -> list[float | None]:
        return checked(await fn(**accepted(fn, given)), given)

    named = call_async if is_async(fn) else call
    named.__name__ = objective.name
    return named
