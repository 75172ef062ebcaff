"""What `Study.check` predicts beside what a short run takes: memory, disk and seconds.

Both happen in processes of their own. Seconds are the processor's where there is one thread and no GPU, so that other
processes do not disturb them; a run's first step, with its loading and warming up, is left out of them, and so is in
the prediction. Memory is the process's peak on a CPU, libraries included and once more without; on a GPU what torch
took there at most.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from benchmarks.harness import Claim, parser, report
from moalign import Objective, Study, recipes
from moalign.cli._studies import studies_in
from moalign.study._sizes import resident
from moalign.study._time import clock
from moalign.tasks import arithmetic

EXAMPLES = """  python -m benchmarks.plan
  python -m benchmarks.plan --members 1 4 8 16 --steps 6
  python -m benchmarks.plan --shape 7b --members 1 4 16 --json   # on a GPU"""

MIB = 1 << 20
# the sizes of Qwen2.5-0.5B and -7B, with random weights
SHAPES: dict[str, dict[str, Any]] = {
    "0.5b": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
             "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True},
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
           "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False},
}  # fmt: skip


def short(completion_ids: list[list[int]], **columns: Any) -> list[float]:
    return [1 - len(ids) / 256 for ids in completion_ids]


def even(completion_ids: list[list[int]], **columns: Any) -> list[float]:
    return [sum(i % 2 == 0 for i in ids) / max(len(ids), 1) for ids in completion_ids]


def study_of(options: argparse.Namespace, members: int) -> tuple[Study, float | None]:
    """Return the study of a shape, and how long its completions will be; None: as the plan assumes."""
    run = {"members": members, "eval_prompts": options.eval_prompts, "recipe.steps": options.steps}
    limits = {"micro_rows": options.micro_rows, "sample_rows": options.sample_rows}
    if options.shape == "arithmetic":
        return studies_in(Path("studies/arithmetic.py"))["study"].replace(**run, **limits), None
    objectives = [Objective("short", short, bounds=(0, 1)), Objective("even", even, bounds=(0, 1))]
    study = Study(
        "plan",
        objectives,
        model=_model(options.shape),
        processing_class=arithmetic.tokenizer(),
        recipe=recipes.hypervolume(learning_rate=1e-5, prompts_per_step=64, num_generations=8),
        reference_point={objective.name: 0.0 for objective in objectives},
        train_dataset=_longer("train"),
        eval_dataset=_longer("dev"),
        test_dataset=_longer("test"),
    )
    return study.replace(**run, **limits), 256.0  # an untrained model ends nowhere


def _longer(split: str) -> list[dict[str, str]]:
    return [{"prompt": "".join(row["prompt"] for _ in range(10))} for row in arithmetic.prompts(split)[:1024]]


def _model(shape: str) -> Any:
    """Return a model of these sizes on the device that trains, in bfloat16 on a GPU."""
    gpu = torch.cuda.is_available()
    config = Qwen2Config(**SHAPES[shape], eos_token_id=1, pad_token_id=0, bos_token_id=None)
    with torch.device("cuda" if gpu else "cpu"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if gpu else torch.float32)
    return model.eval()


def predict(options: argparse.Namespace, members: int) -> dict[str, float]:
    """Return what the plan says; nothing is trained."""
    study, mean = study_of(options, members)
    plan = study.check(mean_length=mean)
    print(plan, file=sys.stderr)
    took = plan.seconds
    return {
        "memory": plan.memory_bytes,
        "libraries": plan.held,
        "disk": plan.kept_bytes,
        "training": took.sampling + took.updating,
        "valuing": took.valuing,
        "fit": -1 if plan.members_that_fit is None else plan.members_that_fit,
    }


def measure(options: argparse.Namespace, members: int) -> dict[str, float]:
    """Run the study and return what it took."""
    gpu = torch.cuda.is_available()
    study, _ = study_of(options, members)
    libraries = 0 if gpu else resident()
    ends: list[float] = []

    def on_step(record: dict[str, Any]) -> None:
        if "step" in record:
            ends.append(clock())

    with tempfile.TemporaryDirectory(prefix="moalign-plan-") as where:
        study.run(Path(where) / "run", on_step=on_step)
        end = clock()
        files = [file for file in Path(where).rglob("*") if file.is_file()]
        disk = sum(file.stat().st_size for file in files)
    peak = torch.cuda.max_memory_allocated() if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    per_step = (ends[-1] - ends[0]) / (len(ends) - 1)
    return {
        "memory": peak,
        "libraries": libraries,
        "disk": disk,
        "training": per_step * len(ends),
        "valuing": end - ends[-1],
    }


def apart(arguments: list[str], members: int, what: str) -> dict[str, float]:
    """Call `predict` or `measure` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.plan", *arguments, "--members", str(members), "--only", what]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def claims_of(arguments: list[str], members: int, repeats: int) -> list[Claim]:
    """Return predicted beside measured for one number of members; medians of repeats, taken in turns."""
    pairs = [(apart(arguments, members, "predict"), apart(arguments, members, "measure")) for _ in range(repeats)]
    told, seen = ({k: sorted(p[i][k] for p in pairs)[repeats // 2] for k in pairs[0][i]} for i in (0, 1))
    who = f"{members} member{'s' * (members > 1)}"
    beyond = told["memory"] - told["libraries"], seen["memory"] - seen["libraries"]
    found = [
        Claim(f"{who}: memory at its peak", told["memory"] / MIB, seen["memory"] / MIB, "MiB", repeats),
        Claim(f"{who}: memory beyond libraries", beyond[0] / MIB, beyond[1] / MIB, "MiB", repeats),
        Claim(f"{who}: disk", told["disk"] / MIB, seen["disk"] / MIB, "MiB", repeats),
        Claim(f"{who}: seconds of training", told["training"], seen["training"], "s", repeats),
        Claim(f"{who}: seconds of valuing", told["valuing"], seen["valuing"], "s", repeats),
    ]
    return found + [Claim(f"{who}: members that fit", told["fit"], None, "members", repeats)]


def main() -> None:
    made = parser("plan", __doc__ or "", EXAMPLES)
    made.add_argument("--shape", choices=["arithmetic", *SHAPES], default="arithmetic", help="the model's sizes")
    made.add_argument("--members", type=int, nargs="+", default=[1, 4, 8, 16], help="one run each")
    made.add_argument("--steps", type=int, default=6, help="at least 2 (default: 6)")
    made.add_argument("--eval-prompts", type=int, default=256, help="dev and test prompts each (default: 256)")
    made.add_argument("--micro-rows", type=int, help="as the study's; 32 suits the large shapes on a GPU")
    made.add_argument("--sample-rows", type=int, help="as the study's")
    made.add_argument("--repeats", type=int, default=1, help="of each, in turns; the median is told (default: 1)")
    made.add_argument("--only", choices=["predict", "measure"], help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.steps < 2:
        made.error("--steps must be at least 2: the first is not counted")
    if options.micro_rows is None and options.shape != "arithmetic":
        options.micro_rows = 32
    if options.only is not None:
        work = predict if options.only == "predict" else measure
        print(json.dumps(work(options, options.members[0])))
        return
    arguments = ["--shape", options.shape, "--steps", str(options.steps), "--eval-prompts", str(options.eval_prompts)]
    for name in ("micro_rows", "sample_rows"):
        if getattr(options, name) is not None:
            arguments += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    claims: list[Claim] = []
    for members in options.members:
        claims += claims_of(arguments, members, options.repeats)
        for claim in claims[-6:]:  # a stopped sweep has said what it found
            print(claim, file=sys.stderr)
    report(claims, options.json, record="plan" if options.record else None)


if __name__ == "__main__":
    main()
