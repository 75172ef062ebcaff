"""A run directory: who may use it, what a kill leaves, what resume finds."""

import json
import os
import signal
import subprocess
import sys

import pytest

from moalign.errors import ConfigError, RunError
from moalign.runs import RunDirectory, read_json, write_json

SPEC = {"study": "tickets", "recipe": {"steps": 20, "beta": 0.1}, "objectives": ["a", "b"]}


def test_create_then_resume(tmp_path):
    with RunDirectory(tmp_path / "run") as run:
        assert run.create(SPEC, resume="auto") is False
        assert run.spec == SPEC
    with RunDirectory(tmp_path / "run") as run:
        assert run.create(SPEC, resume="auto") is True
    with RunDirectory(tmp_path / "run") as run:
        assert run.create(SPEC, resume="must") is True


def test_tuples_and_lists_are_the_same_study(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.create({"names": ("a", "b"), "nan": float("nan")})
    with RunDirectory(tmp_path) as run:
        assert run.create({"names": ["a", "b"], "nan": None}) is True


def test_another_study_is_refused_with_the_differences(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.create(SPEC)
    other = SPEC | {"recipe": {"steps": 30, "beta": 0.1}}
    with RunDirectory(tmp_path) as run, pytest.raises(RunError, match=r"another study.*\n- recipe.steps: 20 -> 30"):
        run.create(other)
    with RunDirectory(tmp_path) as run:
        assert run.create(SPEC) is True  # the refusal changed nothing and holds no lock


def test_resume_modes(tmp_path):
    with RunDirectory(tmp_path / "run") as run, pytest.raises(RunError, match="holds no run to resume"):
        run.create(SPEC, resume="must")
    assert not (tmp_path / "run").exists()
    with RunDirectory(tmp_path / "run") as run:
        run.create(SPEC, resume="never")
    with RunDirectory(tmp_path / "run") as run, pytest.raises(RunError, match="already holds a run"):
        run.create(SPEC, resume="never")
    with RunDirectory(tmp_path) as run, pytest.raises(ConfigError, match="`resume` is 'always'"):
        run.create(SPEC, resume="always")


def test_files_of_something_else_are_not_touched(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("theirs")
    with RunDirectory(tmp_path) as run, pytest.raises(RunError, match=r"holds metrics.jsonl but no spec.json"):
        run.create(SPEC)
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_a_second_process_is_refused_until_the_first_ends(tmp_path):
    hold = f"from moalign.runs import RunDirectory; run = RunDirectory({str(tmp_path)!r}); run.create({SPEC!r})"
    with subprocess.Popen(
        [sys.executable, "-c", hold + "; print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "1\n"
        with RunDirectory(tmp_path) as run, pytest.raises(RunError, match=rf"process \({other.pid}\) is writing"):
            run.create(SPEC)
        other.kill()
    with RunDirectory(tmp_path) as run:
        assert run.create(SPEC) is True


FORKS = """
import os, signal, sys, time
from moalign.runs import RunDirectory
run = RunDirectory(sys.argv[1])
run.create({})
if os.fork() == 0:
    os.close(1), os.close(2)
    time.sleep(60)
    os._exit(0)
print(os.getpid(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_dead_process_holds_no_run_though_its_forked_worker_lives(tmp_path):
    command = [sys.executable, "-c", FORKS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as owner:
        output, _ = owner.communicate(timeout=120)
        try:
            assert (tmp_path / "lock").read_text() == output.strip()  # stale
            with RunDirectory(tmp_path) as run:
                assert run.create({}) is True
            os.killpg(owner.pid, 0)  # the worker is still there
        finally:
            os.killpg(owner.pid, signal.SIGKILL)


def test_a_forked_child_is_refused_and_takes_nothing_away(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.create(SPEC)
        child = os.fork()
        if child == 0:
            refused = 1
            try:
                run.close()  # not the child's: the parent keeps it
                RunDirectory(tmp_path).create(SPEC)
            except RunError:
                refused = 0
            finally:
                os._exit(refused)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(RunError, match="is writing"):
            RunDirectory(tmp_path).create(SPEC)


def test_metrics_roundtrip_truncate_and_a_cut_off_line(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.read_metrics() == []
    for step in range(5):
        run.append_metrics({"step": step, "x": 0.1 * step, "bad": float("inf"), "name": "é\u2028"})
    with run.metrics_path.open("a") as file:
        file.write('{"step": 5, "x"')  # killed while writing
    assert [r["step"] for r in run.read_metrics()] == [0, 1, 2, 3, 4]
    run.truncate_metrics(3)
    run.append_metrics({"step": 3, "x": 7.0})
    records = run.read_metrics()
    assert [r["step"] for r in records] == [0, 1, 2, 3]
    assert records[2] == {"step": 2, "x": 0.2, "bad": None, "name": "é\u2028"}
    assert records[3] == {"step": 3, "x": 7.0}


def test_a_damaged_line_of_metrics_is_named(tmp_path):
    run = RunDirectory(tmp_path)
    for step in range(3):
        run.append_metrics({"step": step})
    data = run.metrics_path.read_bytes()
    run.metrics_path.write_bytes(data.replace(b'"step": 1', b'"step\xff 1'))
    with pytest.raises(RunError, match=r"line 2 of .*metrics.jsonl` is damaged"):
        run.read_metrics()


def test_status(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.status == {"state": "new"}
    run.set_status("running", step=3)
    run.set_status("finished", step=20)
    assert run.status == {"state": "finished", "step": 20}


def test_rollouts(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_rollouts(20, [{"member": "m00", "completion": "1+1=2", "rewards/accuracy": 1.0}])
    assert run.read_rollouts(20).to_dict("records") == [
        {"member": "m00", "completion": "1+1=2", "rewards/accuracy": 1.0}
    ]
    with pytest.raises(RunError, match=r"no rollouts of step 7; it has those of \[20\]"):
        run.read_rollouts(7)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "front.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": BadKey()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["front.json"]


class BadKey:
    def __str__(self) -> str:
        raise TypeError("no text")


def test_reading_damage_is_a_run_error(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        read_json(tmp_path / "spec.json")
    (tmp_path / "spec.json").write_text('{"a": ')
    with pytest.raises(RunError, match="cannot be read"):
        read_json(tmp_path / "spec.json")
