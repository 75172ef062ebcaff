"""Load, run and export the model of a point."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from moalign.errors import ConfigError, RunError
from moalign.runs.atomic import AGAIN, whole_directory

ADAPTER = "adapter_config.json"
CONDITION = "condition.json"  # see `moalign.policies.conditioned`


def load_model(path: Path) -> tuple[Any, Any]:
    """Return the model and tokenizer in a directory; an adapter is put on its base."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = _base(path)
    if base is None:
        return AutoModelForCausalLM.from_pretrained(path).eval(), _tokenizer(path, path)
    try:
        model = AutoModelForCausalLM.from_pretrained(base)
    except OSError as error:
        raise RunError(f"the base model `{base}` of the adapter in `{path}` cannot be loaded: {error}") from error
    with torch.random.fork_rng(devices=[]):  # PEFT initializes the adapter before it reads it
        return PeftModel.from_pretrained(model, path).eval(), _tokenizer(path, base)


def export_model(path: Path, directory: Path, *, merge: bool) -> Path:
    """Copy an adapter or a model with its tokenizer, or merge an adapter into its base; whole, or not at all."""
    if directory.exists() and (any(directory.iterdir()) or directory.samefile(Path.cwd())):
        raise ConfigError(f"`directory` {str(directory)!r} is not empty, or where you are; export to a new one.")
    base = _base(path)
    merged = base is not None and merge
    model, tokenizer = load_model(path) if merged else (None, _tokenizer(path, base or path))
    with whole_directory(directory, rest=AGAIN) as partial:
        if model is not None:
            model.merge_and_unload().save_pretrained(partial)
            if (path / CONDITION).exists():
                shutil.copyfile(path / CONDITION, partial / CONDITION)
        else:
            shutil.copytree(path, partial, dirs_exist_ok=True)
            if base is not None and Path(base).exists():  # a relative path would be looked for where the user stands
                config = json.loads((path / ADAPTER).read_text(encoding="utf-8"))
                config["base_model_name_or_path"] = str(Path(base).resolve())
                (partial / ADAPTER).write_text(json.dumps(config, indent=2), encoding="utf-8")
        tokenizer.save_pretrained(partial)
        for file in partial.iterdir():  # safetensors writes for its owner alone; who serves it is another user
            file.chmod(0o644)
    return directory


@torch.no_grad()
def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Any],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch: int,
    prefix: str = "",
    **options: Any,
) -> list[str]:
    """Return one completion per prompt, sampled from the whole distribution as in training (no top-k, no top-p).

    The tokens of `prefix` stand before every prompt's own.
    """
    from moalign.policies.conditioned import prefixed

    if isinstance(prompts, str):
        raise ConfigError("`prompts` is one text; pass a list of prompts.")
    if temperature > 0:
        options = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} | options
    else:
        options = {"do_sample": False} | options
    texts = [prompt if isinstance(prompt, str) else _chat(tokenizer, prompt) for prompt in prompts]
    chat = bool(texts) and not isinstance(prompts[0], str)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    out: list[str] = []
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for start in range(0, len(texts), batch):
            part = tokenizer(
                texts[start : start + batch],
                padding=True,
                padding_side="left",
                return_tensors="pt",
                return_token_type_ids=False,
                add_special_tokens=not chat,  # a chat template has written them already
            )
            if prefix:
                told = [prefix] * len(part["input_ids"])
                longer = prefixed(part["input_ids"], part["attention_mask"].bool(), told, tokenizer)
                part = dict(zip(("input_ids", "attention_mask"), (longer[0], longer[1].long())))
            part = {name: tensor.to(model.device) for name, tensor in part.items()}
            tokens = model.generate(**part, max_new_tokens=max_new_tokens, pad_token_id=pad, **options)
            new = tokens[:, part["input_ids"].shape[1] :]
            out += tokenizer.batch_decode(new, skip_special_tokens=True)
    return out


def _chat(tokenizer: Any, messages: Any) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def _base(path: Path) -> str | None:
    """Return the model that an adapter belongs to, or None for a directory that holds a whole model."""
    config = path / ADAPTER
    if not config.exists():
        return None
    base = json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]
    if not base:
        raise RunError(f"`{config}` does not name its base model; write its path there as `base_model_name_or_path`.")
    return base


def _tokenizer(path: Path, base: str | Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path if (path / "tokenizer_config.json").exists() else base)
