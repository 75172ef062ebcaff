"""Run the jobs that are left, some side by side, each in a process of its own with one thread."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.results.plan import Job, needs
from moalign.errors import RunError

console = Console(stderr=True, highlight=False)


def work(jobs: Sequence[Job], root: Path, *, side_by_side: int, until: float | None) -> None:
    """Make every record that is missing; `until` (seconds of `time.monotonic`) starts nothing new after it.

    A job that fails is said and left out, with what needs it; the others go on.
    """
    left = [job for job in jobs if not (root / job.file).exists()]
    done, total, began = len(jobs) - len(left), len(jobs), time.monotonic()
    running: dict[Job, subprocess.Popen[bytes]] = {}
    failed: list[Job] = []
    console.print(f"{total} runs, {done} of them are there")
    try:
        while left or running:
            over = until is not None and time.monotonic() > until
            while not over and len(running) < side_by_side and (job := _next(left, root)) is not None:
                left.remove(job)
                running[job] = _start(job, root)
            if not running:
                break
            time.sleep(0.2)
            for job in [job for job, process in running.items() if process.poll() is not None]:
                if running.pop(job).returncode == 0 and (root / job.file).exists():
                    done += 1
                    spent = time.monotonic() - began
                    console.print(f"{done}/{total} {job.file} ({spent / 60:.0f} min)")
                else:
                    failed.append(job)
                    console.print(f"failed: {job.file}; what it said is above", style="red")
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    if failed:
        raise RunError(f"{len(failed)} runs failed: {', '.join(job.file for job in failed)}; the same command retries.")
    if left:
        console.print(f"{len(left)} runs are left; the same command goes on.")


def _next(left: Sequence[Job], root: Path) -> Job | None:
    """Return the first job whose needs are done."""
    return next((job for job in left if not needs(job, root)), None)


def _start(job: Job, root: Path) -> "subprocess.Popen[bytes]":
    arguments = [job.task, job.arm, str(job.seed), *([] if job.scale is None else [str(job.scale)])]
    quiet = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.results", "--out", str(root), "--one", *arguments],
        env={**os.environ, **quiet},
    )
