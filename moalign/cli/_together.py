"""Run studies in this process, or several side by side in one-thread processes with one bar each."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from moalign.errors import RunError

if TYPE_CHECKING:
    from moalign.study import Study

INTERRUPTED, ASKED = 130, 75  # exit statuses: by Ctrl-C, by SIGTERM


@contextmanager
def continuable() -> Iterator[None]:
    """Tell a person who presses Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; the same command continues from the last checkpoint.", err=True)
        raise typer.Exit(INTERRUPTED) from None


def run_here(study: "Study", out: Path, *, resume: str, report_to: Sequence[str], events: bool) -> None:
    """Run one study in this process; with `events` each step is a JSON line on standard output."""
    if events:  # a Ctrl-C is for the command that started this process, which then asks for a clean stop
        signal.signal(signal.SIGINT, signal.SIG_IGN)
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
    """Run each study in a process of its own, `jobs` at a time; raise `RunError` with the names of those that fail."""
    from moalign.study._lines import progress_bars

    slots = threading.Semaphore(jobs or max(1, min(len(studies), os.cpu_count() or 1)))
    running: list[subprocess.Popen[str]] = []
    failures: list[str] = []
    stopping = threading.Event()

    def work(study: "Study", bar: Any) -> None:
        with slots:
            if stopping.is_set():
                return
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
            if stopping.is_set():
                process.terminate()
            task = bar.add_task(study.name, total=study.recipe.steps, note="")
            listener = threading.Thread(target=_pass_on, args=(process, study.name), daemon=True)
            listener.start()
            with process:
                for line in process.stdout or ():
                    _show(bar, task, study, line)
                listener.join()
            if process.returncode != 0:
                failures.append(f"`{study.name}` ended with exit status {process.returncode}; what it said is above.")

    def stop(*_: object) -> None:
        stopping.set()
        for process in running:
            process.terminate()  # each saves a checkpoint and stops

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with progress_bars() as bar:
            threads = [threading.Thread(target=work, args=(study, bar)) for study in studies]
            for thread in threads:
                thread.start()
            try:
                for thread in threads:
                    thread.join()
            except KeyboardInterrupt:
                stop()
                for thread in threads:
                    thread.join()
                raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if stopping.is_set():
        typer.echo("stopped; the same command continues.", err=True)
        raise typer.Exit(ASKED)
    if failures:
        raise RunError("\n".join(failures))


def _pass_on(process: "subprocess.Popen[str]", name: str) -> None:
    for line in process.stderr or ():
        print(f"{name}: {line}", end="", file=sys.stderr)


def _show(bar: Any, task: Any, study: "Study", line: str) -> None:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        event = None
    if not isinstance(event, dict):
        print(line, end="")  # a reward function's own print
    elif "stage" in event:
        bar.update(task, description=f"{study.name}: {event['stage']}", completed=event["done"], total=event["total"])
    elif "step" in event:
        curve = event.get("pareto/hypervolume")
        note = f"hypervolume {curve:.4f}" if curve is not None else ""
        bar.update(task, description=f"{study.name}: training", completed=event["step"] + 1, note=note)
