"""On a GPU: a front of members against runs of TRL one after the other, models of 0.5 B and 7 B from configuration.

Weights are random, so completions take their full length; rows, tokens, adapters and precision are the same.

    python -m benchmarks.gpu --shape 0.5b
"""

import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from benchmarks.front import lora
from benchmarks.harness import Claim, parser, peak_mb, quiet, report
from benchmarks.overhead import timed
from benchmarks.plan import SHAPES, even
from benchmarks.rivals import step_times, study_times
from moalign import Objective, Study, recipes
from moalign.policies.hf import ModelPolicy
from moalign.tasks import arithmetic

TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "vocab_size": 512, "tie_word_embeddings": True}  # fmt: skip
EXAMPLES = """  python -m benchmarks.gpu --shape 0.5b --json
  python -m benchmarks.gpu --shape 7b --members 1 4 --micro-rows 16
  python -m benchmarks.gpu --shape tiny --prompts 4 --generations 4 --length 16   # on a CPU, to see that it runs"""


def main() -> None:
    """Measure TRL once and fronts of several sizes, each in a process of its own."""
    made = parser("gpu", "Members together against TRL, at the sizes of language models.", EXAMPLES)
    made.add_argument("--shape", choices=["tiny", *SHAPES], default="0.5b", help="of the model (default: 0.5b)")
    made.add_argument("--members", type=int, nargs="+", default=[1, 4, 16], help="default: 1 4 16")
    made.add_argument("--steps", type=int, default=3, help="timed steps (default: 3)")
    made.add_argument("--prompts", type=int, default=64, help="of a step (default: 64)")
    made.add_argument("--generations", type=int, default=8, help="completions of a prompt (default: 8)")
    made.add_argument("--length", type=int, default=256, help="tokens of a completion (default: 256)")
    made.add_argument("--micro-rows", type=int, default=32, help="rows of one backward pass (default: 32)")
    made.add_argument("--sample-rows", type=int, help="rows sampled at once (default: all)")
    made.add_argument("--part", type=int, help="one measurement, as JSON: so many members; 0 is TRL")
    options = made.parse_args()
    quiet()
    if options.part is not None:
        print(json.dumps(theirs(options) if options.part == 0 else ours(options, options.part)))
        return
    rival = measured(0)
    claims = []
    for count in options.members:
        mine = measured(count)
        name = f"{options.shape}, {count} member{'s' if count > 1 else ''}"
        claims += [
            Claim(f"step, {name}", mine["step"], rival["step"] * count, "s", options.steps),
            Claim(f"sampled, {name}", mine["sampled"], None, "tokens/s", options.steps),
            Claim(f"trained, {name}", mine["trained"], None, "tokens/s", options.steps),
            Claim(f"peak memory, {name} (TRL: one run)", mine["peak"], rival["peak"], "MB", 1),
        ]
    report(claims, options.json, record=f"gpu-{options.shape}" if options.record else None)


def measured(part: int) -> dict[str, float]:
    """Measure in a process of its own, with this one's options."""
    command = [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:], "--part", str(part)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{part} members: {done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(options: Namespace, members: int) -> dict[str, float]:
    """Return a step's seconds, tokens sampled and trained a second, and the peak of memory."""
    spent = {"accounted": 0.0}
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as where, contextlib.ExitStack() as stack:
        stack.enter_context(timed(ModelPolicy, "sample", spent))
        config = trl_config(options, Path(where))
        job = study(options, config, members)
        steps = study_times(job, Path(where) / "run", on_step=lambda line: ends.append(spent["accounted"]))
    sampling = statistics.median(b - a for a, b in itertools.pairwise(ends))
    tokens = members * options.prompts * options.generations * options.length
    step = statistics.median(steps)
    return {"step": step, "sampled": tokens / sampling, "trained": tokens / (step - sampling), "peak": peak_mb()}


def theirs(options: Namespace) -> dict[str, float]:
    """Return a step's seconds of TRL's trainer, and its peak of memory."""
    from datasets import Dataset
    from trl.trainer.grpo_trainer import GRPOTrainer

    with tempfile.TemporaryDirectory() as where:
        rewards: list[Any] = [even_for_trl, low_for_trl]
        trainer = GRPOTrainer(
            model=model(options.shape),
            reward_funcs=rewards,
            args=trl_config(options, Path(where)),
            train_dataset=Dataset.from_list(lines("train")),
            processing_class=arithmetic.tokenizer(),
            peft_config=lora(),
        )
        return {"step": statistics.median(step_times(trainer)), "peak": peak_mb()}


def even_for_trl(completions: Any, completion_ids: list[list[int]], **columns: Any) -> list[float]:
    return even(completion_ids)


def low(completion_ids: list[list[int]], **columns: Any) -> list[float]:
    """Return the share of tokens from the first hundred."""
    return [sum(i < 100 for i in ids) / max(len(ids), 1) for ids in completion_ids]


def low_for_trl(completions: Any, completion_ids: list[list[int]], **columns: Any) -> list[float]:
    return low(completion_ids)


def trl_config(options: Namespace, where: Path) -> Any:
    """Return TRL's configuration: the batch in micro-batches, adapters trained, one update a step."""
    from trl.trainer.grpo_config import GRPOConfig

    gpu, rows = torch.cuda.is_available(), options.prompts * options.generations
    micro = min(options.micro_rows, rows)
    return GRPOConfig(
        output_dir=str(where / "trl"),
        use_cpu=not gpu,
        bf16=gpu,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        max_steps=options.steps + 1,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=rows // micro,
        num_generations=options.generations,
        max_completion_length=options.length,
        temperature=1.0,
        beta=0.0,
        learning_rate=1e-5,
        lr_scheduler_type="constant",
        loss_type="dr_grpo",
    )


def study(options: Namespace, config: Any, members: int) -> Study:
    """Return the same job as a study."""
    return Study(
        "gpu",
        [Objective("even", even), Objective("low", low)],
        model=model(options.shape),
        processing_class=arithmetic.tokenizer(),
        train_dataset=lines("train"),
        eval_dataset=lines("dev")[:8],
        test_dataset=lines("test")[:8],
        recipe=recipes.from_trl(config, reward_names=["even", "low"]),
        members=members,
        preferences=[{"even": 0.5, "low": 0.5}] * members,
        reference_point={"even": 0.0, "low": 0.0},
        eval_prompts=1,
        save_steps=10**6,
        save_rollouts=0,
        micro_rows=min(options.micro_rows, options.prompts * options.generations),
        sample_rows=options.sample_rows,
    )


def lines(split: str) -> list[dict[str, str]]:
    """Return prompts of about sixty tokens."""
    return [{"prompt": row["prompt"] * 10} for row in arithmetic.prompts(split)[:1024]]


def model(shape: str) -> Any:
    """Return a model of these sizes with random weights, in bfloat16 on a GPU."""
    from transformers import AutoModelForCausalLM, Qwen2Config

    gpu = torch.cuda.is_available()
    sizes: dict[str, Any] = {"tiny": TINY, **SHAPES}[shape]
    config = Qwen2Config(**sizes, eos_token_id=1, pad_token_id=0, bos_token_id=None)
    torch.manual_seed(0)
    with torch.device("cuda" if gpu else "cpu"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if gpu else torch.float32)


if __name__ == "__main__":
    main()
