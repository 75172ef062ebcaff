"""Several processes share a study's members, and end in what one process ends in."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pandas as pd
import pytest
import torch

from moalign import load
from moalign.runs import RunDirectory

STUDIES = """
import os, signal
from moalign import Objective, Study, recipes

def told(name):  # "rank step": what befalls one process in the rewards of a step
    return os.environ.get(name, "").split()

def here(name, state):
    return told(name) == [os.environ.get("RANK", "0"), str(state.global_step)]

def digits(completions, trainer_state, **columns):
    if here("FAIL", trainer_state):
        raise ValueError("no digits today")
    if here("KILL", trainer_state):
        os.kill(os.getpid(), signal.SIGKILL)
    if here("ASK", trainer_state):
        os.kill(os.getpid(), signal.SIGTERM)
    return [sum(c.isdigit() for c in text) / max(len(text), 1) for text in completions]

def short(completion_ids, **columns):
    return [1 - len(ids) / 8 for ids in completion_ids]

SMALL = dict(steps=4, prompts_per_step=2, num_generations=4, max_completion_length=8, learning_rate=1e-2)

ASKED = dict(steps=4, prompts_per_step=4, max_completion_length=8, learning_rate=1e-2, online=0.5)
ASKED |= dict(template="{{value}}", separator=",", levels=9)

DATA = [{{"prompt": f"{{a}}+{{b}}=", "completion": str(a + b)}} for a in range(10, 20) for b in range(10, 20)]

def study_of(name, recipe, **options):
    return Study(
        name,
        [Objective("digits", digits, bounds=(0, 1)), Objective("short", short, bounds=(0, 1))],
        model={model!r},
        train_dataset=DATA,
        recipe=recipe,
        reference_point={{"digits": 0.0, "short": 0.0}},
        eval_prompts=10,
        save_steps=3,
        **options,
    )

guided = study_of("guided", recipes.hypervolume(**SMALL, weighting="hypervolume-gradient", warmup=1, ramp=1), members=3)
bred = study_of("bred", recipes.c_morl(**SMALL), members=3)
soups = study_of("soups", recipes.rewarded_soup(**SMALL), members=2)
paired = study_of("paired", recipes.hypervolume(**SMALL, passes=2, beta=0.1), members=2)
alone = study_of("alone", recipes.gdpo(**SMALL), members=1)
asked = study_of("asked", recipes.ric(**ASKED), members=3)
"""

# Children are forked from a process that has loaded torch once: each then takes a second, not ten.
RUNNER = """
import json, os, sys
import transformers.models.llama.modeling_llama
import moalign.explore, moalign.study._run
from moalign.cli import main

def start(rank, job):
    pid = os.fork()
    if pid:
        return pid
    if job["size"] > 1:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["size"], "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": job["port"]}
        os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    for number, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{job['out']}.{rank}.{stream}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["moalign", "run", "shared.py", "--only", job["study"], "--out", job["out"]]
    status = 0
    try:
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)

for line in sys.stdin:
    job = json.loads(line)
    children = [start(rank, job) for rank in range(job["size"])]
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]), flush=True)
"""


@dataclass
class Done:
    """One job: what its processes ended with and said, and the run's directory."""

    statuses: list[int]
    said: list[str]  # by each process, on standard error
    path: Path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]

    def front(self) -> dict[str, Any]:
        return json.loads((self.path / "front.json").read_text())


Runner = Callable[..., Done]


@pytest.fixture(scope="module")
def run(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Run a study in so many processes, with what befalls one of them."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "shared.py").write_text(STUDIES.format(model=tiny_model))
    with subprocess.Popen([sys.executable, "-c", RUNNER], stdin=PIPE, stdout=PIPE, text=True) as runner:
        orders, reports = runner.stdin, runner.stdout
        assert orders is not None and reports is not None

        def one(out: str, study: str, size: int, **told: str) -> Done:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            job = {"folder": str(folder), "out": out, "study": study, "size": size, "environment": told, "port": port}
            print(json.dumps(job), file=orders, flush=True)
            statuses = json.loads(reports.readline())
            said = [(folder / f"{out}.{rank}.err").read_text() for rank in range(size)]
            return Done(statuses, said, folder / out / study)

        yield one


@pytest.fixture(scope="module")
def whole(run: Runner) -> Done:
    """What everything is compared with: the study in one process."""
    return run("whole", "guided", 1)


def assert_close(found: Any, expected: Any, path: str = "") -> None:
    """Equal but for 1e-5 in numbers, for the clock and for where files lie."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), path
        for name in expected.keys() - {"seconds", "path", "paths"}:
            assert_close(found[name], expected[name], f"{path}/{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), path
        for i, (a, b) in enumerate(zip(found, expected)):
            assert_close(a, b, f"{path}/{i}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-5), path
    elif isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype, path
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0, equal_nan=True, msg=lambda m: f"{path}: {m}")
    else:
        assert found == expected, path


def assert_same_run(found: Done, expected: Done) -> None:
    assert set(found.statuses) == set(expected.statuses) == {0}, found.said
    assert_close(found.front(), expected.front())
    assert_close(found.lines(), expected.lines())
    last = RunDirectory(expected.path).latest_checkpoint()
    assert last is not None and last == RunDirectory(found.path).latest_checkpoint() == 4
    assert_close(RunDirectory(found.path).load_state(last), RunDirectory(expected.path).load_state(last))
    for folder in ("rollouts", "points"):
        mine, theirs = ({path.name for path in (each.path / folder).iterdir()} for each in (found, expected))
        assert mine == theirs
    for rollouts in (expected.path / "rollouts").iterdir():
        step = int(rollouts.stem[5:])
        pd.testing.assert_frame_equal(load(found.path).rollouts(step), load(expected.path).rollouts(step), atol=1e-5)
    assert not any(found.said[1:])  # the first process speaks for all


def test_two_processes_end_in_what_one_ends_in(run: Runner, whole: Done) -> None:
    assert_same_run(run("two", "guided", 2), whole)


def test_an_error_of_one_process_is_shown_once_and_ends_all(run: Runner) -> None:
    failed = run("failed", "guided", 2, FAIL="1 1")
    assert failed.statuses == [2, 2]
    assert "the reward raised ValueError: no digits today" in failed.said[1]
    assert "moalign:" not in failed.said[0] and "Traceback" not in "".join(failed.said)
    assert len(failed.lines()) == 1  # a step that is not everybody's is nobody's


@pytest.mark.slow
def test_a_run_goes_on_in_more_processes(run: Runner, whole: Done) -> None:
    assert run("more", "guided", 1, ASK="0 1").statuses == [75]
    assert_same_run(run("more", "guided", 2), whole)


@pytest.mark.slow
def test_a_run_goes_on_in_fewer_processes(run: Runner, whole: Done) -> None:
    asked = run("fewer", "guided", 3, ASK="1 1")  # one of them is asked, and all stop after the same step
    assert asked.statuses == [75] * 3 and RunDirectory(asked.path).latest_checkpoint() == 2
    assert_same_run(run("fewer", "guided", 1), whole)


@pytest.mark.slow
def test_a_killed_process_ends_all(run: Runner, whole: Done) -> None:
    killed = run("killed", "guided", 2, KILL="1 3")
    assert killed.statuses == [2, -9] and "another process of this run is gone" in killed.said[0]
    assert_same_run(run("killed", "guided", 2), whole)


@pytest.mark.slow
@pytest.mark.parametrize("study, members", [("bred", 4), ("soups", 2)])
def test_members_are_cloned_and_mixed_across_processes(run: Runner, study: str, members: int) -> None:
    alone = run(f"{study}-one", study, 1)
    assert_same_run(run(f"{study}-two", study, 2), alone)
    assert len(alone.lines()[-1]["members"]) == members


def test_processes_that_hold_the_same_member_split_its_rows(run: Runner) -> None:
    assert_same_run(run("rows", "alone", 2), run("rows-one", "alone", 1))


def test_an_error_in_a_team_is_shown_once_and_ends_all(run: Runner) -> None:
    failed = run("team-failed", "paired", 3, FAIL="1 1")  # 0 and 1 hold one member, 2 the other
    assert failed.statuses == [2, 2, 2]
    assert "the reward raised ValueError: no digits today" in failed.said[1]
    assert "moalign:" not in failed.said[0] + failed.said[2] and "Traceback" not in "".join(failed.said)


@pytest.mark.slow
@pytest.mark.parametrize("study, size", [("paired", 3), ("asked", 2), ("bred", 4), ("soups", 3)])
def test_teams_end_in_what_one_process_ends_in(run: Runner, study: str, size: int) -> None:
    assert_same_run(run(f"{study}-teams", study, size), run(f"{study}-alone", study, 1))


@pytest.mark.slow
def test_a_team_stops_and_goes_on_as_one(run: Runner) -> None:
    asked = run("team", "alone", 2, ASK="1 1")
    assert asked.statuses == [75, 75] and RunDirectory(asked.path).latest_checkpoint() == 2
    killed = run("team", "alone", 2, KILL="1 3")
    assert killed.statuses == [2, -9] and "another process of this run is gone" in killed.said[0]
    assert_same_run(run("team", "alone", 2), run("team-one", "alone", 1))


@pytest.mark.slow
def test_processes_without_rows_are_refused_once(run: Runner) -> None:
    idle = run("idle", "alone", 3)
    assert idle.statuses == [2] * 3
    assert "3 processes for 1 trained member and 2 prompts of a step: start at most 2" in idle.said[0]
    assert not any(idle.said[1:]) and not idle.path.exists()
