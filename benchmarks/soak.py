"""Thousands of steps of a tiny study: does memory stay flat?

python -m benchmarks.soak --steps 5000
"""

import gc
import os
import sys
import tempfile
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Claim, parser, quiet, report
from moalign import Objective, Study, recipes
from moalign.tasks import arithmetic

WINDOW = 50  # steps over which the largest resident set counts: one step's is noise


def main() -> None:
    """Train, and compare the memory of the end with that of an early step."""
    made = parser("soak", "Memory of a long run.", "  OMP_NUM_THREADS=1 python -m benchmarks.soak --steps 5000")
    made.add_argument("--steps", type=int, default=5000, help="how many (default: 5000)")
    made.add_argument("--warm", type=int, default=500, help="step from which memory must be flat (default: 500)")
    options = made.parse_args()
    if not WINDOW <= options.warm <= options.steps - WINDOW:
        made.error(f"--warm must be at least {WINDOW}, and --steps {WINDOW} more.")
    quiet()
    with tempfile.TemporaryDirectory(prefix="moalign-soak-") as where:
        watched = Watch(warm=options.warm, steps=options.steps)
        tiny(Path(where) / "model", options.steps).run(Path(where) / "run", on_step=watched)
    report(watched.claims(), options.json, record="soak" if options.record else None)


@dataclass
class Watch:
    """Looks at this process's memory after each step."""

    warm: int
    steps: int
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))  # resident set, MiB
    resident: list[float] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)  # of Python's allocator: objects that gc never sees, too
    tensors: list[int] = field(default_factory=list)

    def __call__(self, record: dict[str, Any]) -> None:
        if "stage" in record:
            return
        self.recent.append(resident())
        if record["step"] + 1 in (self.warm, self.steps):
            gc.collect()
            self.resident.append(max(self.recent))
            self.tensors.append(sum(issubclass(type(x), torch.Tensor) for x in gc.get_objects()))
            self.blocks.append(sys.getallocatedblocks())

    def claims(self) -> list[Claim]:
        """Return what an early step held, what the last one held, and what each step between left behind."""
        between = self.steps - self.warm
        objects, tensors = ((found[1] - found[0]) / between for found in (self.blocks, self.tensors))
        return [
            Claim(f"resident set at step {self.warm}", round(self.resident[0], 1), None, "MiB", 1),
            Claim(f"resident set at step {self.steps}", round(self.resident[1], 1), None, "MiB", 1),
            Claim("left behind by a step", round(objects, 3), None, "objects", between),
            Claim("left behind by a step", round(tensors, 3), None, "tensors", between),
        ]


def resident() -> float:
    """Return the memory that this process holds now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def digits(completions: list[str], **columns: Any) -> list[float]:
    """Share of characters that are digits."""
    return [sum(c.isdigit() for c in text) / max(len(text), 1) for text in completions]


def short(completion_ids: list[list[int]], **columns: Any) -> list[float]:
    return [1 - len(ids) / 8 for ids in completion_ids]


def tiny(model: Path, steps: int) -> Study:
    """Return the smallest study there is, with a checkpoint every 20 steps; writes its untrained model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = arithmetic.tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes, **tokens)
    LlamaForCausalLM(config).save_pretrained(model)
    tokenizer.save_pretrained(model)
    return Study(
        "soak",
        [Objective("digits", digits, bounds=(0, 1)), Objective("short", short, bounds=(0, 1))],
        model=str(model),
        train_dataset=[{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(10, 20) for b in range(10, 20)],
        recipe=recipes.hypervolume(
            steps=steps, prompts_per_step=1, num_generations=4, max_completion_length=4, learning_rate=1e-3
        ),
        members=2,
        reference_point={"digits": 0.0, "short": 0.0},
        eval_prompts=10,
    )


if __name__ == "__main__":
    main()
