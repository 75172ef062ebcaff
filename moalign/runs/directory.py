"""The directory of one run: who may write there, and every file in it."""

import fcntl
import io
import json
import logging
import os
import re
import shutil
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from moalign.errors import ConfigError, RunError
from moalign.parts import differences
from moalign.runs.atomic import WRITING, plain, read_json, saying, write_bytes, write_json
from moalign.runs.checkpoints import check_state, read_state, state_bytes, steps_saved, write_state
from moalign.runs.space import free_bytes, mib

if TYPE_CHECKING:
    from pandas import DataFrame

log = logging.getLogger(__name__)
CODE = re.compile(r"^\S+\.sha256: ")  # a difference in a function's source, of the same name
SHOWN = 12  # differences listed before "and N more"
# what may change on the way, because memory or disk did not suffice: the study stays the same
HOW = ("micro_rows", "sample_rows", "gradient_checkpointing", "save_steps", "save_total_limit", "save_rollouts")
_LOCKED: "weakref.WeakSet[RunDirectory]" = weakref.WeakSet()  # held by this process


def _let_go() -> None:
    """A forked process (a reward's worker) must not hold a run that it does not write after its parent has died."""
    for directory in list(_LOCKED):
        directory.close()


os.register_at_fork(after_in_child=_let_go)


class RunDirectory:
    """Read a run, or, after `create`, write one; as a context manager it lets go of the lock at the end.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, RunDirectory(Path(folder) / "tickets") as run:
    ...     run.create({"seed": 0}, resume="auto")
    ...     run.append_metrics({"step": 0, "loss": 0.5})
    ...     run.read_metrics()
    False
    [{'step': 0, 'loss': 0.5}]
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.spec_path = self.path / "spec.json"
        self.status_path = self.path / "status.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.front_path = self.path / "front.json"
        self.report_path = self.path / "report.html"
        self.checkpoints = self.path / "checkpoints"
        self._lock: int | None = None
        self._good: set[int] = set()  # checkpoints that this process has written or read through

    def point_path(self, id: str) -> Path:
        """Return where the files of a point of the front live."""
        return self.path / "points" / id

    def discard_points(self) -> None:
        """Delete the files of all points: members have been trained since they were written."""
        if (self.path / "points").exists():
            with saying(self.path / "points"):
                shutil.rmtree(self.path / "points")

    # --- opening ---------------------------------------------------------------------------------------------------

    def create(self, spec: Mapping[str, Any], *, resume: str = "auto") -> bool:
        """Make this the run of `spec`, or take up the one that is there; return whether it was there.

        ``auto`` does either, ``must`` only takes up, ``never`` only makes. A run of another spec is refused with
        what differs, and so is one that another process is writing.
        """
        if resume not in ("auto", "must", "never"):
            raise ConfigError(f"`resume` is {resume!r}; use auto, must or never.")
        exists = self.spec_path.exists()
        if resume == "must" and not exists:
            raise RunError(f"`{self.path}` holds no run to resume; check the path, or use `resume='auto'`.")
        if resume == "never" and exists:
            raise RunError(f"`{self.path}` already holds a run; choose another directory, or use `resume='auto'`.")
        stray = [p.name for p in (self.metrics_path, self.checkpoints, self.front_path) if p.exists()]
        if not exists and stray:
            raise RunError(f"`{self.path}` holds {', '.join(stray)} but no spec.json: not a run; choose another one.")
        with saying(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._take_lock()
        exists = self.spec_path.exists()  # it may have been made since by a process that has ended
        new = json.loads(json.dumps(plain(spec)))
        if not exists:
            write_json(self.spec_path, new)
            return False
        try:
            self.refuse_other(new)
        except RunError:
            self.close()
            raise
        self._update_how(new)
        for left in [path for name in (".", "checkpoints", "points", "rollouts")
                     for path in (self.path / name).glob(f".*{WRITING}")]:  # fmt: skip
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        return True

    def refuse_other(self, spec: Mapping[str, Any]) -> None:
        """Raise `RunError` with the differences when this is the run of another spec; a new directory is nobody's."""
        if not self.spec_path.exists():
            return
        found = differences(self.spec, json.loads(json.dumps(plain(spec))))
        found = [line for line in found if line.partition(":")[0] not in HOW]
        changed = [line for line in found if not CODE.search(line)]
        for line in found:
            if CODE.search(line):  # a mended reward must not cost the run
                place = line.partition(": ")[0].removesuffix(".sha256")
                log.warning("the code of `%s` has changed since %s began; what is done is kept", place, self.path)
        if changed:
            more = [f"and {len(changed) - SHOWN} more"] if len(changed) > SHOWN else []
            lines = "\n".join(f"- {line}" for line in changed[:SHOWN] + more)
            raise RunError(
                f"`{self.path}` is the run of another study; choose another directory. It differs in\n{lines}"
            )

    def _update_how(self, new: Mapping[str, Any]) -> None:
        old = self.spec
        changed = [name for name in HOW if name in new and old.get(name) != new[name]]
        if changed:
            said = ", ".join(f"`{name}` {old.get(name)} -> {new[name]}" for name in changed)
            log.warning("%s goes on with %s: the last digits of its numbers may differ", self.path, said)
            write_json(self.spec_path, {**old, **{name: new[name] for name in changed}})

    def discard(self) -> None:
        """Undo the `create` of a run in which nothing has been written yet."""
        for path in (self.spec_path, self.status_path, self.path / "lock"):
            path.unlink(missing_ok=True)
        self.close()
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _take_lock(self) -> None:
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it when the process dies
        except BlockingIOError as error:
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise RunError(f"another process ({owner}) is writing `{self.path}`; wait for it, or stop it.") from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock
        _LOCKED.add(self)

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
            _LOCKED.discard(self)

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- records ---------------------------------------------------------------------------------------------------

    @property
    def spec(self) -> dict[str, Any]:
        """What the study was, as recorded at its start."""
        return read_json(self.spec_path)

    @property
    def status(self) -> dict[str, Any]:
        """Where the run stands: at least ``state``; ``{"state": "new"}`` before the first `set_status`."""
        return read_json(self.status_path) if self.status_path.exists() else {"state": "new"}

    def set_status(self, state: str, **facts: Any) -> None:
        """Record where the run stands, replacing what was recorded before."""
        write_json(self.status_path, {"state": state} | facts)

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one line to the metrics; `record` has a ``step``."""
        line = json.dumps(plain(record), allow_nan=False, ensure_ascii=False) + "\n"
        size = self.metrics_path.stat().st_size if self.metrics_path.exists() else 0
        with saying(self.metrics_path):
            try:
                with self.metrics_path.open("ab") as file:
                    file.write(line.encode())
            except OSError:
                if self.metrics_path.exists():
                    os.truncate(self.metrics_path, size)  # half a line helps nobody
                raise

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the metrics, one dict per line; a last line cut off by a kill is left out."""
        if not self.metrics_path.exists():
            return []
        *lines, rest = self.metrics_path.read_bytes().split(b"\n")
        if rest:
            log.warning("the last line of %s is incomplete and is left out", self.metrics_path)
        return [self._parsed(line, number) for number, line in enumerate(lines, start=1)]

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            return json.loads(line)
        except ValueError as error:  # of UTF-8, too
            raise RunError(f"line {number} of `{self.metrics_path}` is damaged; delete it to go on.") from error

    def truncate_metrics(self, step: int) -> None:
        """Drop the lines of `step` and later: they will be written again."""
        kept = [json.dumps(r, ensure_ascii=False) + "\n" for r in self.read_metrics() if r["step"] < step]
        write_bytes(self.metrics_path, "".join(kept).encode())

    def write_rollouts(self, step: int, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write the completions of a step, one dict per row."""
        from pandas import DataFrame

        buffer = io.BytesIO()
        DataFrame([dict(row) for row in rows]).to_parquet(buffer, index=False)
        write_bytes(self._rollouts(step), buffer.getvalue())
        return self._rollouts(step)

    def read_rollouts(self, step: int) -> "DataFrame":
        """Return the completions of a step."""
        from pandas import read_parquet

        if not self._rollouts(step).exists():
            steps = sorted(int(p.stem[5:]) for p in (self.path / "rollouts").glob("step-*.parquet"))
            raise RunError(f"`{self.path}` has no rollouts of step {step}; it has those of {steps or 'none'}.")
        return read_parquet(self._rollouts(step))

    def _rollouts(self, step: int) -> Path:
        return self.path / "rollouts" / f"step-{step:06d}.parquet"

    # --- checkpoints -----------------------------------------------------------------------------------------------

    def save_state(self, step: int, state: Mapping[str, Any]) -> Path:
        """Save everything that the run needs to go on at `step`: a nested dict of tensors and plain values."""
        path = write_state(self.checkpoints, step, state)
        self._good.add(step)
        return path

    def lacks_room(self, state: Mapping[str, Any]) -> str | None:
        """Return in words that a checkpoint of `state` does not fit on the disk any more, or None when it does."""
        size, free = state_bytes(state), free_bytes(self.checkpoints)
        return f"a checkpoint takes {mib(size)} and the disk has {mib(free)} free" if size > free else None

    def latest_checkpoint(self) -> int | None:
        """Return the step of the newest good checkpoint, saying which newer ones are damaged; None without any."""
        steps = steps_saved(self.checkpoints)
        for step in steps:
            damage = check_state(self.checkpoints, step)
            if damage is None:
                self._good.add(step)
                return step
            self._good.discard(step)
            log.warning("skipping the damaged checkpoint of step %d in %s: %s", step, self.path, damage)
        if steps:
            log.warning("no checkpoint in %s is good: training starts from its beginning", self.path)
        return None

    def load_state(self, step: int) -> dict[str, Any]:
        """Return what `save_state` was given, tensors on the CPU."""
        return read_state(self.checkpoints, step)

    def prune(self, keep: int) -> None:
        """Delete all but the newest `keep` good checkpoints; damaged ones do not count and go too.

        Those that this process has written or read through are not read through again.
        """
        if keep < 1:
            raise ConfigError(f"`keep` is {keep}; keep at least one checkpoint.")
        good = 0
        for step in steps_saved(self.checkpoints):
            if good < keep and (step in self._good or check_state(self.checkpoints, step) is None):
                self._good.add(step)
                good += 1
            else:
                self._good.discard(step)
                with saying(self.checkpoints):
                    shutil.rmtree(self.checkpoints / f"step-{step:06d}")
