"""The command line of the comparison: `python -m benchmarks.results --help`."""

import argparse
import logging
import time
from pathlib import Path

from benchmarks.results import offline, page, plan
from benchmarks.results.mechanisms import SEEN
from benchmarks.results.one import run_one
from benchmarks.results.queue import console, work
from benchmarks.results.records import read_all
from benchmarks.results.tasks import Task, task_called
from moalign.errors import RunError
from moalign.runs import write_json

ROOT = Path(__file__).parents[2]
EXAMPLES = """examples:
  python -m benchmarks.results                      # everything that is missing (hours), then the page
  python -m benchmarks.results --minutes 60         # an hour of it; the same command goes on
  python -m benchmarks.results --tasks bandit       # one task
  python -m benchmarks.results --page               # only the page, from the records that are there
  python -m benchmarks.results --smoke --out runs/smoke/results  # every arm, in minutes; means nothing"""


def main() -> None:
    """Make what is missing, then the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.results",
        description="Compare arms on tasks over paired seeds and write the page of results.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results", help="where records are kept")
    parser.add_argument("--tasks", nargs="+", choices=plan.TASKS, default=plan.TASKS, help="default: all")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, one thread each (default: 2)")
    parser.add_argument("--minutes", type=float, help="start nothing new after so many minutes")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--smoke", action="store_true", help="one seed, tiny budgets, in this process")
    parser.add_argument("--one", nargs="+", metavar=("TASK", "ARM"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("moalign").setLevel(logging.ERROR)
    if options.one:
        task, arm, seed, *scale = options.one
        run_one(plan.Job(task, arm, int(seed), float(scale[0]) if scale else None), options.out)
        return
    if options.smoke and options.out == ROOT / "docs" / "results":
        parser.error("--smoke needs --out: its figures mean nothing and do not belong into the project's.")
    jobs = list(plan.jobs(options.tasks, **({"seeds": 1, "more": 1} if options.smoke else {})))
    if not options.page:
        for name in options.tasks:
            task_called(name).made()
            note_rewards_seen(task_called(name, smoke=options.smoke), options.out / name / SEEN)
            if not options.smoke:
                same_models(name, options.out)
        if options.smoke:
            smoke(jobs, options.out)
        else:
            until = None if options.minutes is None else time.monotonic() + 60 * options.minutes
            try:
                work(jobs, options.out, side_by_side=options.jobs, until=until)
            finally:
                page.write(options.out, tasks=options.tasks)
    name = page.write(options.out, tasks=options.tasks)
    console.print(f"wrote {name}")


def note_rewards_seen(task: Task, file: Path) -> None:
    """Write down which rewards the samples have that offline arms learn from."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, offline.rewards_seen(task))


def same_models(task: str, out: Path) -> None:
    """Refuse to add runs to those of other base models."""
    known = {record.made["models"] for record in read_all(out) if record.task == task}
    here = task_called(task).models()
    if known - {here}:
        raise RunError(
            f"the records of `{task}` in `{out}` were made with base models {', '.join(known)}, here they are {here}: "
            "another machine or version trains them differently. Use another --out."
        )


def smoke(jobs: list[plan.Job], out: Path) -> None:
    """Make every arm's run once, at a budget of seconds, in this process."""
    for job in (job for job in jobs if job.scale is None):
        began = time.perf_counter()
        record = run_one(job, out, smoke=True)
        console.print(f"{job.file}: {len(record.members)} members, {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
