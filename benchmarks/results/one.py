"""One run: train, value, and write its record."""

import datetime
import platform
import resource
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.harness import commit, machine
from benchmarks.results.arms import ARMS, WARMUP, Arm, study_of
from benchmarks.results.controls import Walk
from benchmarks.results.plan import Job, followed, tuned
from benchmarks.results.records import Member, Record, read, write
from benchmarks.results.tasks import Task, task_called
from moalign import Front, Study
from moalign.errors import TrainingError
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
    by = {**made(), "models": task.models()}  # as the run begins: a commit may come while it lasts
    study = study_of(task, arm, seed=job.seed, scale=scale, walk=walk, eval_prompts=prompts)
    wall, cpu = time.perf_counter(), time.process_time()
    front, failed = None, ""
    with tempfile.TemporaryDirectory(prefix="moalign-results-") as where:
        try:
            front = study.run(Path(where) / "run", on_step=lambda line: None)
        except TrainingError as error:  # every member diverged: that is a result, too
            failed = str(error)
        metrics = RunDirectory(Path(where) / "run").read_metrics()
    record = _record(task, arm, study, front, metrics, scale=scale, smoke=smoke) | {
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "made": by,
        "failed": failed,
    }
    done = Record(**record)
    write(done, root / job.file)
    return done


def _followed(job: Job, root: Path, smoke: bool) -> Job:
    return Job(job.task, ARMS[job.arm].follows or "", job.seed) if smoke else followed(job, root)


def _record(
    task: Task, arm: Arm, study: Study, front: Front | None, metrics: list[dict[str, Any]], *, scale: float, smoke: bool
) -> dict[str, Any]:
    names = [o.name for o in study.trained()]
    reference = torch.tensor([o.flip((study.reference_point or {})[o.name]) for o in study.trained()]).double()
    points, everyone = ([], []) if front is None else (front.points, [*front.points, *front.dominated])
    inner = Front((), study.objectives).inner
    dev, test, stderr = inner(everyone, "dev_values"), inner(everyone), inner(everyone, "stderr").abs()
    kept = keep(dev[: len(points)], reference, task.study.members)
    tracked = [o.name for o in study.objectives if not o.optimize]
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
                stderr=_rounded(stderr[i]),
                tracked={name: round(float(point.values[name]), 5) for name in tracked},
            )
            for i, point in enumerate(everyone)
        ],
        "kept": [points[i].id for i in kept],
        "hypervolume_dev": round(hypervolume(dev[kept], reference), 5) if kept else 0.0,
        "hypervolume": round(hypervolume(test[kept], reference), 5) if kept else 0.0,
        "prompts": {"dev": min(study.eval_prompts, len(study.eval_dataset)), "test": study.eval_prompts},
        "tokens": round(sum(tokens)),
        "reward_calls": round(sum(rows)),
        "rollouts": round(sum(rows)),
        "curve": [] if arm.offline else _curve(metrics, rows),
        "walk": vars(Walk.of(metrics, tuple(sorted(names)), warmup=WARMUP, seed=study.seed)) if follow else None,
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
    """Return what makes a record: commit, machine and versions."""
    return {
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }
