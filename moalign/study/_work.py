"""The numbers that decide what a study takes, from its options and its model's configuration: nothing is loaded."""

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from moalign.credit import AtGradient
from moalign.errors import ConfigError
from moalign.models import load_tokenizer
from moalign.policies.adapters import target_layers
from moalign.policies.peft_format import lora_options
from moalign.records import Need
from moalign.study._assemble import datasets_of, lora_config, tokenizer_source
from moalign.training.recipe import trained_members

if TYPE_CHECKING:
    from moalign.study._study import Study

SEEN = 512  # prompts whose tokens are counted


@dataclass(frozen=True)
class Work:
    """The numbers that decide how much memory, disk and time a study takes."""

    # the model
    parameters: int
    layers: int
    hidden: int
    inner: int  # of the feed-forward block
    queries: int  # heads times their size
    keys: int  # heads that have keys and values of their own, times their size
    vocabulary: int
    itemsize: int  # bytes of one of the model's numbers
    trained: int  # numbers of one member
    full: bool  # members are whole models
    apart: bool  # members are sampled one after the other
    # a step
    members: int
    prompts: int
    group: int
    prompt: int  # tokens of a batch's longest prompt
    limit: int  # most tokens of a completion
    mean: float  # tokens of an average completion
    sampled: bool  # completions are sampled, not read
    micro_rows: int | None
    sample_rows: int | None
    recompute: bool  # gradient checkpointing
    channels: int  # backward passes of a micro-batch
    passes: int  # over a batch
    scorings: int  # passes without gradient beside them
    # the run
    steps: int
    behaviours: int  # that are valued
    objectives: int
    valued: tuple[int, int]  # dev and test prompts
    save_steps: int
    checkpoints: int  # kept
    copies: int  # of a member's numbers in a checkpoint: their own, the optimizer's two moments, a previous iterate
    kept_groups: int
    point_files: int  # bytes of the tokenizer beside each point
    device: str
    rank: int = 0
    targets: str | tuple[str, ...] | None = None  # of the adapters; None: the default ones
    config: Any = field(default=None, compare=False, repr=False)
    key: str = ""  # the configuration as text: what tells models apart

    @property
    def rows(self) -> int:
        """Completions of one member in a step."""
        return self.prompts * self.group

    def lengths(self, rows: int) -> list[int]:
        """The assumed lengths of so many completions, ascending."""
        return spread(rows, mean=self.mean, limit=self.limit)

    @property
    def cache(self) -> int:
        """Bytes of keys and values that one token of one row leaves behind."""
        return 2 * self.layers * self.keys * self.itemsize

    @property
    def member(self) -> int:
        """Bytes of one member's trained numbers, which are in single precision."""
        return 4 * self.trained


def work_of(study: "Study", mean_length: float | int | None = None) -> Work:
    """Describe a checked study; completions fill half of their limit on average unless `mean_length` says otherwise."""
    recipe, config, dtype = study.recipe, config_of(study.model), dtype_of(study)
    text, needs = config.get_text_config(), recipe.needs
    given, full = lora_config(study.peft_config), study.peft_config == "full"
    options = {"r": 8, "target_modules": None} if given is None else lora_options(given)
    key = json.dumps(config.to_dict(), sort_keys=True, default=str)
    if hasattr(study.model, "named_parameters"):
        parameters, adapted = numbers_of(study.model, options["target_modules"])
    else:
        parameters, adapted = counted(key, type(config), options["target_modules"])
    tokenizer = load_tokenizer(tokenizer_source(study))
    train, dev, test = datasets_of(study, tokenizer)
    columns = getattr(recipe.collect, "columns", ())  # completions that stand in the data
    members = trained_members(recipe, study.members)
    layers, hidden = _size(text, "num_hidden_layers"), _size(text, "hidden_size")
    heads = _size(text, "num_attention_heads")
    size = getattr(text, "head_dim", None) or hidden // heads
    values = len(study.trained()) * (hidden + 1) if Need.VALUES in needs else 0
    offered = getattr(recipe.offer, "count", study.members)
    limit, passes = recipe.max_completion_length, getattr(recipe.update, "passes", 1)
    return Work(
        parameters=parameters,
        layers=layers,
        hidden=hidden,
        inner=_size(text, "intermediate_size", "n_inner", default=4 * hidden),
        queries=heads * size,
        keys=_size(text, "num_key_value_heads", default=heads) * size,
        vocabulary=_size(text, "vocab_size"),
        itemsize=dtype.itemsize,
        trained=(parameters if full else options["r"] * adapted) + values,
        full=full,
        apart=full or members < study.members,
        members=members,
        prompts=recipe.prompts_per_step,
        group=len(columns) or recipe.num_generations,
        prompt=longest_of_batch(train.texts, tokenizer, recipe.prompts_per_step),
        limit=limit,
        mean=float(mean_length or max(limit / 2, 1)),
        sampled=not columns,
        micro_rows=study.micro_rows,
        sample_rows=study.sample_rows,
        recompute=study.gradient_checkpointing,
        channels=len(study.trained()) if isinstance(getattr(recipe.credit, "collapse", None), AtGradient) else 1,
        passes=passes,
        scorings=(passes > 1 or bool({Need.OLD, Need.OLD_VALUES} & needs))
        + (Need.REFERENCE in needs)
        + (Need.PREVIOUS in needs),
        steps=recipe.steps,
        behaviours=offered,
        objectives=len(study.objectives),
        valued=(min(study.eval_prompts, len(dev)), min(study.eval_prompts, len(test))),
        save_steps=study.save_steps,
        checkpoints=min(study.save_total_limit, math.ceil(recipe.steps / study.save_steps)),
        copies=3 + (Need.PREVIOUS in needs),
        kept_groups=min(study.save_rollouts, recipe.prompts_per_step),
        point_files=files_of(tokenizer_source(study)) or 70 * len(tokenizer),
        device="cuda" if torch.cuda.is_available() else "cpu",
        rank=0 if full else options["r"],
        targets=options["target_modules"],
        config=config,
        key=key,
    )


def config_of(model: Any) -> Any:
    return model.config if hasattr(model, "config") else AutoConfig.from_pretrained(model)


def dtype_of(study: "Study") -> torch.dtype:
    """Return the type that a run loads the model in; see `_assemble`."""
    if hasattr(study.model, "config"):
        return study.model.dtype
    single = not torch.cuda.is_available() or study.peft_config == "full"
    return torch.float32 if single else getattr(config_of(study.model), "dtype", None) or torch.float32


@functools.cache
def counted(config: str, kind: Any, targets: str | tuple[str, ...] | None) -> tuple[int, int]:
    """Return `numbers_of` the model of a configuration; nothing is loaded."""
    with torch.device("meta"):
        return numbers_of(AutoModelForCausalLM.from_config(kind.from_dict(json.loads(config))), targets)


def numbers_of(model: Any, targets: str | tuple[str, ...] | None) -> tuple[int, int]:
    """Return a model's parameters, tied ones once, and how many numbers an adapter of rank 1 has."""
    try:
        adapted = sum(layer.in_features + layer.out_features for layer in target_layers(model, targets).values())
    except ConfigError:  # a model that only `peft_config="full"` can train; else assembling says so
        adapted = 0
    return sum(p.numel() for p in model.parameters()), adapted


def _size(config: Any, *names: str, default: int = 1) -> int:
    return next((int(v) for name in names if (v := getattr(config, name, None))), default)


def longest_of_batch(texts: Sequence[str], tokenizer: Any, batch: int) -> int:
    """Return the tokens of the longest prompt of a batch, on average over some batches."""
    lengths = [len(ids) for ids in tokenizer(list(texts[:SEEN]))["input_ids"]]
    longest = [max(lengths[i : i + batch]) for i in range(0, len(lengths), batch)]
    return round(sum(longest) / len(longest))


def files_of(source: Any) -> int:
    """Return the bytes of a local tokenizer's files; 0 if it stands elsewhere."""
    folder = Path(source if isinstance(source, str | Path) else source.name_or_path).expanduser()
    return sum(f.stat().st_size for name in ("tokenizer*", "chat_template*") for f in folder.glob(name) if f.is_file())


def spread(rows: int, *, mean: float, limit: int) -> list[int]:
    """Return ascending lengths of so many completions, evenly spread around the mean and at most the limit.

    >>> spread(4, mean=4.0, limit=8), spread(2, mean=8.0, limit=8)
    ([2, 3, 5, 6], [8, 8])
    """
    low = max(1.0, 2 * mean - limit)
    high = 2 * mean - low
    return [round(low + (high - low) * (i + 0.5) / rows) for i in range(rows)]
