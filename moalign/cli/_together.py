"""Run studies in this process, or several side by side in one-thread processes with one bar each."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moalign.errors import MoalignError, RunError

if TYPE_CHECKING:
    from moalign.study import Study


def run_here(study: "Study", out: Path, *, resume: str, report_to: Sequence[str], events: bool) -> None:
    """Run one study in this process; with `events` each step is a JSON line on standard output."""
    study.run(
        out / study.name,
        resume=resume,
        report_to=list(report_to) or "none",
        on_step=_print_event if events else None,
    )


def _print_event(record: dict[str, Any]) -> None:
    names = ("step", "pareto/hypervolume", "stage", "done", "total")
    print(json.dumps({name: record[name] for name in names if name in record}), flush=True)


def run_together(
    file: Path,
    studies: Sequence["Study"],
    out: Path,
    *,
    settings: Sequence[str],
    resume: str,
    report_to: Sequence[str],
    jobs: int | None,
) -> None:
    """Run each study in a process of its own, `jobs` at a time; raise `RunError` with the output of those that fail."""
    from rich.console import Console
    from rich.progress import Progress

    from moalign.study._progress import COLUMNS

    slots = threading.Semaphore(jobs or max(1, min(len(studies), os.cpu_count() or 1)))
    running: list[subprocess.Popen[str]] = []
    failures: list[str] = []

    def work(study: "Study", bar: Progress) -> None:
        with slots:
            task = bar.add_task(study.name, total=study.recipe.steps, note="starting")
            command = [sys.executable, "-m", "moalign", "run", str(file), "--only", study.name, "--out", str(out)]
            command += [f"--set={setting}" for setting in settings] + [f"--report-to={name}" for name in report_to]
            process = subprocess.Popen(
                [*command, "--resume", resume, "--events"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # two-thread torch collapses when another process wants the core
                env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            )
            running.append(process)
            errors: list[str] = []
            listener = threading.Thread(target=_collect, args=(process, errors), daemon=True)
            listener.start()
            for line in process.stdout or ():
                _show(bar, task, study, line)
            listener.join()
            if process.wait() != 0:
                failures.append(f"{study.name} (exit status {process.returncode}):\n{''.join(errors[-30:])}")

    before = signal.signal(signal.SIGTERM, lambda *_: [p.terminate() for p in running])
    try:
        with Progress(*COLUMNS, console=Console(stderr=True)) as bar:
            threads = [threading.Thread(target=work, args=(study, bar)) for study in studies]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    except KeyboardInterrupt:
        for process in running:
            process.terminate()  # each saves a checkpoint and stops
        raise MoalignError("interrupted; the same command continues the run.") from None
    finally:
        signal.signal(signal.SIGTERM, before)
    if failures:
        raise RunError("\n".join(failures))


def _collect(process: "subprocess.Popen[str]", lines: list[str]) -> None:
    for line in process.stderr or ():
        lines.append(line)
        print(line, end="", file=sys.stderr)


def _show(bar: Any, task: Any, study: "Study", line: str) -> None:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        print(line, end="")  # a reward function's own print
        return
    if not isinstance(event, dict):
        return
    if "stage" in event:
        bar.update(task, description=f"{study.name}: {event['stage']}", completed=event["done"], total=event["total"])
    elif "step" in event:
        curve = event.get("pareto/hypervolume")
        note = f"hypervolume {curve:.4f}" if curve is not None else ""
        bar.update(task, description=f"{study.name}: training", completed=event["step"] + 1, note=note)
