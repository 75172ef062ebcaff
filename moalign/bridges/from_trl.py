"""`Study.from_trl`: what a user hands to TRL's `GRPOTrainer`, as a study."""

import copy
import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft import LoraConfig

from moalign.errors import ConfigError, StudyError
from moalign.objectives import Objective
from moalign.policies.engines import VLLM
from moalign.recipes import from_trl
from moalign.study import Study
from moalign.weighting import Constant

ELSEWHERE = {
    "reward_processing_classes": "a reward model is loaded with its own tokenizer; leave it out",
    "callbacks": "pass them to `study.run(callbacks=…)`",
    "optimizers": "set `recipe.update.rule` of the study",
    "quantization_config": "members are trained on an unquantized base; leave it out",
    "tools": "use moalign.bridges.trl.GRPOTrainer, which keeps TRL's tools",
    "rollout_func": "use moalign.bridges.trl.GRPOTrainer, which keeps TRL's roll-outs",
    "environment_factory": "use moalign.bridges.trl.GRPOTrainer, which keeps TRL's environments",
}
"""What else TRL's trainer takes, and the way out for each."""


def study_from_trl(
    model: Any,
    reward_funcs: Any,
    args: Any,
    train_dataset: Any,
    *,
    eval_dataset: Any = None,
    test_dataset: Any = None,
    processing_class: Any = None,
    peft_config: Any = None,
    members: int = 1,
    reward_names: Sequence[str] | None = None,
    others: Any = None,
    changes: Any = None,
) -> Study:
    """Return the study; see `Study.from_trl`. `others` are TRL's further arguments, `changes` paths of the study."""
    found = [f"`{name}` has no counterpart: {ELSEWHERE[name]}." for name, x in (others or {}).items() if _given(x)]
    rewards = reward_funcs if isinstance(reward_funcs, list | tuple) else [reward_funcs]
    names = list(reward_names or map(_name, rewards))
    if len(names) != len(rewards):
        found.append(f"`reward_names` has {len(names)} entries for {len(rewards)} reward functions; pass one for each.")
    found += _problems(model, args, peft_config, members)
    config = _with_steps(args, train_dataset)
    try:
        # TRL's weights are one model's; several members have preferences instead
        recipe = from_trl(config, reward_names=names, **({"weighting": Constant()} if members > 1 else {}))
    except ConfigError as error:
        found.append(str(error))
    if found:
        raise StudyError(found)
    study = Study(
        _directory(args),
        [Objective(name, reward) for name, reward in zip(names, rewards)],
        model=model,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        test_dataset=test_dataset,
        recipe=recipe,
        members=members,
        peft_config="full" if peft_config is None else peft_config,
        processing_class=processing_class,
        engine=_engine(args),
        seed=args.seed,
        micro_rows=args.per_device_train_batch_size if args.gradient_accumulation_steps > 1 else None,
        gradient_checkpointing=bool(args.gradient_checkpointing),
        **_saving(args),
    )
    return study.replace(**(changes or {}))


def _given(value: Any) -> bool:
    return value is not None and value != [] and value != (None, None)


def _problems(model: Any, args: Any, peft_config: Any, members: int) -> list[str]:
    found = []
    if hasattr(model, "peft_config"):
        found.append("`model` is a PEFT model; give its base model, and its configuration as `peft_config`.")
    if isinstance(peft_config, LoraConfig) and peft_config.target_modules is None:
        found.append(
            "`peft_config.target_modules` is None: PEFT then chooses by architecture, and a study takes every linear "
            "layer; name them, or say 'all-linear'."
        )
    if members > 1 and args.reward_weights is not None:
        found.append(
            "`reward_weights` are of one model, and several members have `preferences`; leave one of them out."
        )
    if args.use_vllm and args.vllm_mode != "colocate":
        found.append(f"`vllm_mode={args.vllm_mode!r}`: a study drives vLLM in its own process; set 'colocate'.")
    if args.use_vllm and args.vllm_tensor_parallel_size != 1:
        found.append("`vllm_tensor_parallel_size` must be 1: a study's vLLM runs on one GPU.")
    return found


def _name(reward: Any) -> str:
    """Return the name that TRL gives a reward, without what an objective's name may not have."""
    while isinstance(reward, functools.partial):
        reward = reward.func
    if hasattr(reward, "config"):
        reward = reward.config.name_or_path
    name = Path(reward).name if isinstance(reward, str) else getattr(reward, "__name__", type(reward).__name__)
    return re.sub(r"[^\w-]", "_", name)


def _directory(args: Any) -> str:
    name = re.sub(r"[^\w.-]", "_", Path(args.run_name or args.output_dir).name)
    return name if re.match(r"[A-Za-z0-9]", name) else "trl"


def _with_steps(args: Any, train_dataset: Any) -> Any:
    """Return the configuration with `max_steps` as TRL counts them from epochs: a batch that is not full is dropped."""
    if args.max_steps > 0 or not hasattr(train_dataset, "__len__") or isinstance(train_dataset, str):
        return args
    batches = len(train_dataset) // (args.generation_batch_size // args.num_generations)
    each = batches * args.num_iterations * args.steps_per_generation // args.gradient_accumulation_steps
    args = copy.copy(args)
    args.max_steps = math.ceil(args.num_train_epochs * each)
    return args


def _engine(args: Any) -> Any:
    if not args.use_vllm:
        return "transformers"
    return VLLM(
        gpu_memory_utilization=args.vllm_gpu_memory_utilization,
        max_model_len=args.vllm_max_model_length,
        sleep=args.vllm_enable_sleep_mode,
    )


def _saving(args: Any) -> dict[str, Any]:
    """Return when to save, where TRL's configuration says so in steps."""
    kept = {} if args.save_total_limit is None else {"save_total_limit": args.save_total_limit}
    by_steps = getattr(args.save_strategy, "value", args.save_strategy) == "steps" and args.save_steps >= 1
    return {**kept, "save_steps": int(args.save_steps)} if by_steps else kept
