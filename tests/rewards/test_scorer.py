import asyncio
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from moalign.errors import ConfigError, RewardError
from moalign.objectives import Objective
from moalign.parts import bind
from moalign.rewards import Scorer, TrainerState, exact_number

PROMPTS = ["a", "b", "c"]
COMPLETIONS = ["x", "xx", "xxx"]


def length(completions, **columns):
    return [len(text) for text in completions]


def score(*objectives, prompts=PROMPTS, completions=COMPLETIONS, timeout=30.0, **given):
    with Scorer(objectives, timeout=timeout) as scorer:
        return scorer.score(prompts, completions, **given)


def test_values_are_in_the_objectives_own_sign_and_order():
    result = score(Objective("cost", length, maximize=False), Objective("gain", lambda completions: [0.5, 0, True]))
    assert result.values.tolist() == [[1.0, 0.5], [2.0, 0.0], [3.0, 1.0]]
    assert bool(result.valid.all())
    assert result.metrics == {
        "valid_fraction/cost": 1.0, "valid_fraction/gain": 1.0, "timeouts/cost": 0.0, "timeouts/gain": 0.0,
    }  # fmt: skip


def test_functions_get_trls_keywords_and_no_others_than_they_name():
    seen = {}

    def everything(**kwargs):
        seen.update(kwargs)
        return [0.0] * 3

    def little(completions, answer, missing=None):
        return [float(c == a) for c, a in zip(completions, answer)]

    columns = {"answer": ["x", "y", "xxx"], "prompt": PROMPTS, "completion": ["old"] * 3}
    result = score(
        Objective("everything", everything), Objective("little", little),
        columns=columns, completion_ids=[[1], [2], [3]], trainer_state=TrainerState(7, 10),
    )  # fmt: skip
    assert result.values[:, 1].tolist() == [1.0, 0.0, 1.0]
    assert sorted(seen) == sorted(
        ["prompts", "completions", "completion_ids", "answer", "trainer_state", "log_extra", "log_metric"]
    )
    assert seen["completion_ids"] == [[1], [2], [3]] and seen["trainer_state"].global_step == 7


def test_chat_prompts_bring_chat_completions():
    chat = [[{"role": "user", "content": "2+2"}]]

    def content(prompts, completions):
        assert prompts == chat
        return [len(c[0]["content"]) for c in completions]

    assert score(Objective("content", content), prompts=chat, completions=["four"]).values.tolist() == [[4.0]]


def test_a_column_does_not_overwrite_a_bound_option():
    columns = {"answer": ["1", "2", "3"], "column": ["answer"] * 3}
    values = score(Objective("n", exact_number("answer")), completions=["1", "2", "4"], columns=columns).values
    assert values.tolist() == [[1.0], [1.0], [0.0]]


def test_none_and_nan_are_missing_and_counted():
    result = score(Objective("a", lambda completions: [None, math.nan, 2.0]))
    assert result.valid.tolist() == [[False], [False], [True]]
    assert result.values.tolist() == [[0.0], [0.0], [2.0]]
    assert result.metrics["valid_fraction/a"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", [torch.tensor, np.array, tuple, lambda x: [np.float32(v) for v in x],
                                  lambda x: [torch.tensor(v) for v in x]])  # fmt: skip
def test_tensors_and_arrays_are_numbers_too(kind):
    assert score(Objective("a", lambda completions: kind([0.5, 1.0, 2.0]))).values.flatten().tolist() == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ([1.0, 2.0], r"objective `a`: its reward returned 2 values for 3 completions"),
        ("good", r"objective `a`: a reward must return a list .* not str \('good'\)"),
        (None, r"objective `a`: a reward must return a list .* not NoneType"),
        (1.0, r"objective `a`: .* not float"),
        ([1.0, "2", 3.0], r"objective `a`: '2' \(str\) for sample 1 is not a number; the completion was 'xx'"),
        ([1.0, [2.0], 3.0], r"objective `a`: \[2.0\] \(list\) for sample 1"),
        ([1.0, 2.0, math.inf], r"objective `a`: inf for sample 2"),
        ({"b": [1.0, 2.0, 3.0]}, r"objective `a`: its reward returned b, not `a`"),
    ],
)
def test_what_breaks_the_rule_is_named(output, message):
    with pytest.raises(RewardError, match=message):
        score(Objective("a", lambda completions: output))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_exception_names_the_objective_and_chains(kind):
    def fails(completions):
        raise KeyError("oops")

    async def fails_later(completions):
        await asyncio.sleep(0)
        raise KeyError("oops")

    reward = fails if kind == "sync" else fails_later
    said = r"objective `a`: the reward raised KeyError: 'oops' .*test_scorer.py, line \d+. on a batch of 3"
    with pytest.raises(RewardError, match=said) as info:
        score(Objective("a", reward))
    assert isinstance(info.value.__cause__, KeyError)


def test_a_timeout_error_of_the_reward_itself_is_an_exception():
    def fails(completions):
        raise TimeoutError("the judge did not answer")

    with pytest.raises(RewardError, match="the judge did not answer"):
        score(Objective("a", fails))


def test_a_column_that_is_not_there_is_told_before_and_during():
    def needs(completions, answer):
        return [0.0] * 3

    with Scorer([Objective("a", needs), Objective("b", exact_number("solution"))]) as scorer:
        found = scorer.problems(["prompt", "question"])
        assert [p.split("`")[1:4:2] for p in found] == [["a", "answer"], ["b", "solution"]]
        assert scorer.problems(["answer", "solution"]) == []
        with pytest.raises(RewardError, match=r"objective `a`: .* asks for `answer`"):
            scorer.score(PROMPTS, COMPLETIONS)


def test_one_function_of_several_objectives_is_called_once():
    calls = []

    def both(completions):
        calls.append(len(completions))
        return {"first": [1.0] * 3, "second": [2.0] * 3}

    result = score(Objective("second", both), Objective("first", both))
    assert calls == [3] and result.values[0].tolist() == [2.0, 1.0]


def test_async_functions_wait_together():
    ready = []

    async def meet(completions):
        ready.append(None)
        while len(ready) < 2:  # neither ends unless both run at the same time
            await asyncio.sleep(0.001)
        return [1.0] * 3

    async def meet_too(completions):
        return await meet(completions)

    assert bool(score(Objective("a", meet), Objective("b", meet_too), timeout=20.0).valid.all())


def test_plain_functions_run_together():
    barrier = threading.Barrier(2, timeout=20.0)

    def first(completions):
        barrier.wait()
        return [1.0] * 3

    def second(completions):
        barrier.wait()
        return [1.0] * 3

    assert bool(score(Objective("a", first), Objective("b", second)).valid.all())


def test_logged_columns_and_metrics_come_back():
    def logs(completions, log_extra, log_metric):
        log_extra("length", [len(c) for c in completions])
        log_metric("mean_length", 1.0)
        log_metric("mean_length", 3.0)
        return [0.0] * 3

    result = score(Objective("a", logs))
    assert result.extras == {"length": [1, 2, 3]} and result.metrics["mean_length"] == 2.0
    with pytest.raises(RewardError, match=r"log_extra\('length'\) got 1 values for 3"):
        score(Objective("a", bind(lambda completions, log_extra: log_extra("length", [1]) or [0.0] * 3)))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_hang_is_missing_for_its_batch_and_an_error_the_third_time_in_a_row(kind, caplog):
    release = threading.Event()
    hang = True

    def slow(completions):
        if hang:
            release.wait()
        return [1.0] * 3

    async def slow_async(completions):
        while hang and not release.is_set():
            await asyncio.sleep(0.01)
        return [1.0] * 3

    objectives = [Objective("slow", slow if kind == "sync" else slow_async, timeout=0.2), Objective("fast", length)]
    with Scorer(objectives) as scorer, caplog.at_level(logging.WARNING, "moalign"):
        for late in (True, True, False, True, True):  # an answer in time starts the count anew
            hang = late
            result = scorer.score(PROMPTS, COMPLETIONS)
            assert result.valid.tolist() == [[not late, True]] * 3
            assert result.metrics["timeouts/slow"] == float(late) and result.metrics["timeouts/fast"] == 0.0
        assert "the reward of objective `slow` took more than 0.2 seconds" in caplog.text
        hang = True
        with pytest.raises(RewardError, match=r"objective `slow`: .* 0.2 seconds 3 times in a row; .* `isolate=True`"):
            scorer.score(PROMPTS, COMPLETIONS)
        release.set()


def test_a_hanging_thread_does_not_keep_python_from_exiting():
    code = (
        "import time\n"
        "from moalign.objectives import Objective\n"
        "from moalign.rewards import Scorer\n"
        "s = Scorer([Objective('a', lambda completions: time.sleep(600), timeout=0.1)])\n"
        "print(s.score(['p'], ['c']).valid.tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[[False]]" and done.returncode == 0, done.stderr


def test_an_empty_batch_calls_nothing():
    def never(completions):
        raise AssertionError

    result = score(Objective("a", never), prompts=[], completions=[])
    assert result.values.shape == (0, 1) and "valid_fraction/a" not in result.metrics


ISOLATED = """
import os, re, time

def pid(completions):
    return [float(os.getpid())] * len(completions)

def maybe(completions, trainer_state, log_metric):
    log_metric("logged", 4.0)
    if trainer_state.global_step == 1:
        re.match("(a+)+$", "a" * 64 + "b")  # holds Python's lock for ages: a thread could never be cut off
    if trainer_state.global_step == 2:
        raise LookupError("no such word")
    if trainer_state.global_step == 3:
        os._exit(3)
    return [float(os.getpid())] * len(completions)

async def later(completions):
    return [2.0] * len(completions)
"""


@pytest.fixture
def isolated(tmp_path, monkeypatch):
    (tmp_path / "moalign_isolated_rewards.py").write_text(ISOLATED)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "moalign_isolated_rewards"


@pytest.mark.slow
def test_isolated_rewards_are_there_for_the_last_step_when_every_process_is_asked_to_stop(isolated):
    with Scorer([Objective("a", f"{isolated}:pid", isolate=True)]) as scorer:
        pid = int(scorer.score(["p"], ["c"]).values[0, 0])
        for number in (signal.SIGTERM, signal.SIGUSR1):
            os.kill(pid, number)
        assert scorer.score(["p"], ["c"]).values[0, 0] == pid


@pytest.mark.slow
def test_an_isolated_reward_that_nobody_closed_does_not_keep_python_from_exiting(isolated, tmp_path):
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "from moalign.objectives import Objective\n"
        "from moalign.rewards import Scorer\n"
        f"s = Scorer([Objective('a', '{isolated}:pid', isolate=True)])\n"
        "print(s.score(['p'], ['c']).valid.tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[[True]]" and done.returncode == 0, done.stderr


@pytest.mark.slow
def test_isolated_rewards_survive_a_hang_that_holds_pythons_lock(isolated):
    objectives = [
        Objective("maybe", f"{isolated}:maybe", timeout=3.0, isolate=True),
        Objective("later", f"{isolated}:later", isolate=True),
    ]
    with Scorer(objectives) as scorer:
        before = scorer.score(["p"], ["c"])
        assert before.values[0, 1] == 2.0 and before.metrics["logged"] == 4.0
        started = time.monotonic()
        hung = scorer.score(["p"], ["c"], trainer_state=TrainerState(1))
        assert hung.valid.tolist() == [[False, True]] and time.monotonic() - started < 20
        after = scorer.score(["p"], ["c"])
        assert bool(after.valid.all()) and after.values[0, 0] != before.values[0, 0]  # a new process
        again = scorer.score(["p"], ["c"])
        assert again.values[0, 0] == after.values[0, 0]  # which lives on
        with pytest.raises(RewardError, match="objective `maybe`: the reward raised LookupError: no such word") as info:
            scorer.score(["p"], ["c"], trainer_state=TrainerState(2))
        assert "moalign_isolated_rewards.py" in info.value.__cause__.__notes__[0]  # the traceback over there
        with pytest.raises(RewardError, match=r"objective `maybe`: .* its process ended \(exit code 3\)"):
            scorer.score(["p"], ["c"], trainer_state=TrainerState(3))


def test_isolated_rewards_must_be_importable_elsewhere():
    with pytest.raises(ConfigError, match="`isolate=True` of objective `a`: the reward cannot be sent"):
        Scorer([Objective("a", lambda completions: [1.0], isolate=True)])
    with (
        Scorer([Objective("a", "no_such_module_anywhere:fn", isolate=True)]) as scorer,
        pytest.raises(RewardError, match=r"cannot be loaded in another process .*no_such_module_anywhere"),
    ):
        scorer.score(["p"], ["c"])


def test_strings_name_functions(isolated):
    import os

    assert score(Objective("a", f"{isolated}:pid")).values[0, 0] == os.getpid()
    with pytest.raises(ConfigError, match="cannot be imported"):
        Scorer([Objective("a", f"{isolated}:absent")])
    with pytest.raises(ConfigError, match="objective `a` has no `reward`"):
        Scorer([Objective("a")])
    with pytest.raises(ConfigError, match="must be a function"):
        Scorer([Objective("a", "math:pi")])


def test_a_reward_s_thread_has_the_device_of_its_caller(monkeypatch):
    told = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: told.append((device, threading.current_thread().name)))
    score(Objective("length", length))
    assert told == [(3, "moalign-reward")]
