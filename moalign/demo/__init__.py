"""The base model that ships inside the package, so that `moalign demo` needs no training of it and no network.

`moalign.demo.make` made it: the arithmetic task's base model (`moalign.tasks.arithmetic`), stored in bfloat16.
Load it in float32 on a CPU: ``AutoModelForCausalLM.from_pretrained(base_path(), dtype=torch.float32)``.

>>> sorted(path.name for path in base_path().glob("*.safetensors"))
['model.safetensors']
"""

from pathlib import Path


def base_path() -> Path:
    """Return the directory of the demo's base model: at most 3 MB, Hugging Face format, bfloat16."""
    return Path(__file__).parent / "base"


__all__ = ["base_path"]
