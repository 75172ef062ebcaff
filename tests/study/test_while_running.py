"""What may go wrong while a study runs: rewards, members, the disk."""

import json
import logging
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from moalign import Objective, PerMember, RewardError, RunError, Study, load, recipes
from moalign.errors import TrainingError
from moalign.fronts import print_front
from moalign.policies.hf import ModelPolicy
from moalign.records import Need, Outputs, Rows, Snapshot
from moalign.runs import RunDirectory

Make = Callable[..., Study]
SMALL: dict[str, Any] = {
    "steps": 4,
    "prompts_per_step": 2,
    "num_generations": 4,
    "max_completion_length": 8,
    "learning_rate": 1e-2,
}


def with_reward(make: Make, reward: Any, **options: Any) -> Study:
    """The tiny study with a third objective, which misbehaves."""
    return make(
        objectives=[*make().objectives, Objective("bad", reward, bounds=(0, 1), **options)],
        reference_point={"digits": 0.0, "short": 0.0, "bad": 0.0},
        recipe=recipes.gdpo(**SMALL),
    )


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def numbers(value: Any) -> list[float]:
    if isinstance(value, list | dict):
        return [n for item in (value.values() if isinstance(value, dict) else value) for n in numbers(item)]
    return [float(value)] if isinstance(value, int | float) else []


def too_few(completions: list[str], **columns: Any) -> list[float]:
    return [0.0 for _ in completions][1:]


def text(completions: list[str], **columns: Any) -> Any:
    return ["good" for _ in completions]


def bare_text(completions: list[str], **columns: Any) -> Any:
    return "good"


def infinite(completions: list[str], **columns: Any) -> list[float]:
    return [math.inf for _ in completions]


def raises(completions: list[str], **columns: Any) -> list[float]:
    raise KeyError("answer_key")


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (too_few, "returned 23 values for 24 completions"),
        (text, "'good' .str. for sample 0 is not a number"),
        (bare_text, "must return a list"),
        (infinite, "return a finite number, or None"),
        (raises, r"raised KeyError: 'answer_key' .*test_while_running.py, line 69\) on a batch of 24"),
    ],
)
def test_a_broken_reward_ends_the_run_by_name(tiny_study: Make, runs: Path, reward: Any, message: str) -> None:
    with pytest.raises(RewardError, match=message) as caught:
        with_reward(tiny_study, reward).run(runs / "tiny")
    assert "`bad`" in str(caught.value)


def half_none(completions: list[str], **columns: Any) -> list[float | None]:
    return [None if i % 2 else float(len(c) % 3) / 2 for i, c in enumerate(completions)]


def half_nan(completions: list[str], **columns: Any) -> list[float]:
    return [math.nan if i % 2 else float(len(c) % 3) / 2 for i, c in enumerate(completions)]


@pytest.mark.parametrize("reward", [half_none, half_nan])
@pytest.mark.parametrize("recipe", ["gdpo", "grpo", "hypervolume"])
def test_missing_for_half_the_rows_is_nan_nowhere(tiny_study: Make, runs: Path, reward: Any, recipe: str) -> None:
    study = with_reward(tiny_study, reward).replace(recipe=recipes.RECIPES[recipe](**SMALL))
    front = study.run(runs / "tiny")
    for line in lines(runs / "tiny"):
        assert line["valid_fraction/bad"] == 0.5
        missing = [name for name, value in line.items() if None in (value if isinstance(value, list) else [value])]
        # what does not vary within groups has neither
        assert all(name.startswith(("correlation/", "covariance/")) for name in missing)
        assert all(math.isfinite(n) for n in numbers(line))
    for point in [*front, *front.dominated]:
        assert all(math.isfinite(n) for n in numbers([dict(point.values), dict(point.stderr)]))


def all_none(completions: list[str], **columns: Any) -> list[float | None]:
    return [None for _ in completions]


def test_missing_for_all_rows_trains_the_others(tiny_study: Make, runs: Path) -> None:
    with pytest.raises(RunError, match="no dev prompt gave a value of bad"):  # what was trained is kept
        with_reward(tiny_study, all_none).run(runs / "tiny")
    for line in lines(runs / "tiny"):
        assert line["valid_fraction/bad"] == 0.0
        assert all(loss is not None and math.isfinite(loss) for loss in line["loss"])
    state = RunDirectory(runs / "tiny").load_state(4)
    assert all(torch.isfinite(tensor).all() for tensor in state["policy"].values())


class Hangs:
    """Hangs in the calls of these numbers, and is quick in all others."""

    __name__ = "hangs"

    def __init__(self, *calls: int):
        self.calls, self.count = calls, 0

    def __call__(self, completions: list[str], **columns: Any) -> list[float]:
        self.count += 1
        if self.count in self.calls:
            time.sleep(3.0)
        return [len(c) / 8 for c in completions]


def test_a_hanging_reward_is_missing_and_counted(
    tiny_study: Make, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    front = with_reward(tiny_study, Hangs(2, 3), timeout=0.3).run(runs / "tiny")
    assert [line["timeouts/bad"] for line in lines(runs / "tiny")] == [0.0, 1.0, 1.0, 0.0]
    assert "`bad` took more than 0.3 seconds" in caplog.text
    assert all(math.isfinite(p.values["bad"]) for p in front)


def test_three_hangs_in_a_row_end_the_run(tiny_study: Make, runs: Path) -> None:
    with pytest.raises(RewardError, match=r"`bad`.*more than 0.2 seconds 3 times in a row"):
        with_reward(tiny_study, Hangs(2, 3, 4), timeout=0.2).run(runs / "tiny")
    assert [line["timeouts/bad"] for line in lines(runs / "tiny")] == [0.0, 1.0, 1.0]


def constant(completions: list[str], **columns: Any) -> list[float]:
    return [0.5 for _ in completions]


def test_a_constant_objective_gives_no_gradient_and_one_warning(
    tiny_study: Make, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wishes = [{"bad": 1.0}, {"digits": 0.5, "bad": 0.5}, {"digits": 1.0}]
    with caplog.at_level(logging.WARNING):
        with_reward(tiny_study, constant).replace(preferences=wishes, micro_rows=8).run(runs / "tiny")
    warned = [r.getMessage() for r in caplog.records if "same value" in r.getMessage() and "`bad`" in r.getMessage()]
    assert len(warned) == 1
    norms = [line["grad_norm"] for line in lines(runs / "tiny")]
    assert all(norm[0] == 0.0 for norm in norms)  # the member that wants nothing else
    assert all(norm[2] > 0.0 for norm in norms)
    tensors = RunDirectory(runs / "tiny").load_state(4)["policy"]
    assert all(not tensor[0].any() for name, tensor in tensors.items() if name.endswith("lora_B"))


# --- members ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["gdpo", "hypervolume"])
def test_a_member_that_is_not_finite_stops_alone(
    tiny_study: Make, runs: Path, caplog: pytest.LogCaptureFixture, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = {**SMALL, "learning_rate": PerMember([1e-2, 1e30, 1e-2])}
    front = tiny_study(recipe=recipes.RECIPES[recipe](**rates)).run(runs / "tiny")
    assert [line["active"] for line in lines(runs / "tiny")][-1] == [1, 0, 1]
    assert sum("member m01 stopped at step" in r.getMessage() for r in caplog.records) == 1
    assert "m01 stopped in training and will not be in the front" in caplog.text
    assert {p.id for p in [*front, *front.dominated]} == {"m00", "m02"}
    assert all(p.weights is not None and math.isfinite(n) for p in front for n in numbers(dict(p.values)))
    read = load(runs / "tiny").front
    assert read.stopped == ("m01",) and not (runs / "tiny" / "points" / "m01").exists()
    print_front(read)
    assert "m01 stopped in training" in capsys.readouterr().out
    if recipe == "gdpo":  # nothing links the members: the others are as if it had been well
        well = tiny_study(recipe=recipes.gdpo(**SMALL)).run(runs / "well")
        values = {p.id: p.values for p in [*well, *well.dominated]}
        assert all(values[p.id] == p.values for p in [*front, *front.dominated])


def test_specialists_that_stopped_are_in_no_soup(tiny_study: Make, runs: Path) -> None:
    rates = {**SMALL, "learning_rate": PerMember([1e-2, 1e30])}
    front = tiny_study(recipe=recipes.rewarded_soup(**rates), members=2).run(runs / "tiny")
    assert front.stopped == ("m01",)
    assert all(math.isfinite(n) for p in [*front, *front.dominated] for n in numbers(dict(p.values)))


def test_a_run_whose_members_all_stopped_is_an_error(tiny_study: Make, runs: Path) -> None:
    with pytest.raises(TrainingError, match="every member has stopped"):
        tiny_study(recipe=recipes.gdpo(**{**SMALL, "learning_rate": 1e30})).run(runs / "tiny")
    assert not (runs / "tiny" / "front.json").exists()


def test_a_full_gpu_is_an_error_with_a_way_out_that_may_be_taken(
    tiny_study: Make, runs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forward, rows = ModelPolicy.forward, 2 * 4  # of a member

    def full(self: ModelPolicy, part: Rows, needs: frozenset[Need], *, at: Snapshot | None = None) -> Outputs:
        if len(part) == rows and started:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, part, needs, at=at)

    started: list[bool] = []
    monkeypatch.setattr(ModelPolicy, "forward", full)
    study = tiny_study(recipe=recipes.gdpo(**SMALL), save_steps=1)
    with pytest.raises(TrainingError, match=r"memory is full: CUDA out of memory\. Set `micro_rows`"):
        study.run(runs / "tiny", on_step=lambda line: started.append(True) if line.get("step") == 1 else None)
    assert RunDirectory(runs / "tiny").latest_checkpoint() == 2
    mended = study.replace(micro_rows=rows // 2)
    assert len(mended.run(runs / "tiny", resume="must")) > 0
    assert "goes on with `micro_rows` None -> 4: the last digits" in caplog.text
    assert RunDirectory(runs / "tiny").spec["micro_rows"] == 4


# --- the disk -----------------------------------------------------------------------------------------------------

LIMITED = """
import json, resource, sys
from pathlib import Path
from moalign import RunError
from moalign.runs import RunDirectory
from full_disk import study

soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
found = []
for limit in map(int, sys.argv[2:]):
    out = Path(sys.argv[1]) / str(limit)

    def on_step(record):
        if record.get("step") == 2:  # one checkpoint is there, the next is due after step 3
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))

    try:
        study.run(out, on_step=on_step)
    except RunError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        checkpoints = [path.name for path in (out / "checkpoints").iterdir()]
        found.append([str(error), RunDirectory(out).latest_checkpoint(), checkpoints])
        study.run(out, resume="must", on_step=lambda record: None)
study.run(Path(sys.argv[1]) / "whole", on_step=lambda record: None)
print(json.dumps(found))
"""


def test_a_full_disk_costs_the_last_steps_and_nothing_else(runs: Path, stoppable: Callable[[str], Path]) -> None:
    limits = ("12000", "100")
    command = [sys.executable, "-c", LIMITED, str(runs), *limits]
    done = subprocess.run(command, capture_output=True, text=True, cwd=stoppable("full_disk").parent)
    assert done.returncode == 0, done.stderr
    cases = zip(
        limits, ("checkpoints/step-000004", "rollouts/step-000003.parquet"), json.loads(done.stdout), strict=True
    )
    for limit, file, (error, step, checkpoints) in cases:
        assert f"cannot write `{runs / limit / file}`: " in error and "run again to resume" in error
        assert step == 2 and checkpoints == ["step-000002"]  # whole, and nothing half written beside it
        assert (runs / limit / "front.json").read_bytes() == (runs / "whole" / "front.json").read_bytes()
