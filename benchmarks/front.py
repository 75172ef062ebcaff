"""A front of members against as many runs of TRL's trainer, one after the other: same job, LoRA, same steps.

python -m benchmarks.front
"""

import json
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, parser, peak_mb, quiet, report
from benchmarks.rivals import step_times, study, study_times, trl_config, trl_trainer, write_model
from benchmarks.same import check_same

VOCABULARY = {"equal lengths": 2048, "early end-of-sequence": 19}
COUNTS = (1, 4, 16)


def main() -> None:
    """Check that one member computes what TRL computes, then time members together and TRL one after the other."""
    made = parser(
        "front", "16 members together against 16 runs of TRL.", "  OMP_NUM_THREADS=2 python -m benchmarks.front"
    )
    made.add_argument("--steps", type=int, default=4, help="timed steps of each run (default: 4)")
    made.add_argument("--members", type=int, default=16, help="members, and runs of TRL (default: 16)")
    made.add_argument("--part", nargs=3, metavar=("CASE", "MEMBERS", "DIRECTORY"), help="one measurement, as JSON")
    options = made.parse_args()
    quiet()
    if options.part:
        print(json.dumps(part(options)))
        return
    claims: list[Claim] = []
    with tempfile.TemporaryDirectory() as where:
        for case, vocabulary in VOCABULARY.items():
            model = write_model(Path(where) / f"model-{vocabulary}", vocabulary)
            config = trl_config(Path(where) / "trl", steps=1)
            job = study(model, config, members=1)
            check_same(trl_trainer(model, config, peft_config=lora()), job)
            claims += compared(case, options, Path(where))
    report(claims, options.json, record="front" if options.record else None)


def compared(case: str, options: Namespace, where: Path) -> list[Claim]:
    """Return the claims of one case; every measurement is a process of its own, so that peaks are its own."""
    many = options.members
    theirs = [measured(case, 0, where, options.steps, seed) for seed in range(many)]
    rival = sum(run["step"] for run in theirs)
    claims = []
    for count in sorted({*(c for c in COUNTS if c <= many), many}):
        mine = measured(case, count, where, options.steps, 0)
        single = rival * count / many
        claims.append(Claim(f"a step of {count} members, {case}", mine["step"], single, "s", options.steps))
        peak = statistics.median(run["peak"] for run in theirs)
        claims.append(Claim(f"peak memory of {count} members, {case} (TRL: one run)", mine["peak"], peak, "MB", 1))
    return claims


def measured(case: str, members: int, where: Path, steps: int, seed: int) -> dict[str, float]:
    """Return median step seconds and peak megabytes of members together, or of one TRL run (0 members)."""
    command = [sys.executable, "-m", "benchmarks.front", "--steps", str(steps), "--part", case, str(members)]
    out = subprocess.run([*command, f"{where}:{seed}"], check=True, capture_output=True, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def part(options: Namespace) -> dict[str, Any]:
    """Measure in this process."""
    case, members, place = options.part
    where, _, seed = place.rpartition(":")
    model = Path(where) / f"model-{VOCABULARY[case]}"
    config = trl_config(Path(where) / f"trl-{seed}", steps=options.steps + 1, seed=int(seed))
    if int(members) == 0:
        times = step_times(trl_trainer(model, config, peft_config=lora()))
    else:
        with tempfile.TemporaryDirectory() as run:
            times = study_times(study(model, config, members=int(members)), Path(run) / "run")
    return {"step": statistics.median(times), "peak": peak_mb()}


def lora() -> Any:
    """Return what a study takes by default: rank 8 on every linear layer."""
    from peft import LoraConfig

    return LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")


if __name__ == "__main__":
    main()
