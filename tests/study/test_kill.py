"""A run that is killed or asked to stop goes on to the very same numbers."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from moalign import Front, Objective, RunError, Study, load, recipes
from moalign.runs import RunDirectory, write_json
from moalign.study import _run
from moalign.training.stopping import SIGNALS

Make = Callable[..., Study]
SMALL: dict[str, Any] = {
    "steps": 4,
    "prompts_per_step": 2,
    "num_generations": 4,
    "max_completion_length": 8,
    "learning_rate": 1e-2,
}


def assert_same_run(found: Path, expected: Path) -> None:
    """Everything but the clock is equal: the front, metrics, rollouts, and every bit of the final state."""
    assert (found / "front.json").read_bytes() == (expected / "front.json").read_bytes()
    assert lines(found) == lines(expected)
    ours, theirs = RunDirectory(found), RunDirectory(expected)
    last = theirs.latest_checkpoint()
    assert last is not None and ours.latest_checkpoint() == last
    assert_equal(ours.load_state(last), theirs.load_state(last))
    steps = sorted(path.name for path in (expected / "rollouts").iterdir())
    assert sorted(path.name for path in (found / "rollouts").iterdir()) == steps
    for name in steps:
        step = int(name[5:-8])
        assert load(found).rollouts(step).equals(load(expected).rollouts(step))


def assert_equal(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))
    else:
        assert a == b


def lines(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


# Children are forked from a process that has loaded torch once: a kill and a resume take a second, not ten.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
from killed import study

out = Path(sys.argv[1])
study.check()

def child(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid

def finish(folder, **options):
    study.run(out / folder, on_step=lambda record: None, **options)

def counted(at):  # die just before the `at`-th file gets its name
    seen = 0
    real, rename = os.replace, Path.rename
    def dying(*args, **kwargs):
        nonlocal seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    os.replace, Path.rename = dying, lambda path, target: dying(path, target)
    return lambda: seen

def whole():
    calls = counted(-1)
    finish("whole")
    (out / "names").write_text(str(calls()))

began = time.monotonic()
assert os.waitpid(child(whole), 0)[1] == 0
took, names = time.monotonic() - began, int((out / "names").read_text())
choose = random.Random(0)
statuses = {}
for share in sorted(choose.random() for _ in range(3)):  # at any moment
    folder = f"time-{share:.2f}"
    pid = child(lambda: finish(folder))
    time.sleep(share * took)
    os.kill(pid, signal.SIGKILL)
    statuses[folder] = os.waitpid(pid, 0)[1]
for at in sorted({names, *choose.sample(range(1, names), 5)}):  # in the middle of a write
    folder = f"write-{at}"
    def dies():
        counted(at)
        finish(folder)
    statuses[folder] = os.waitpid(child(dies), 0)[1]
    assert statuses[folder] == signal.SIGKILL, (folder, statuses)
for folder in statuses:
    assert os.waitpid(child(lambda: finish(folder)), 0)[1] == 0, folder
print(json.dumps(list(statuses)))
"""


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_in_the_same_run(stoppable: Callable[[str], Path], runs: Path) -> None:
    runs.mkdir()
    command = [sys.executable, "-c", KILLER, str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=stoppable("killed").parent)
    assert done.returncode == 0, done.stderr[-3000:]
    folders = json.loads(done.stdout.splitlines()[-1])
    assert len(folders) >= 8
    for folder in folders:
        assert_same_run(runs / folder, runs / "whole")
        files = [path.name for path in (runs / folder).rglob("*")]
        assert sorted(files) == sorted(path.name for path in (runs / "whole").rglob("*"))  # no litter


def test_points_half_written_are_written_again(tiny_study: Make, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tiny_study().run(runs / "whole")
    from moalign.policies import LoraMembers

    save = LoraMembers.save

    def dies(self: Any, member: str, to: Path, **options: Any) -> None:
        if member == "m01":
            to.mkdir(parents=True, exist_ok=True)
            (to / "adapter_config.json").write_text("{")
            raise KeyboardInterrupt
        save(self, member, to, **options)

    monkeypatch.setattr(LoraMembers, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        tiny_study().run(runs / "tiny")
    assert [path.name for path in (runs / "tiny" / "points").glob("[!.]*")] == ["m00"]
    monkeypatch.undo()
    front = tiny_study().run(runs / "tiny", resume="must")
    assert_same_run(runs / "tiny", runs / "whole")
    assert len(front) == len(whole) and sorted(p.name for p in (runs / "tiny" / "points").iterdir()) == [
        "m00", "m01", "m02",
    ]  # fmt: skip


# --- SIGTERM and SIGUSR1 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("when", ["step", "dev prompts", "test prompts"])
def test_asked_to_stop_it_saves_and_goes_on_later(
    tiny_study: Make, runs: Path, when: str, number: signal.Signals
) -> None:
    make = lambda: tiny_study(recipe=recipes.hypervolume(**SMALL), eval_prompts=10)  # noqa: E731
    before = signal.getsignal(number)

    def ask(record: dict[str, Any]) -> None:
        if record.get("step") == 0 if when == "step" else record.get("stage") == when:
            os.kill(os.getpid(), number)

    with pytest.raises(SystemExit) as stopped:
        make().run(runs / "stopped", on_step=ask)
    assert stopped.value.code == 75
    assert signal.getsignal(number) == before
    # the step that was running is saved, although a checkpoint was due only after the next one
    assert RunDirectory(runs / "stopped").latest_checkpoint() == (1 if when == "step" else 4)
    with pytest.raises(RunError, match="has no front yet"):
        _ = load(runs / "stopped").front
    make().run(runs / "stopped", resume="must")
    make().run(runs / "whole")
    assert_same_run(runs / "stopped", runs / "whole")


def slow_when_valued(completions: list[str], trainer_state: Any, **columns: Any) -> list[float]:
    if len(completions) == 3 * 10:  # members, prompts: the evaluation
        time.sleep(30)
    return [len(text) / 8 for text in completions]


@pytest.mark.parametrize("where", ["loading", "an evaluation"])
def test_where_nothing_is_kept_it_stops_at_once(
    tiny_study: Make, runs: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def hangs(*given: Any) -> None:
        time.sleep(30)

    rewards = [Objective("a", slow_when_valued, bounds=(0, 1)), *tiny_study().objectives[:1]]
    study = tiny_study(objectives=rewards, reference_point={"a": 0.0, "digits": 0.0}, eval_prompts=10)
    with monkeypatch.context() as patched:
        if where == "loading":
            patched.setattr(_run, "assemble", hangs)
        asked: list[float] = []

        def ask() -> None:
            asked.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGUSR1)

        def on_step(record: dict[str, Any]) -> None:
            if record.get("step") == 2:  # the last
                threading.Timer(1.0, ask).start()

        if where == "loading":
            threading.Timer(1.0, ask).start()
        with pytest.raises(SystemExit) as stopped:
            study.run(runs / "tiny", on_step=on_step)
    assert stopped.value.code == 75 and time.monotonic() - asked[0] < 15
    assert RunDirectory(runs / "tiny").latest_checkpoint() == (None if where == "loading" else 3)
    with RunDirectory(runs / "tiny") as again:
        assert again.create(study.spec()) is True


def test_what_a_collector_keeps_is_taken_up_again(tiny_study: Make, runs: Path) -> None:
    make = lambda: tiny_study(recipe=recipes.inpo(**SMALL, iterate_every=2), members=2)  # noqa: E731

    def ask(record: dict[str, Any]) -> None:
        if record.get("step") == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        make().run(runs / "stopped", on_step=ask)
    saved = RunDirectory(runs / "stopped").load_state(3)  # the iterate of step 2: neither the start nor the present one
    iterate = saved["state"]["collect"]["iterate"]
    assert iterate.keys() == saved["policy"].keys() and all(len(tensor) == 2 for tensor in iterate.values())
    moved = [name for name in iterate if name.endswith("lora_B")]
    assert moved and all(iterate[n].any() and not torch.equal(iterate[n], saved["policy"][n]) for n in moved)
    make().run(runs / "stopped", resume="must")
    make().run(runs / "whole")
    assert_same_run(runs / "stopped", runs / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_studies_side_by_side_stop_and_go_on(
    stoppable: Callable[[str], Path],
    moalign: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    file = stoppable(f"stopped_by_{number.name.lower()}")
    folder, slow = file.parent, file.with_name("slow")
    command = [sys.executable, "-m", "moalign", "run", file.name]
    slow.touch()
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    metrics = [folder / "runs" / name / "metrics.jsonl" for name in ("tiny", "other")]
    until = time.monotonic() + 240
    while not any(path.exists() and path.stat().st_size for path in metrics):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    children = [pid for task in Path(f"/proc/{process.pid}/task").iterdir() for pid in
                (task / "children").read_text().split()]  # fmt: skip
    process.send_signal(number)
    if number == signal.SIGKILL:  # its children notice that nobody listens, and stop by themselves
        assert process.wait(timeout=120) == -number and children
        errors = ""
        while any(runs_still(pid) for pid in children):
            assert time.monotonic() < until
            time.sleep(0.1)
        process.communicate(timeout=120)
    else:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 75, errors
    assert "Traceback" not in errors and "Error" not in errors
    assert not list(folder.glob("runs/*/front.json"))
    begun = [path.parent for path in metrics if path.exists() and path.stat().st_size]
    assert [RunDirectory(run).latest_checkpoint() for run in begun] == [len(lines(run)) for run in begun]
    slow.unlink()
    monkeypatch.chdir(folder)
    code, _, errors = moalign(*command[3:])
    assert code == 0, errors
    for name in ("tiny", "other"):
        assert [line["step"] for line in lines(folder / "runs" / name)] == list(range(6))
    first, second = (Front.from_json(folder / "runs" / name / "front.json") for name in ("tiny", "other"))
    assert [p.values for p in first] == [p.values for p in second]  # equal but for their name, wherever they stopped


def runs_still(pid: str) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and not re.search(r"State:\s*Z", status.read_text())


@pytest.mark.slow
def test_a_command_asked_to_stop_while_it_starts(stoppable: Callable[[str], Path]) -> None:
    file = stoppable("starting")
    process = subprocess.Popen([sys.executable, "-m", "moalign", "run", file.name], cwd=file.parent)
    status = Path(f"/proc/{process.pid}/status")
    until = time.monotonic() + 120
    while not int(re.findall(r"SigCgt:\s*(\w+)", status.read_text())[0], 16) >> (signal.SIGUSR1 - 1) & 1:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=120) == 75
    assert not (file.parent / "runs").exists()


# --- what is refused ----------------------------------------------------------------------------------------------


def stop_at_once(record: dict[str, Any]) -> None:
    raise KeyboardInterrupt


def test_a_directory_in_use_is_refused(tiny_study: Make, runs: Path) -> None:
    with RunDirectory(runs / "tiny") as other:
        other.create(tiny_study().spec())
        with pytest.raises(RunError, match=rf"another process \({os.getpid()}\) is writing"):
            tiny_study().run(runs / "tiny")
    assert len(tiny_study().run(runs / "tiny")) > 0


def test_other_data_is_refused(tiny_study: Make, runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    rows = [json.dumps({"prompt": f"{i}="}) for i in range(100)]
    file.write_text("\n".join(rows))
    with pytest.raises(KeyboardInterrupt):
        tiny_study(train_dataset=str(file)).run(runs / "tiny", on_step=stop_at_once)
    file.write_text("\n".join([*rows, json.dumps({"prompt": "new="})]))
    with pytest.raises(RunError, match=r"was begun with another training set"):
        tiny_study(train_dataset=str(file)).run(runs / "tiny")
    file.write_text("\n".join(rows))
    assert len(tiny_study(train_dataset=str(file)).run(runs / "tiny")) > 0


def test_another_recipe_is_refused_with_the_differences(tiny_study: Make, runs: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tiny_study().run(runs / "tiny", on_step=stop_at_once)
    other = tiny_study().replace(**{"recipe.learning_rate": 0.5, "seed": 3})
    with pytest.raises(RunError) as refused:
        other.run(runs / "tiny")
    assert "recipe.learning_rate: 0.01 -> 0.5" in str(refused.value) and "seed: 0 -> 3" in str(refused.value)


def test_other_libraries_are_told(
    tiny_study: Make, runs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        tiny_study().run(runs / "tiny", on_step=stop_at_once)
    known = json.loads((runs / "tiny" / "status.json").read_text())["versions"]
    assert known["torch"] == torch.__version__.partition("+")[0] or known["torch"] == torch.__version__
    assert {"moalign", "torch", "transformers", "peft"} == set(known)
    monkeypatch.setattr(_run, "installed", lambda: {**known, "torch": "9.9"})
    with caplog.at_level(logging.WARNING):
        tiny_study().run(runs / "tiny")
    said = [r.getMessage() for r in caplog.records if "the run began with" in r.getMessage()]
    assert said == [f"the run began with torch {known['torch']} and goes on with 9.9: its numbers may differ from an "
                    "unbroken run's"]  # fmt: skip
    assert json.loads((runs / "tiny" / "status.json").read_text())["versions"] == known


def test_a_mended_reward_goes_on(tiny_study: Make, runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = RunDirectory(runs / "tiny")
    with pytest.raises(KeyboardInterrupt):
        tiny_study().run(runs / "tiny", on_step=stop_at_once)
    spec = directory.spec
    spec["objectives"][0]["reward"]["sha256"] = "before it was mended"
    write_json(directory.spec_path, spec)
    assert len(tiny_study().run(runs / "tiny")) > 0
    assert "the code of `objectives.0.reward` has changed" in caplog.text
