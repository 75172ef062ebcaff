"""A run and its disk: too small, full, read-only, damaged; what is kept, and how much that is."""

import ctypes
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moalign import RunError, Study, recipes
from moalign.runs import RunDirectory
from moalign.runs.space import used_bytes
from moalign.study import _disk

Make = Callable[..., Study]
SMALL: dict[str, Any] = {
    "steps": 4,
    "prompts_per_step": 2,
    "num_generations": 4,
    "max_completion_length": 8,
    "learning_rate": 1e-2,
}


@pytest.fixture
def make(tiny_study: Make) -> Make:
    """The tiny study with the hypervolume's archive and a checkpoint before every step."""
    return lambda **changes: tiny_study(**{"recipe": recipes.hypervolume(**SMALL), "save_steps": 1, **changes})


def stop_after(step: int) -> Callable[[dict[str, Any]], None]:
    def on_step(record: dict[str, Any]) -> None:
        if record.get("step") == step:
            raise KeyboardInterrupt

    return on_step


def assert_same_end(found: Path, expected: Path) -> None:
    assert (found / "front.json").read_bytes() == (expected / "front.json").read_bytes()
    last = RunDirectory(expected).latest_checkpoint()
    assert last is not None
    files = [run / "checkpoints" / f"step-{last:06d}" for run in (found, expected)]
    tensors = [file / "tensors.safetensors" for file in files]
    assert tensors[0].read_bytes() == tensors[1].read_bytes()
    values = [json.loads((file / "values.json").read_text()) for file in files]
    assert repr(sorted(values[0].items())) == repr(sorted(values[1].items()))  # NaN is itself here


# --- room -----------------------------------------------------------------------------------------------------------


def test_the_plan_covers_what_a_run_holds_at_once(make: Make, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_disk, "REPORT", 0)  # no report is written here
    most = 0
    prune = RunDirectory.prune

    def looks(self: RunDirectory, keep: int) -> None:
        nonlocal most
        most = max(most, used_bytes(self.path))
        prune(self, keep)

    monkeypatch.setattr(RunDirectory, "prune", looks)
    make(save_rollouts=2).run(runs / "tiny")
    most = max(most, used_bytes(runs / "tiny"))
    assert most < make(save_rollouts=2).check().disk_bytes < 4 * most


def small_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_a_disk_too_small_for_the_plan_is_refused(make: Make, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = make().check().disk_bytes
    small_disk(monkeypatch, 2**20)
    with pytest.raises(RunError) as refused:
        make().run(runs / "tiny")
    text = str(refused.value)
    assert f"needs about {needed / 2**20:.1f} MiB more and the disk has 1 MiB free: make room" in text
    assert "`save_total_limit` (it is 2) or `save_rollouts` (2)" in text
    assert not runs.exists()


def test_a_disk_that_fills_up_stops_the_run_before_the_checkpoint(
    make: Make, runs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make().run(runs / "whole")

    def fill(record: dict[str, Any]) -> None:
        if record.get("step") == 2:
            small_disk(monkeypatch, 1000)

    with pytest.raises(SystemExit) as stopped:
        make().run(runs / "tiny", on_step=fill)
    assert stopped.value.code == 75
    assert "stopped before step 3: a checkpoint takes 0.1 MiB and the disk has 0 MiB free" in caplog.text
    assert "the same command goes on from step 2" in caplog.text
    assert RunDirectory(runs / "tiny").latest_checkpoint() == 2
    monkeypatch.undo()
    make().run(runs / "tiny")
    assert_same_end(runs / "tiny", runs / "whole")


REAL = """
import json, os, sys
from pathlib import Path
from moalign import RunError
from small_disk import study

out, elsewhere = Path(sys.argv[1]), Path(sys.argv[2])
free = lambda: os.statvfs(out).f_bavail * os.statvfs(out).f_frsize
filler = out / "filler"

filler.write_bytes(bytes(free() - 2**20))  # one MiB is left
try:
    study.run(out / "run")
except RunError as error:
    print(error)
print(sorted(path.name for path in out.iterdir()))
filler.unlink()

def on_step(record):
    if record.get("step") == 2:
        filler.write_bytes(bytes(free() - 40_000))

try:
    study.run(out / "run", on_step=on_step)
except SystemExit as stopped:
    print(stopped.code, sorted(path.name for path in (out / "run" / "checkpoints").iterdir()))
filler.unlink()
study.run(out / "run", on_step=lambda record: None)
study.run(elsewhere, on_step=lambda record: None)
print((out / "run" / "front.json").read_bytes() == (elsewhere / "front.json").read_bytes())
"""


@pytest.mark.slow
def test_on_a_small_file_system(stoppable: Callable[[str], Path], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = f"mount -t tmpfs -o size=24m none {disk}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mounted], capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a file system")
    python = f'exec {sys.executable} -c "$CODE" {disk} {tmp_path / "elsewhere"}'
    folder = stoppable("small_disk").parent
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{mounted} && {python}"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "CODE": REAL},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    refused, left, stopped, same = done.stdout.splitlines()
    assert "needs about" in refused and "the disk has 1 MiB free" in refused
    assert left == "['filler']"
    assert stopped == "75 ['step-000002']" and "stopped before step 4: a checkpoint takes" in done.stderr
    assert same == "True"


# --- permissions ----------------------------------------------------------------------------------------------------


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


@pytest.fixture
def bound_by_permissions() -> Iterator[None]:
    """Take from root its power to write where it may not (CAP_DAC_OVERRIDE), and give it back."""
    if os.geteuid() != 0:
        yield
        return
    header, sets, libc = _Header(0x20080522, 0), (_Sets * 2)(), ctypes.CDLL(None, use_errno=True)
    if libc.capget(ctypes.byref(header), sets) != 0:
        pytest.skip("this system has no capabilities")
    before = sets[0].effective
    sets[0].effective = before & ~(1 << 1)
    assert libc.capset(ctypes.byref(header), sets) == 0
    yield
    sets[0].effective = before
    assert libc.capset(ctypes.byref(header), sets) == 0


def test_a_directory_that_may_not_be_written(
    make: Make, runs: Path, bound_by_permissions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.mkdir(mode=0o555)
    with pytest.raises(RunError, match=r"cannot write `.*tiny`: Permission denied.*fix the permissions"):
        make().run(runs / "tiny", on_step=lambda record: pytest.fail("a step was taken"))
    runs.chmod(0o755)
    make().run(runs / "whole")

    def forbid(record: dict[str, Any]) -> None:
        if record.get("step") == 2:
            (runs / "tiny" / "checkpoints").chmod(0o555)

    with pytest.raises(RunError, match=r"cannot write `.*checkpoints/step-000003`: Permission denied"):
        make().run(runs / "tiny", on_step=forbid)
    with pytest.raises(RunError, match=r"cannot write .*: Permission denied"):  # nothing was mended
        make().run(runs / "tiny")
    (runs / "tiny" / "checkpoints").chmod(0o755)
    assert RunDirectory(runs / "tiny").latest_checkpoint() == 2
    make().run(runs / "tiny")
    assert_same_end(runs / "tiny", runs / "whole")


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["truncated", "flipped", "all"])
def test_a_damaged_checkpoint_costs_steps_and_nothing_else(
    make: Make, runs: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    make().run(runs / "whole")
    with pytest.raises(KeyboardInterrupt):
        make().run(runs / "tiny", on_step=stop_after(3))
    found = sorted((runs / "tiny" / "checkpoints").iterdir())
    assert [path.name for path in found] == ["step-000002", "step-000003"]
    for path in found if damage == "all" else found[1:]:
        file = path / "tensors.safetensors"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data[: len(data) // 2] if damage == "truncated" else data)
    stale = runs / "tiny" / "points" / "m00" / "stale"  # saved at the end of a training that the checkpoints have lost
    stale.parent.mkdir(parents=True)
    stale.touch()
    steps: list[int] = []
    with caplog.at_level(logging.WARNING):
        make().run(runs / "tiny", on_step=lambda record: steps.append(record.get("step", -1)))
    assert "skipping the damaged checkpoint of step 3" in caplog.text
    assert ("training starts from its beginning" in caplog.text) == (damage == "all")
    assert [step for step in steps if step >= 0] == ([0, 1, 2, 3] if damage == "all" else [2, 3])
    assert not stale.exists() and len(list(stale.parent.iterdir())) > 1
    assert_same_end(runs / "tiny", runs / "whole")


# --- what is kept ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3])
def test_so_many_checkpoints_are_kept_and_each_is_written_once(
    make: Make, runs: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    written: list[int] = []
    save = RunDirectory.save_state

    def saves(self: RunDirectory, step: int, state: Any) -> Path:
        written.append(step)
        return save(self, step, state)

    monkeypatch.setattr(RunDirectory, "save_state", saves)
    seen: list[list[str]] = []

    def look(record: dict[str, Any]) -> None:
        if "step" in record and (runs / "tiny" / "checkpoints").exists():
            seen.append(sorted(path.name for path in (runs / "tiny" / "checkpoints").iterdir()))

    make(save_total_limit=limit).run(runs / "tiny", on_step=look)
    # to write the last one again would, for a moment, leave a run that keeps one without any
    assert written == [1, 2, 3, 4]
    everything = [[f"step-{s:06d}" for s in range(max(1, last - limit + 1), last + 1)] for last in (1, 2, 3)]
    assert seen == everything
