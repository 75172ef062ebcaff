"""One run: train, value, and write its record."""

import datetime
import platform
import resource
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.results.arms import ARMS, Arm, study_of
from benchmarks.results.controls import Walk
from benchmarks.results.plan import Job, followed, tuned
from benchmarks.results.records import Member, Record, read, write
from benchmarks.results.tasks import Task, task_called
from moalign import Front, Study
from moalign.optimizers.hypervolume import hypervolume
from moalign.runs import RunDirectory

PROMPTS, TRIAL_PROMPTS, SMOKE_PROMPTS = 4096, 1024, 16
LIBRARIES = ("torch", "transformers", "peft", "moocore")


def run_one(job: Job, root: Path, *, smoke: bool = False) -> Record:
    """Make a run and write its record under `root`."""
    task, arm = task_called(job.task, smoke=smoke), ARMS[job.arm]
    scale = job.scale or (1.0 if smoke else tuned(job.task, arm.tuned_as or arm.name, root))
    walk = Walk(**read(root / _followed(job, root, smoke).file).walk) if arm.follows else None  # type: ignore[arg-type]
    prompts = SMOKE_PROMPTS if smoke else PROMPTS if job.scale is None else TRIAL_PROMPTS
    study = study_of(task, arm, seed=job.seed, scale=scale, walk=walk, eval_prompts=prompts)
    wall, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="moalign-results-") as where:
        front = study.run(Path(where) / "run", on_step=lambda line: None)
        metrics = RunDirectory(Path(where) / "run").read_metrics()
    record = _record(task, arm, study, front, metrics, scale=scale, smoke=smoke) | {
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "made": {**made(), "models": task.models()},
    }
    done = Record(**record)
    write(done, root / job.file)
    return done


def _followed(job: Job, root: Path, smoke: bool) -> Job:
    return Job(job.task, ARMS[job.arm].follows or "", job.seed) if smoke else followed(job, root)


def _record(
    task: Task, arm: Arm, study: Study, front: Front, metrics: list[dict[str, Any]], *, scale: float, smoke: bool
) -> dict[str, Any]:
    names = [o.name for o in study.trained()]
    reference = torch.tensor([o.flip((study.reference_point or {})[o.name]) for o in study.trained()]).double()
    everyone = [*front.points, *front.dominated]
    dev, test = front.inner(everyone, "dev_values"), front.inner(everyone)
    kept = keep(dev[: len(front)], reference, task.study.members)
    shared = [len(line["members"]) if arm.offline else 1 for line in metrics]  # members that read the same texts
    tokens = [line["tokens"] / many for line, many in zip(metrics, shared)]
    rows = [count / line["completions/mean_length"] for count, line in zip(tokens, metrics)]
    follow = any(other.follows == arm.name for other in ARMS.values())
    return {
        "task": task.name,
        "arm": arm.name,
        "seed": study.seed,
        "scale": scale,
        "smoke": smoke,
        "objectives": names,
        "reference": reference.tolist(),
        "members": [
            Member(
                id=point.id,
                kind=point.kind,
                preference=[round(point.preference.get(name, 0.0), 4) for name in names],
                dev=_rounded(dev[i]),
                test=_rounded(test[i]),
                stderr=_rounded(front.inner([point], "stderr")[0].abs()),
            )
            for i, point in enumerate(everyone)
        ],
        "kept": [front.points[i].id for i in kept],
        "hypervolume_dev": round(hypervolume(dev[kept], reference), 5),
        "hypervolume": round(hypervolume(test[kept], reference), 5),
        "prompts": {"dev": min(front.prompts, len(study.eval_dataset)), "test": front.prompts},
        "tokens": round(sum(tokens)),
        "reward_calls": round(sum(rows)),
        "rollouts": round(sum(rows)),
        "curve": [] if arm.offline else _curve(metrics, rows),
        "walk": vars(Walk.of(metrics, tuple(sorted(names)), study.seed)) if follow else None,
    }


def keep(dev: Float[Tensor, "point objective"], reference: Float[Tensor, "objective"], most: int) -> list[int]:
    """Return at most so many points: one after the other the one that adds the most hypervolume on dev."""
    left, chosen = list(range(len(dev))), []
    while left and len(chosen) < most:
        best = max(left, key=lambda i: hypervolume(dev[[*chosen, i]], reference))
        chosen.append(best)
        left.remove(best)
    return sorted(chosen)


def _curve(metrics: list[dict[str, Any]], rows: list[float]) -> list[list[float]]:
    """Return rollouts so far against the hypervolume of running means, about thirty pairs, the last among them."""
    sums = torch.tensor(rows).cumsum(0).tolist()
    pairs = [[round(x), line["pareto/hypervolume"]] for x, line in zip(sums, metrics)]
    return pairs[:: -max(len(pairs) // 30, 1)][::-1]


def _rounded(x: Float[Tensor, "objective"]) -> list[float]:
    return [round(value, 5) for value in x.tolist()]


def made() -> dict[str, Any]:
    """Return what made a record: commit, machine and versions."""
    root = Path(__file__).parents[2]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=root, capture_output=True, text=True
    )
    return {
        "commit": commit.stdout.strip() or "unknown",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }


def machine() -> str:
    """Return processor and threads in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{names[0] if names else platform.processor() or platform.machine()}, {torch.get_num_threads()} thread{device}"
    )
