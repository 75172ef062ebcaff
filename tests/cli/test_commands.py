"""What each command prints, writes and refuses; and that the library's errors are messages, not tracebacks."""

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from moalign import load
from moalign.cli import app
from moalign.cli import demo as demo_command

Call = Callable[..., tuple[int, str, str]]
COMMANDS = ("demo", "check", "run", "front", "show", "export", "audit", "rescore", "methods", "doctor")
PLAIN = re.compile(r"\x1b\[[0-9;]*m")


def processor_seconds() -> float:
    """Return what child processes have taken: the clock on the wall also counts what others do on this machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def said(err: str) -> str:
    """Return a message without colours and frames, on one line."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", PLAIN.sub("", err)).split())


def test_every_command_has_help_with_examples(moalign: Call) -> None:
    assert {command.callback.__name__ for command in app.registered_commands if command.callback} == set(COMMANDS)
    for command in COMMANDS:
        status, out, _ = moalign(command, "--help")
        assert status == 0 and "Example" in out, command
        examples = [line for line in re.split("Examples?", out)[-1].splitlines() if line.strip()]
        assert examples and all(line.strip().startswith(f"moalign {command}") for line in examples), out  # none wrapped
    status, out, _ = moalign("--help")
    assert status == 0 and all(command in out for command in COMMANDS)


def test_help_is_quick() -> None:
    def seconds() -> float:
        before = processor_seconds()
        subprocess.run([sys.executable, "-m", "moalign", "--help"], check=True, capture_output=True)
        return processor_seconds() - before

    assert min(seconds() for _ in range(3)) < 0.3


def test_check_tells_what_a_run_takes(moalign: Call, study_file: Path) -> None:
    status, out, err = moalign("check", study_file, "--set", "members=4")
    # 3 steps x 4 members x 2 prompts x 4 completions = 96, and 4 members x 8 prompts x 2 splits = 64
    assert status == 0, err
    assert "tiny: 4 members × 3 steps: 96 completions to train on, 64 to value them" in out and "tiny-fixed: 4" in out


def test_check_reports_every_error_at_once(moalign: Call, study_file: Path) -> None:
    status, _, err = moalign("check", study_file, "--set", "members=0", "--set", "eval_prompts=0")
    assert status == 2 and "`members`" in err and "`eval_prompts`" in err and "Traceback" not in err


def test_a_misspelt_setting_gets_the_nearest_names(moalign: Call, study_file: Path) -> None:
    status, _, err = moalign("run", study_file, "--set", "recipe.stepz=3")
    assert status == 2 and "recipe" in err and "stepz" in err and "did you mean steps" in err
    status, _, err = moalign("run", study_file, "--set", "members")
    assert status == 2 and "write path=value" in err


def test_run_one_study(moalign: Call, study_file: Path, tmp_path: Path) -> None:
    status, out, err = moalign("run", study_file, "--only", "tiny", "--out", tmp_path)
    assert status == 0, err
    # no terminal here: a line for each step of three, then one for each split
    lines = [line for line in err.splitlines() if line.startswith("tiny: ")]
    assert [line.split(" ")[1:3] for line in lines[:3]] == [["training", f"{n}/3"] for n in (1, 2, 3)]
    assert all("hypervolume 0." in line for line in lines[:3])
    assert "tiny: dev prompts 8/8" in err and "tiny: test prompts 8/8" in err
    assert "Loading weights" not in err
    assert "hypervolume" in out and "m00" in out and "report: " in out
    assert (tmp_path / "tiny" / "report.html").is_file()
    before = (tmp_path / "tiny" / "front.json").read_bytes()
    assert moalign("run", study_file, "--only", "tiny", "--out", tmp_path)[0] == 0  # finished: shown again
    assert (tmp_path / "tiny" / "front.json").read_bytes() == before
    status, _, err = moalign("run", study_file, "--only", "tiny", "--out", tmp_path, "--set", "seed=1")
    assert status == 2 and "another study" in err and "seed: 0 -> 1" in err


def test_events_are_json_lines(
    moalign: Call, study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)  # it would make this process deaf to Ctrl-C
    status, out, err = moalign("run", study_file, "--only", "tiny", "--out", tmp_path, "--events")
    assert status == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["step"] for event in events if "step" in event] == [0, 1, 2]
    assert {event["stage"] for event in events if "stage" in event} == {"dev prompts", "test prompts"}


@pytest.mark.slow
def test_run_side_by_side(moalign: Call, study_file: Path, tmp_path: Path) -> None:
    status, out, err = moalign("run", study_file, "--out", tmp_path, "--set", "recipe.steps=2")
    assert status == 0, err
    for name in ("tiny", "tiny-fixed"):
        assert load(tmp_path / name).status == "finished"
        assert f"{name}: training 2/2" in err and f"{name}: test prompts 8/8" in err
    assert "tiny-fixed" in (tmp_path / "tiny" / "report.html").read_text(encoding="utf-8")
    assert out.count("hypervolume") == 2


@pytest.mark.slow
def test_side_by_side_names_those_that_fail(moalign: Call, study_file: Path, tmp_path: Path) -> None:
    broken = study_file.with_name("broken_adder.py")
    text = study_file.read_text().replace("[1 - len(ids) / 8 for ids in completion_ids]", "['three']")
    broken.write_text(text)
    status, _, err = moalign("run", broken, "--out", tmp_path)
    assert status == 2 and "`tiny` ended with exit status 2" in err and "`tiny-fixed` ended" in err
    assert "tiny: moalign: " in err and "short" in err and "Traceback" not in err


def test_resume_must_and_only(moalign: Call, study_file: Path, tmp_path: Path) -> None:
    run = ("run", study_file, "--out", tmp_path)
    status, _, err = moalign(*run, "--only", "tiny", "--resume", "must")
    assert status == 2 and "tiny" in err
    status, _, err = moalign(*run, "--only", "tinny")
    assert status == 2 and "`--only tinny`" in err and "tiny, tiny-fixed" in err
    status, _, err = moalign(*run, "--resume", "sometimes")
    assert status == 2 and "auto, must or never" in said(err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text, message",
    [
        ("import moalign\n\nstudy = undefined\n", "line 3: NameError: name 'undefined' is not defined"),
        ("study = (\n", "line 1: SyntaxError"),
        ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("from moalign import recipes\n\nrecipes.grpo(stepz=3)\n", "line 3: "),
        ("x = 1\n", "defines no Study"),
    ],
)
def test_a_broken_study_file_names_the_line(moalign: Call, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "broken_study.py"
    file.write_text(text)
    status, _, err = moalign("check", file)
    assert status == 2 and f"`{file}`" in err and message in err and "Traceback" not in err


def test_a_study_file_that_is_not_there(moalign: Call, tmp_path: Path) -> None:
    status, _, err = moalign("run", tmp_path / "no.py")
    assert status == 2 and "is not a file" in err


def test_front_as_table_and_json(moalign: Call, finished: Path) -> None:
    status, out, _ = moalign("front", finished)
    front = load(finished).front
    assert status == 0 and all(point.id in out for point in front) and "digits ↑" in out and "±" in out
    status, out, _ = moalign("front", finished, "--json")
    record = json.loads(out)
    assert [point["id"] for point in record["points"]] == [point.id for point in front]
    assert record["points"][0]["values"].keys() == {"digits", "short"}


def test_a_directory_without_a_front(moalign: Call, tmp_path: Path) -> None:
    for command in (
        ("front", tmp_path),
        ("show", tmp_path, "m00"),
        ("export", tmp_path, "m00", "--to", tmp_path / "o"),
    ):
        status, _, err = moalign(*command)
        assert status == 2 and "is not a run directory" in err


def test_show_prints_completions_with_rewards(moalign: Call, finished: Path) -> None:
    point = load(finished).front[0]
    status, out, _ = moalign("show", finished, point.id, "--samples", 2)
    assert status == 0 and point.id in out and out.count("digits 0") + out.count("digits 1") == 2
    assert str(point.samples[0].prompt) in out


def test_a_wrong_point_gets_the_nearest_names(moalign: Call, finished: Path, tmp_path: Path) -> None:
    for command in (("show", finished, "m9"), ("export", finished, "m9", "--to", tmp_path / "out")):
        status, _, err = moalign(*command)
        assert status == 2 and "no point `m9`" in err and ("did you mean m0" in err or "known: m0" in err)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks transformers for it
def test_export_loads_with_peft_and_transformers(moalign: Call, finished: Path, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    point = load(finished).front[0]
    for name, flags in (("adapter", ()), ("whole", ("--merge",))):
        status, out, err = moalign("export", finished, point.id, "--to", tmp_path / name, *flags)
        assert status == 0 and f"wrote {tmp_path / name}" in out.replace("\n", ""), err
        assert "Loading weights" not in err
    tokens = AutoTokenizer.from_pretrained(tmp_path / "whole")("12+13=", return_tensors="pt")["input_ids"]
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole").eval()
    adapter = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(whole(tokens).logits, adapter(tokens).logits, atol=1e-4, rtol=1e-4)
        with adapter.disable_adapter():
            assert not torch.allclose(whole(tokens).logits, adapter(tokens).logits, atol=1e-4)  # it was trained
    status, _, err = moalign("export", finished, point.id, "--to", tmp_path / "whole")
    assert status == 2 and "not empty" in err


def test_methods_of_a_kind(moalign: Call) -> None:
    status, out, _ = moalign("methods", "--kind", "controller")
    assert status == 0 and "hypervolume-gradient" in out and "group" not in out.split()
    status, _, err = moalign("methods", "--kind", "controler")
    assert status == 2 and "did you mean controller" in err


def test_doctor(moalign: Call) -> None:
    status, out, _ = moalign("doctor")
    assert status == 0 and f"torch {torch.__version__.split('+')[0]}" in out and "disk: " in out and "cores: " in out


def test_demo_trains_at_a_small_size(moalign: Call, tmp_path: Path) -> None:
    status, out, err = moalign("demo", "--members", 2, "--steps", 1, "--out", tmp_path)
    assert status == 0, err
    assert load(tmp_path / "demo").status == "finished" and "accuracy ↑" in out
    assert (tmp_path / "demo" / "report.html").is_file()


@pytest.mark.slow
def test_demo_shows_a_trained_front(tmp_path: Path) -> None:
    before = processor_seconds()
    command = [sys.executable, "-m", "moalign", "demo", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    took = processor_seconds() - before
    assert done.returncode == 0, done.stderr
    run = load(tmp_path / "demo")
    assert len(run.front) >= 3 and all(point.id in done.stdout for point in run.front)
    curve = run.metrics().groupby("step")["pareto/hypervolume"].first()
    assert curve.iloc[-1] > 1.2 * curve.iloc[0]  # trained
    assert took < 60  # one thread: on a machine at rest, no more seconds pass


def test_an_interrupt_says_how_to_continue(moalign: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        name = "demo"

        def run(self, *_: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("moalign.demo.demo_study", lambda **_: Interrupted())
    status, _, err = moalign("demo", "--out", tmp_path)
    assert status == 130 and "the same command continues" in err
    assert demo_command.EXAMPLES in (app.registered_commands[0].epilog or "")


def test_a_broken_pipe_is_quiet(finished: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    for flags in ([], ["--json"]):
        command = [sys.executable, "-m", "moalign", "front", str(finished), *flags]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
        assert done.stderr == "" and done.returncode == 1
    os.close(write)


def test_front_as_a_picture(finished, moalign, tmp_path) -> None:
    picture = tmp_path / "front.svg"
    status, out, _ = moalign("front", str(finished), "--svg", str(picture), "--against", str(finished))
    assert status == 0 and "hypervolume" in out
    assert picture.read_text().startswith("<svg")
