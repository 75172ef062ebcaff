"""PEFT's configurations and adapter directories."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from moalign.errors import ConfigError

PREFIX = "base_model.model."
UNDERSTOOD = {"r", "lora_alpha", "target_modules", "use_rslora"}
DESCRIPTIVE = {
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "runtime_config",
}  # fmt: skip


def lora_options(config: LoraConfig) -> dict[str, Any]:
    """Return the options of `LoraMembers` that a PEFT configuration asks for; anything else it sets is refused by name.

    >>> lora_options(LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"]))
    {'r': 4, 'alpha': 8, 'target_modules': ('q_proj',), 'rslora': False}
    """
    plain = LoraConfig()
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name not in UNDERSTOOD | DESCRIPTIVE and value != getattr(plain, field.name):
            raise ConfigError(
                f"`peft_config` sets `{field.name}={value!r}`, which members cannot do; leave it at "
                f"{getattr(plain, field.name)!r}. Understood: {', '.join(sorted(UNDERSTOOD))}."
            )
    targets = config.target_modules
    if targets is not None and not isinstance(targets, str):
        targets = tuple(sorted(targets))
    return {"r": config.r, "alpha": config.lora_alpha, "target_modules": targets, "rslora": config.use_rslora}


def save_adapter(
    to: Path, factors: Mapping[str, tuple[Tensor, Tensor]], *, scale: float, base: str | None, targets: list[str]
) -> None:
    """Write one member's factors (A ``[r in]``, B ``[out r]`` by layer name) as a directory that PEFT loads."""
    to.mkdir(parents=True, exist_ok=True)
    r = next(iter(factors.values()))[0].shape[0]
    # PEFT's alpha is whole: a scale that is not a multiple of 1/r goes into B
    alpha, rest = (round(scale * r), 1.0) if scale * r == round(scale * r) else (r, scale)
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        target_modules=targets,
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        inference_mode=True,
    )
    config.save_pretrained(str(to))
    state: dict[str, Tensor] = {}
    for name, (a, b) in factors.items():
        state[f"{PREFIX}{name}.lora_A.weight"] = a.detach().cpu().contiguous().clone()
        state[f"{PREFIX}{name}.lora_B.weight"] = (b.detach().cpu() * rest).contiguous()
    save_file(state, to / "adapter_model.safetensors", metadata={"format": "pt"})


def load_adapter(path: Path) -> tuple[dict[str, tuple[Tensor, Tensor]], float]:
    """Return the factors by layer name and the scale of an adapter directory written by PEFT or by `save_adapter`."""
    config = LoraConfig.from_pretrained(str(path))
    if not isinstance(config, LoraConfig):
        raise ConfigError(f"`path` holds a {config.peft_type} adapter ({path}); only LoRA adapters can be read.")
    config.init_lora_weights = True  # how the adapter began does not matter any more
    options = lora_options(config)
    state = load_file(path / "adapter_model.safetensors")
    names = [key.removeprefix(PREFIX).removesuffix(".lora_A.weight") for key in state if key.endswith(".lora_A.weight")]
    factors = {n: (state[f"{PREFIX}{n}.lora_A.weight"], state[f"{PREFIX}{n}.lora_B.weight"]) for n in names}
    return factors, scaling(options["r"], options["alpha"], options["rslora"])


def scaling(r: int, alpha: float | int, rslora: bool) -> float:
    """Return what the product B·A is multiplied by: alpha / r, or alpha / √r (rank-stabilised).

    >>> scaling(4, 8, False), scaling(4, 8, True)
    (2.0, 4.0)
    """
    return alpha / (r**0.5 if rslora else r)


def mix_adapters(shares: Mapping[Path, float], to: Path) -> None:
    """Write the soup of adapter directories, Σ share·scale·B·A, exactly, as one adapter of the ranks' sum."""
    sources = [(load_adapter(path), share) for path, share in shares.items() if share]
    layers = sources[0][0][0].keys()
    factors = {
        name: (
            torch.cat([found[name][0] for (found, _), _ in sources]),
            torch.cat([found[name][1] * (share * scale) for (found, scale), share in sources], dim=1),
        )
        for name in layers
    }
    base = LoraConfig.from_pretrained(str(next(iter(shares)))).base_model_name_or_path
    save_adapter(to, factors, scale=1.0, base=base, targets=sorted(layers))
