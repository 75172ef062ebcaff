"""Load Hugging Face models and tokenizers, and say in plain words why one cannot be loaded; nothing about training."""

import copy
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from moalign.errors import ConfigError

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def looks_local(source: str | Path) -> bool:
    """Tell whether a source must be a path on this machine: it exists, or the hub could not have such an id.

    >>> looks_local("./model"), looks_local("/models/base"), looks_local("a/b/c"), looks_local("Qwen/Qwen2.5-0.5B")
    (True, True, True, False)
    """
    return isinstance(source, Path) or Path(source).expanduser().exists() or not HUB_ID.fullmatch(source)


def load_tokenizer(source: str | Path | PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return a tokenizer that pads on the left, with the end token as padding where it has none of its own.

    A tokenizer given as `source` is copied, not changed.
    """
    if isinstance(source, PreTrainedTokenizerBase):
        tokenizer = copy.deepcopy(source)
    elif not isinstance(source, str | Path):
        raise ConfigError(f"`processing_class` must be a tokenizer, a directory or a hub id, got {source!r:.80}.")
    else:
        with explained(source, "a tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(_local(source))
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ConfigError(
                f"the tokenizer of `{_name(source)}` has neither a pad nor an end token; set `eos_token`."
            )
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def best_device() -> torch.device:
    """Return the GPU of this process, of several that a launcher started each its own; the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def load_model(source: str | Path, *, dtype: torch.dtype | str | None = None) -> PreTrainedModel:
    """Return a causal language model, frozen and in eval mode; `dtype` None keeps the checkpoint's own."""
    with explained(source, "a causal language model"):
        model = AutoModelForCausalLM.from_pretrained(_local(source), dtype="auto" if dtype is None else dtype)
    return model.eval().requires_grad_(False)


def fingerprint(model: PreTrainedModel) -> str:
    """Return a hash of a model, from some 1,024 numbers of each parameter: quick, and another model has another."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().flatten()
        some = flat[:: max(1, len(flat) // 1024)].float().cpu()
        digest.update(f"{name}{tuple(parameter.shape)}".encode() + some.numpy().tobytes())
    return digest.hexdigest()[:16]


def token_ids(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> tuple[int, tuple[int, ...]]:
    """Return the padding token and the end tokens: the tokenizer's first, then those the model generates with."""
    config = model.generation_config
    given: Any = config.eos_token_id if config is not None else None
    ends: list[Any] = [tokenizer.eos_token_id, *(given if isinstance(given, list) else [given])]
    eos_ids = tuple(dict.fromkeys(int(end) for end in ends if end is not None))
    if not eos_ids:
        raise ConfigError(f"neither the tokenizer nor `{model.name_or_path}` has an end token; set `eos_token`.")
    pad: Any = tokenizer.pad_token_id
    return (eos_ids[0] if pad is None else int(pad)), eos_ids


def check_model(source: str | Path, *, tokenizer: bool = True) -> list[str]:
    """Return what is wrong with a model, without reading its weights; an empty list means that it can be loaded.

    Whether it has a tokenizer does not matter with `tokenizer=False`: there is one from elsewhere.
    """
    path = Path(source).expanduser()
    if path.is_dir() and not (path / "config.json").exists():
        if (path / "adapter_config.json").exists():
            return [f"`model` {source} is a PEFT adapter; merge it into its base first and pass the merged model."]
        return [f"`model` {source} has no config.json; pass a folder written by `save_pretrained`."]
    problems = []
    try:
        with explained(source, "a causal language model"):
            config = AutoConfig.from_pretrained(_local(source))
    except ConfigError as error:
        return [str(error)]
    if type(config) not in AutoModelForCausalLM._model_mapping:
        problems.append(f"`model` {source} is of type {config.model_type}, which is not a causal language model.")
    if path.is_dir() and not any(path.glob("*.safetensors")) and not any(path.glob("*.bin")):
        problems.append(f"`model` {source} has no weights (*.safetensors or *.bin); save the model there first.")
    try:
        if tokenizer:
            load_tokenizer(source)
    except ConfigError as error:
        problems.append(f"{error} A tokenizer from elsewhere goes into `processing_class`.")
    return problems


@contextmanager
def explained(source: str | Path, what: str) -> Iterator[None]:
    """Turn the many exceptions of loading `what` from `source` into one `ConfigError` that says what to do."""
    local = looks_local(source)
    if local and not Path(source).expanduser().exists():
        raise ConfigError(f"`{source}` should be {what}, but there is no such path here; check the spelling.")
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # the libraries below raise a dozen unrelated kinds
        first = (str(error).strip() or repr(error)).splitlines()[0]
        if local:
            raise ConfigError(f"`{source}` cannot be loaded as {what}: {first}") from error
        raise ConfigError(
            f"`{source}` is not a path here and cannot be loaded as {what} from the hub: {first} "
            "Check the spelling; without a network (or with HF_HUB_OFFLINE=1), download it first and pass its path."
        ) from error


def _local(source: str | Path) -> str:
    # absolute, because adapters name their base and are loaded from other folders
    return str(Path(source).expanduser().resolve()) if looks_local(source) else str(source)


def _name(source: str | Path | PreTrainedTokenizerBase) -> str:
    return source.name_or_path if isinstance(source, PreTrainedTokenizerBase) else str(source)
