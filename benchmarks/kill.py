"""kill -9 at random moments of the arithmetic study, then the same call: does it end in the same run, bit for bit?

python -m benchmarks.kill --kills 100
"""

import importlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Claim, parser, quiet, report
from moalign import Study, load
from moalign.runs import RunDirectory

PLACES = {"checkpoint write": "/checkpoints/", "point write": "/points/", "export": "/exported-"}
KINDS = ("any moment", "evaluation", *PLACES)
SMALL = {"steps": 6, "prompts_per_step": 2, "num_generations": 4}


def main() -> None:
    """Kill, go on, compare; exit status 1 when anything differs."""
    made = parser("kill", "Survive kill -9.", "  OMP_NUM_THREADS=1 python -m benchmarks.kill --kills 100")
    made.add_argument("--kills", type=int, default=100, help="how many (default: 100)")
    made.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    made.add_argument("--model", default="models/arithmetic", help="base model (default: models/arithmetic)")
    options = made.parse_args()
    quiet()
    study: Study = importlib.import_module("studies.arithmetic").study
    study = study.replace(
        **{f"recipe.{name}": value for name, value in SMALL.items()},
        **{"model": options.model, "eval_prompts": 128, "save_steps": 2, "save_total_limit": 1},
    )
    with tempfile.TemporaryDirectory(prefix="moalign-kill-") as root:
        trial = Trial(study, Path(root), random.Random(options.seed))
        trial.all(options.kills)
    for line in trial.wrong:
        print(line, file=sys.stderr)
    claims = [Claim(f"kills: {kind}", trial.kills[kind], None, "kills", trial.kills[kind]) for kind in KINDS]
    claims.append(Claim("runs and exports that ended differently", len(trial.wrong), None, "of all", trial.compared))
    report(claims, options.json, record="kill" if options.record else None)
    sys.exit(1 if trial.wrong else 0)


@dataclass
class Trial:
    """Runs that are killed again and again, beside one that was not."""

    study: Study
    root: Path
    choose: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    compared: int = 0
    seconds: float = 0.0  # of the unbroken run
    operations: dict[str, int] = field(default_factory=dict)  # on files, by place, of the unbroken run

    @property
    def whole(self) -> Path:
        return self.root / "whole"

    def all(self, kills: int) -> None:
        """Kill so many times."""
        self.study.check()  # what is imported now is there in every child
        began = time.monotonic()
        self._child(lambda: self._run(self.whole), counted=self.root / "operations.json")
        self.seconds = time.monotonic() - began
        self._child(lambda: self._export(self.whole), counted=self.root / "of-export.json")
        for name in ("operations", "of-export"):
            for place, count in json.loads((self.root / f"{name}.json").read_text()).items():
                self.operations[place] = self.operations.get(place, 0) + count
        number = 0
        while self.kills.total() < kills:
            run, number = self.root / f"run-{number:03d}", number + 1
            self._broken(run, kills)

    def _broken(self, run: Path, kills: int) -> None:
        """Kill one run until it is finished, then its export."""
        newest = 0
        while self.kills.total() < kills and not (run / "front.json").exists():
            kind = min(KINDS[:-1], key=lambda kind: (self.kills[kind], self.choose.random()))
            event, delay = self._at_event() if kind == "evaluation" else (0, 0.0)
            if self._killed(kind, partial(self._run, run, event, delay)):
                self.kills[kind] += 1
            found = RunDirectory(run).latest_checkpoint() or 0
            if found < newest:
                self.wrong.append(f"{run.name}: the checkpoint of step {newest} was lost to a kill ({kind})")
            newest = found
            self._same_files(run, "points")
        if self._child(lambda: self._run(run)) != 0:
            self.wrong.append(f"{run.name}: did not go on")
            return
        self._same_run(run)
        if self.kills.total() < kills:
            self.kills["export"] += self._killed("export", lambda: self._export(run))
            self._same_files(run, "exported-adapter", "exported-model")
        if self._child(lambda: self._export(run)) != 0:
            self.wrong.append(f"{run.name}: was not exported after a kill")
        self.compared += 1
        self._same_files(run, "exported-adapter", "exported-model")

    # --- one child -------------------------------------------------------------------------------------------------

    def _killed(self, kind: str, work: Callable[[], object]) -> bool:
        """Do `work` in a child that is killed at a random moment of that kind; return whether it was in time."""
        place = PLACES.get(kind)
        at = self.choose.randint(1, self.operations[kind]) if place else 0
        after = self.choose.random() * self.seconds if kind == "any moment" else None
        status = self._child(work, kill=(place, at) if place else None, after=after)
        if status not in (0, signal.SIGKILL):
            self.wrong.append(f"a child that was to be killed ({kind}) ended with {status}")
        return status == signal.SIGKILL

    def _child(
        self,
        work: Callable[[], object],
        *,
        kill: tuple[str, int] | None = None,
        after: float | None = None,
        counted: Path | None = None,
    ) -> int:
        """Fork: the libraries are loaded once; return the wait status."""
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                counts = watch(self.root, kill)
                with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
                    work()
                if counted is not None:
                    found = json.dumps(counts)
                    counted.write_text(found)
                code = 0
            finally:
                os._exit(code)
        if after is not None:
            time.sleep(after)
            os.kill(pid, signal.SIGKILL)
        return os.waitpid(pid, 0)[1]

    def _run(self, run: Path, event: int = 0, delay: float = 0.0) -> None:
        seen = 0

        def on_step(record: dict[str, Any]) -> None:
            nonlocal seen
            seen += "stage" in record
            if "stage" in record and seen == event:
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()

        self.study.run(run, on_step=on_step)

    def _at_event(self) -> tuple[int, float]:
        """Return after which report of the evaluation, and how many seconds after it, to kill."""
        return self.choose.randint(1, 4), self.choose.random() * 0.05

    def _export(self, run: Path) -> None:
        point = load(run).front[0]
        for name, merge in (("exported-adapter", False), ("exported-model", True)):
            if not (run / name).exists():
                point.export(run / name, merge=merge)

    # --- what must be equal ----------------------------------------------------------------------------------------

    def _same_run(self, run: Path) -> None:
        ours, theirs = RunDirectory(run), RunDirectory(self.whole)
        last = theirs.latest_checkpoint()
        if last is None or ours.latest_checkpoint() != last:
            self.wrong.append(f"{run.name}: its last checkpoint is {ours.latest_checkpoint()}, not {last}")
            return
        paths = different(ours.load_state(last), theirs.load_state(last))
        self.wrong += [f"{run.name}: `{path}` of the last checkpoint differs" for path in paths[:5]]
        if lines(ours) != lines(theirs):
            self.wrong.append(f"{run.name}: metrics.jsonl differs")
        if (run / "front.json").read_bytes() != (self.whole / "front.json").read_bytes():
            self.wrong.append(f"{run.name}: front.json differs")
        self._same_files(run, "points", "rollouts")
        left = sorted(str(path.relative_to(run)) for path in run.rglob(".*"))
        if left:
            self.wrong.append(f"{run.name}: {', '.join(left[:5])} is left over")

    def _same_files(self, run: Path, *folders: str) -> None:
        """What has its name is whole: each directory there holds what the unbroken run's holds."""
        for folder in folders:
            here = run / folder
            names = [] if not here.is_dir() else [here] if "exported" in folder else here.glob("[!.]*")
            for found in names:
                if contents(found) != contents(self.whole / found.relative_to(run)):
                    self.wrong.append(f"{run.name}: {found.relative_to(run)} is not whole")


def watch(root: Path, kill: tuple[str, int] | None) -> Counter[str]:
    """Count this process's operations on files below `root` by place; die before the one of that number in a place."""
    counts: Counter[str] = Counter()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" and not event.startswith(("os.", "shutil.")):
            return
        paths = [text for text in map(str, arguments[:2]) if text.startswith(str(root))]
        for kind, place in PLACES.items():
            if any(place in path.replace("/.", "/") + "/" for path in paths):
                counts[kind] += 1
                if kill == (place, counts[kind]):
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return counts


def different(a: Any, b: Any, path: str = "") -> list[str]:
    """Return the paths at which two states differ in any bit.

    >>> different({"x": torch.tensor(0.0), "y": {"z": 1}}, {"x": torch.tensor(-0.0), "y": {"z": 1}})
    ['x']
    """
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [line for key in a for line in different(a[key], b[key], f"{path}/{key}".lstrip("/"))]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)
    else:
        same = repr(a) == repr(b)
    return [] if same else [path]


def bits(x: torch.Tensor) -> bytes:
    return x.contiguous().flatten().view(torch.uint8).numpy().tobytes() if x.numel() else b""


def contents(path: Path) -> dict[str, bytes]:
    """Return the bytes of a file, or of every file below a directory."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def lines(run: RunDirectory) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in run.read_metrics()]


if __name__ == "__main__":
    main()
