"""How long `moalign audit` takes over 100,000 logged completions, started from nothing, on one core.

python -m benchmarks.audit
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.harness import Claim, Different, parser, report

GROUP, BATCH = 8, 1_000  # completions of a prompt, and of a file
SUCCESS = {"accuracy": 0.3, "format": 0.95, "style": 0.5, "tools": 0.1}
TEXT = "so the answer must be forty-two, as everybody knows who has read the book to its end; " * 12  # 1 kB


def main() -> None:
    """Generate TRL's and verl's logs, and time a fresh `moalign audit --json` on each."""
    made = parser(
        "audit", "An audit's time, from the command line.", "  python -m benchmarks.audit --completions 100000"
    )
    made.add_argument("--completions", type=int, default=100_000, help="logged completions (default: 100000)")
    made.add_argument("--repeats", type=int, default=3, help="runs of each (default: 3)")
    options = made.parse_args()
    claims = []
    with tempfile.TemporaryDirectory() as where:
        for name, write in (("TRL", write_trl), ("verl", write_verl)):
            folder = Path(where) / name
            rewards = write(folder, options.completions)
            taken = [audited(folder, rewards) for _ in range(options.repeats)]
            title = f"audit of {options.completions:,} completions, {name}'s logs"
            claims.append(Claim(title, statistics.median(taken), None, "s", len(taken)))
    report(claims, options.json, record="audit" if options.record else None)


def batches(completions: int) -> list[dict[str, Any]]:
    """Return made-up completions, a file's at a time: rewards that succeed at different rates, some missing."""
    generator = np.random.default_rng(0)
    found = []
    for step in range(completions // BATCH):
        rewards = (generator.random((BATCH, len(SUCCESS))) < np.array(list(SUCCESS.values()))).astype(float)
        rewards[generator.random(BATCH) < 0.2, 3] = np.nan
        prompts = [f"{step}/{i // GROUP}: {TEXT[:200]}" for i in range(BATCH)]
        found.append({"step": step, "prompt": prompts, **dict(zip(SUCCESS, rewards.T))})
    return found


def write_trl(folder: Path, completions: int) -> pd.DataFrame:
    """Write what TRL's `log_completions` does, and return the rewards."""
    (folder / "completions").mkdir(parents=True)
    made = [pd.DataFrame(batch) for batch in batches(completions)]
    for step, frame in enumerate(made):
        whole = frame.assign(completion=TEXT, advantage=0.0)
        whole.to_parquet(folder / "completions" / f"completions_{step:05d}.parquet")
    return pd.concat(made, ignore_index=True)


def write_verl(folder: Path, completions: int) -> pd.DataFrame:
    """Write what verl's `rollout_data_dir` gets, and return the rewards."""
    folder.mkdir(parents=True)
    made = [pd.DataFrame(batch) for batch in batches(completions)]
    for step, frame in enumerate(made):
        lines = []
        for row in frame.to_dict("records"):
            rewards = {name: None if np.isnan(row[name]) else row[name] for name in SUCCESS}
            line = {"input": row["prompt"], "output": TEXT, "gts": "42", "score": row["accuracy"], "step": step}
            lines.append(json.dumps(line | rewards))
        (folder / f"{step}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return pd.concat(made, ignore_index=True)


def audited(folder: Path, rewards: pd.DataFrame) -> float:
    """Return the processor seconds of a fresh process on one core, after checking what it found against pandas."""
    before = processor_seconds()
    command = [sys.executable, "-m", "moalign", "audit", str(folder), "--json"]
    one = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=one)
    taken = processor_seconds() - before
    groups = rewards.groupby(["step", "prompt"])
    for found in json.loads(done.stdout)["rewards"]:
        column = groups[found["name"]]
        silent = np.mean((column.nunique()[column.count() >= 2] == 1).to_numpy())
        valid = np.mean(rewards[found["name"]].notna().to_numpy())
        if abs(found["silent"] - silent) > 1e-5 or abs(found["valid"] - valid) > 1e-5:
            raise Different(f"{found['name']}: {found['silent']:.4f} of groups are silent, pandas says {silent:.4f}")
    return taken


def processor_seconds() -> float:
    """Return what child processes have taken: what others do on this machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
