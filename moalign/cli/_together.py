"""Run studies in this process, or several side by side in one-thread processes with one bar each."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from moalign.cli._asked import ASKED, when_asked
from moalign.errors import RunError

if TYPE_CHECKING:
    from moalign.study import Study

INTERRUPTED = 130  # exit status after Ctrl-C


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
    try:
        print(json.dumps({name: record[name] for name in names if name in record}), flush=True)
    except BrokenPipeError:  # the command that started this process was killed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        signal.raise_signal(signal.SIGTERM)


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

    options = ["--out", str(out), "--resume", resume, "--events"]
    options += [f"--set={setting}" for setting in settings] + [f"--report-to={name}" for name in report_to]
    gpus = _gpus()
    at_once = jobs or len(gpus) or os.cpu_count() or 1
    children = Children(file, options, min(len(studies), at_once), gpus)
    with when_asked(children.stop), progress_bars() as bar:
        threads = [threading.Thread(target=children.run, args=(study, bar)) for study in studies]
        for thread in threads:
            thread.start()
        try:
            _join(threads)
        except KeyboardInterrupt:
            children.stop()
            _join(threads)
            raise
    if children.stopping.is_set() or (children.stopped and not children.failures):
        typer.echo("stopped; the same command continues.", err=True)
        raise typer.Exit(ASKED)
    if children.failures:
        raise RunError("\n".join(children.failures))


def _gpus() -> list[str]:
    """Return the names of the GPUs that this process sees, as a child is told one of them."""
    import torch

    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(i) for i in range(torch.cuda.device_count())] if seen is None else seen.split(",")
    return names[: torch.cuda.device_count()]


class Children:
    """The processes of studies that run side by side, at most `jobs` at once, in turn on each of the `gpus`."""

    def __init__(self, file: Path, options: Sequence[str], jobs: int, gpus: Sequence[str] = ()):
        self.file, self.options = file, options
        self.slots: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # the GPU that a slot stands for
        for i in range(jobs):
            self.slots.put(gpus[i % len(gpus)] if gpus else None)
        self.running: list[subprocess.Popen[str]] = []
        self.failures: list[str] = []
        self.stopped: list[str] = []  # names of those that were asked to stop, or found no room on the disk
        self.stopping = threading.Event()

    def run(self, study: "Study", bar: Any) -> None:
        """Run one study to its end, showing its events on a bar."""
        slot = self.slots.get()
        try:
            if self.stopping.is_set():
                return
            process = self._start(study.name, slot)
            task = bar.add_task(study.name, total=study.recipe.steps, note="")
            listener = threading.Thread(target=_pass_on, args=(process, study.name), daemon=True)
            listener.start()
            with process:
                for line in process.stdout or ():
                    _show(bar, task, study, line)
                listener.join()
            if process.returncode == ASKED:
                self.stopped.append(study.name)
            elif process.returncode != 0:
                status = process.returncode
                self.failures.append(f"`{study.name}` ended with exit status {status}; what it said is above.")
        finally:
            self.slots.put(slot)

    def _start(self, name: str, gpu: str | None) -> "subprocess.Popen[str]":
        # two-thread torch collapses when another process wants the core
        own = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        process = subprocess.Popen(
            [sys.executable, "-m", "moalign", "run", str(self.file), "--only", name, *self.options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **own, **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})},
        )
        self.running.append(process)
        if self.stopping.is_set():
            process.terminate()
        return process

    def stop(self) -> None:
        """Ask all of them to save a checkpoint and stop."""
        self.stopping.set()
        for process in self.running:
            process.terminate()


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


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
