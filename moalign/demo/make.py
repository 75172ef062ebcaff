"""Make the base model that ships inside the package: train it (about a minute on 2 cores) and store it in bfloat16.

python -m moalign.demo.make
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from moalign.demo import base_path
from moalign.errors import RunError

LIMIT = 3_000_000  # bytes, everything in the directory


def make(to: Path, *, steps: int | None = None, seed: int = 0, threads: int = 2, progress: bool = True) -> Path:
    """Train the arithmetic task's base model, its own number of `steps` unless given, and save it as bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM

    from moalign.tasks.arithmetic import RECORD, train_base

    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as scratch:
        number = {} if steps is None else {"steps": steps}
        made = train_base(Path(scratch) / "base", seed=seed, threads=threads, progress=progress, **number)
        AutoModelForCausalLM.from_pretrained(made, dtype=torch.bfloat16).save_pretrained(made)
        (made / RECORD).unlink()  # it says float32
        size = sum(path.stat().st_size for path in made.iterdir())
        if size > LIMIT:
            raise RunError(f"the demo's base model takes {size} bytes; the package allows {LIMIT}.")
        for path in made.iterdir():
            path.chmod(0o644)  # safetensors writes for the owner only, but a package is installed for everyone
        if to.exists():
            shutil.rmtree(to)
        return made.rename(to)


def main() -> None:
    """Make the packaged model from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m moalign.demo.make",
        description="Train the demo's base model and store it in bfloat16 inside the package.",
        epilog="example: python -m moalign.demo.make --seed 0",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the parameters and the texts (default: 0)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    options = parser.parse_args()
    print(make(base_path(), seed=options.seed, threads=options.threads))


if __name__ == "__main__":
    main()
