"""The comparison's own arithmetic: controls, choice of points, plan, statistics, page."""

import doctest
import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks
from benchmarks.results import measures, mechanisms, page, plan
from benchmarks.results.arms import ARMS, BASELINE, GUIDED, MEAN, WANDER
from benchmarks.results.controls import Replayed, Walk, shuffled, time_mean, wander
from benchmarks.results.one import keep
from benchmarks.results.records import Member, Record, read, write
from benchmarks.results.speed import COMMANDS, speed
from benchmarks.results.statistics import (
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
    sign_flip,
)
from moalign.records import Setting


@pytest.mark.parametrize("module", ["statistics", "measures", "one", "controls", "speed", "mechanisms"])
def test_doctests(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"benchmarks.results.{module}")).failed == 0


# --- controls -----------------------------------------------------------------------------------------------------

METRICS = [  # one member and then another; weights of a and b at three steps
    {"weights/a": [0.5, 1.0], "weights/b": [0.5, 0.0]},
    {"weights/a": [0.8, 1.0], "weights/b": [0.2, 0.0]},
    {"weights/a": [0.2, 0.4], "weights/b": [0.8, 0.6]},
]


def test_a_walk_is_read_off_the_metrics() -> None:
    walk = Walk.of(METRICS, ("a", "b"), warmup=8, seed=0)
    assert walk.path == [[[0.5, 0.5], [0.8, 0.2], [0.2, 0.8]], [[1.0, 0.0], [1.0, 0.0], [0.4, 0.6]]]
    assert walk.warmup == 3  # no more than there are steps
    mean = torch.tensor(time_mean(walk))
    # (.5 + .8 + .2) / 3 ; (1 + 1 + .4) / 3
    torch.testing.assert_close(mean[:, 1], torch.tensor([[0.5, 0.5], [0.8, 0.2]]))
    assert bool((mean == mean[:, :1]).all())


def some_walk(seed: int = 3) -> Walk:
    generator = torch.Generator().manual_seed(seed)
    path = torch.rand(2, 40, 3, generator=generator, dtype=torch.float64) + 0.5
    path[0, 20:] = path[0, 20]  # one stays where it is
    return Walk(("a", "b", "c"), (path / path.sum(-1, keepdim=True)).tolist(), warmup=5, seed=seed)


def test_wandering_keeps_warm_up_and_step_lengths_and_stays_on_the_simplex() -> None:
    walk = some_walk()
    path = torch.tensor(wander(walk), dtype=torch.float64)
    assert torch.equal(path[:, :5], walk.tensor[:, :5]) and not torch.equal(path[:, 6], walk.tensor[:, 6])
    torch.testing.assert_close(path.sum(-1), torch.ones(2, 40, dtype=torch.float64))
    assert bool((path >= 0).all())
    lengths = [(x[:, 1:] - x[:, :-1]).norm(dim=-1) for x in (path, walk.tensor)]
    torch.testing.assert_close(*lengths)
    assert wander(walk) == wander(walk) != wander(replace(walk, seed=4))


def test_shuffling_keeps_warm_up_and_places() -> None:
    walk = some_walk()
    path = torch.tensor(shuffled(walk), dtype=torch.float64)
    assert torch.equal(path[:, :5], walk.tensor[:, :5]) and not torch.equal(path, walk.tensor)
    for member in range(2):
        places = [sorted(map(tuple, x[member, 5:].tolist())) for x in (path, walk.tensor)]
        assert places[0] == places[1]


def test_replayed_weights_move_with_the_steps_and_stay_at_the_end() -> None:
    nothing = torch.full((2,), torch.nan)
    controller = Replayed((((1.0, 0.0), (0.25, 0.75)),))
    state = controller.init(torch.tensor([[0.5, 0.5]]), Setting(("a", "b"), nothing, nothing, nothing, nothing))
    seen = []
    for _ in range(3):
        weights, gain = controller.weigh(state, None)  # type: ignore[arg-type]
        seen.append(weights.flatten().tolist())
        assert gain.tolist() == [1.0]
        state = controller.observe(state, None)  # type: ignore[arg-type]
    assert seen == [[1.0, 0.0], [0.25, 0.75], [0.25, 0.75]]


def test_keep_takes_at_most_so_many_points_by_hypervolume() -> None:
    # alone: .25, .16, .09; beside (.5, .5) the point (.8, .2) adds .3·.2 = .06 and (.3, .3) nothing
    points = torch.tensor([[0.5, 0.5], [0.3, 0.3], [0.8, 0.2]], dtype=torch.float64)
    assert keep(points, torch.zeros(2, dtype=torch.float64), 2) == [0, 2]
    assert keep(points, torch.zeros(2, dtype=torch.float64), 8) == [0, 1, 2]


# --- plan -----------------------------------------------------------------------------------------------------------


def test_every_arm_is_tuned_alike_and_has_its_seeds() -> None:
    every = list(plan.jobs())
    assert len(every) == len(set(every))
    for task in plan.TASKS:
        for arm in ARMS.values():
            runs = [job for job in every if (job.task, job.arm) == (task, arm.name)]
            assert len([job for job in runs if job.scale is not None]) == (0 if arm.tuned_as else len(plan.SCALES))
            seeds = {job.seed for job in runs if job.scale is None}
            assert len(seeds) == (plan.MORE_SEEDS if arm.name in plan.MORE else plan.SEEDS)
            assert plan.TUNING_SEED not in seeds and min(seeds) == plan.FIRST > 2  # not those things were chosen on
    assert {GUIDED, BASELINE, MEAN, WANDER} < set(plan.MORE)


def record(arm: str, seed: int, value: float, **changes: Any) -> Record:
    members = [
        Member("m00", "member", [1.0, 0.0], [0.1, 0.9], [value, 0.2], [0.01, 0.01]),
        Member("m01", "member", [0.0, 1.0], [0.9, 0.1], [0.2, value], [0.01, 0.01]),
    ]
    plain = Record(
        task="arithmetic", arm=arm, seed=seed, scale=1.0, smoke=False, objectives=["a", "b"], reference=[0.0, 0.0],
        members=members, kept=["m00", "m01"], hypervolume_dev=value, hypervolume=value, prompts={"dev": 4, "test": 4},
        tokens=100, reward_calls=10, rollouts=10, seconds=1.0, cpu_seconds=1.0, peak_mb=1.0,
        curve=[[5, value / 2], [10, value]], walk=None,
        made={"commit": "c", "date": "d", "machine": "m", "versions": {"torch": "1"}},
    )  # fmt: skip
    return replace(plain, **changes)


def test_a_run_waits_for_its_trials_and_a_control_for_the_run_it_follows(tmp_path: Path) -> None:
    def done(job: plan.Job, value: float) -> None:
        write(record(job.arm, job.seed, value, scale=job.scale or 1.0), tmp_path / job.file)

    job = plan.Job("arithmetic", MEAN, 0)
    assert plan.needs(job, tmp_path) == plan.trials("arithmetic", MEAN) + plan.trials("arithmetic", GUIDED)
    for arm in (MEAN, GUIDED):
        for trial, value in zip(plan.trials("arithmetic", arm), (0.2, 0.5, 0.3)):
            done(trial, value)
    assert plan.tuned("arithmetic", GUIDED, tmp_path) == plan.SCALES[1]
    assert plan.needs(job, tmp_path) == [plan.Job("arithmetic", GUIDED, 0)]
    done(plan.Job("arithmetic", GUIDED, 0), 0.4)
    assert plan.needs(job, tmp_path) == []
    trial = plan.Job("arithmetic", MEAN, plan.TUNING_SEED, 2.0)
    assert plan.followed(trial, tmp_path) == plan.Job("arithmetic", GUIDED, plan.TUNING_SEED, plan.SCALES[1])
    sweep = plan.Job("arithmetic", "linear-4x", 0)
    assert plan.needs(sweep, tmp_path) == plan.trials("arithmetic", BASELINE)  # the baseline's trials are its own


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    write(record(GUIDED, 0, 0.5), tmp_path / "arithmetic" / GUIDED / "seed-00.json")
    assert read(tmp_path / "arithmetic" / GUIDED / "seed-00.json") == record(GUIDED, 0, 0.5)


# --- statistics -----------------------------------------------------------------------------------------------------


def test_intervals_hold_the_estimate_and_need_three_seeds() -> None:
    values = [0.1, 0.5, 0.52, 0.55, 0.57, 0.6, 0.61, 0.9]
    found = interquartile_mean(values)
    assert found.value == pytest.approx((0.52 + 0.55 + 0.57 + 0.6) / 4)  # the middle half of eight
    assert found.low < found.value < found.high
    two = interquartile_mean([0.1, 0.2])
    assert two.low != two.low
    shifted = paired_difference([v + 0.1 for v in values], values)
    assert shifted.value == pytest.approx(0.1) and shifted.low == pytest.approx(0.1)


def test_sign_flips_are_exact_and_two_sided() -> None:
    # of 8 patterns of signs, +++ and --- are as far out as 1 + 2 + 3
    assert sign_flip([1.0, 2.0, 3.0]) == pytest.approx(2 / 8)
    assert sign_flip([1.0] * 10) == pytest.approx(2 / 1024)
    assert sign_flip([1.0, -1.0, 1.0, -1.0]) == sign_flip([1.0]) == 1.0


def test_probability_of_improvement_is_one_when_every_run_is_better() -> None:
    assert probability_of_improvement([3.0, 4.0, 5.0], [0.0, 1.0, 2.0]) == (1.0, 1.0, 1.0)
    assert probability_of_improvement([1.0] * 3, [1.0] * 3).value == 0.5


def test_measures_by_hand() -> None:
    run = record(GUIDED, 0, 0.8)
    assert measures.front_of(run).tolist() == [[0.8, 0.2], [0.2, 0.8]]
    assert measures.size(run) == 2
    assert measures.obedience(run) == pytest.approx(1.0)  # who wishes for more gets more
    assert measures.distance(run, torch.tensor([[0.9, 0.2]], dtype=torch.float64)) == pytest.approx(0.1)
    # E max(.8 w + .2 (1 - w), .2 w + .8 (1 - w)) = .2 + .6 E max(w, 1 - w) = .2 + .6 · .75
    assert measures.utility(run) == pytest.approx(0.65, abs=0.01)
    assert measures.rollouts_to(run, 0.4) == 5 and measures.rollouts_to(run, 0.9) == float("inf")
    noisy = replace(run, curve=[[5, 0.1], [10, 0.5], [15, 0.3], [20, 0.6]])
    assert measures.rollouts_to(noisy, 0.4) == 20  # at 10 it was there by chance
    tracked = [replace(m, tracked={"true": m.test[0] - 0.1}) for m in run.members]
    assert measures.flattered(replace(run, members=tracked), "a", "true") == pytest.approx(0.1)
    clone = replace(run.members[0], id="m00.1", preference=[0.0, 1.0])
    assert measures.obedience(replace(run, members=[*run.members, clone])) == pytest.approx(1.0)


def test_a_run_that_diverged_counts_nothing() -> None:
    run = record(GUIDED, 0, 0.0, members=[], kept=[], failed="every member has stopped")
    assert measures.front_of(run).shape == (0, 2) and measures.size(run) == 0 and measures.utility(run) == 0.0


# --- page -----------------------------------------------------------------------------------------------------------


def test_the_page_says_wins_and_losses_from_the_records(tmp_path: Path) -> None:
    root = tmp_path / "results"
    for seed in range(10, 20):
        for arm, value in ((GUIDED, 0.5 + seed / 100), (BASELINE, 0.4 + seed / 100), (MEAN, 0.6 + seed / 100)):
            write(record(arm, seed, value), root / "arithmetic" / arm / f"seed-{seed:02d}.json")
    for seed in range(10, 15):
        write(record(WANDER, seed, 0.1), root / "arithmetic" / WANDER / f"seed-{seed:02d}.json")
    text = page.write(root, tasks=["arithmetic"]).read_text(encoding="utf-8")
    assert "Nothing here is about pretrained models" in text.split("\n\n")[1]
    assert "**beats** fixed linear weights: +0.100" in text and "better on 10 of 10 paired seeds" in text
    assert "**loses to** its own weights' time-mean" in text and "-0.100 [-0.100, -0.100]" in text
    assert "**is not told apart from** random steps" in text  # five of five, but p = 0.0625
    assert "| gdpo | 0 | not run |" in text
    assert f"| {GUIDED} | 10 | 0.645 [" in text
    assert f"| {GUIDED} | 10 | 10 | 1.00 | 1.00 | 1.00 |" in text
    svg = (root / "hypervolume.svg").read_text(encoding="utf-8")
    assert svg.count("<circle") == 35


def test_a_page_of_smoke_runs_says_so(tmp_path: Path) -> None:
    root = tmp_path / "results"
    write(record(GUIDED, 0, 0.5, smoke=True), root / "arithmetic" / GUIDED / "seed-00.json")
    assert "their figures mean nothing" in page.write(root, tasks=["arithmetic"]).read_text(encoding="utf-8")


def test_figures_of_other_benchmarks_are_on_the_page_or_said_to_be_missing(tmp_path: Path) -> None:
    claim = {"name": "equal lengths", "ours": 0.5, "rival": 1.0, "ratio": 0.5, "unit": "s", "repeats": 9}
    (tmp_path / "step.json").write_text(json.dumps({"claims": [claim], "machine": "a core", "commit": "abc"}))
    text = speed(tmp_path)
    assert "a core; commit abc." in text and "| equal lengths | 0.5 | 1 | 0.5 | s | 9 |" in text
    assert "**soak**, thousands of steps: not measured." in text
    commands = {path.stem for path in Path(benchmarks.__path__[0]).glob("*.py")}
    assert {name.partition("-")[0] for name in COMMANDS} <= commands


def test_points_stand_apart_if_some_objective_does() -> None:
    # (.5, .2), (.2, .5) and a third .05 away from the first
    near = Member("m02", "member", [0.5, 0.5], [0.1, 0.1], [0.55, 0.22], [0.01, 0.01])
    one = record(GUIDED, 0, 0.5)
    three = replace(one, members=[*one.members, near], kept=["m00", "m01", "m02"])
    assert mechanisms.apart(one) == mechanisms.apart(three) == 2


def test_what_is_asked_for_is_looked_up_in_what_was_seen() -> None:
    run = record("ric", 0, 0.5)  # wishes (1, 0) and (0, 1): levels (9, 0) and (0, 9)
    assert mechanisms.asked(run).tolist() == [[9.0, 0.0], [0.0, 9.0]]
    assert mechanisms.seen_share(run, {"8,1": 3, "5,5": 1}) == 0.0  # of 3/4 and 0, the lower median
    assert mechanisms.seen_share(run, {"8,1": 1, "1,8": 3}) == 0.25
    floored = replace(run, arm="ric-floor")
    assert mechanisms.asked(floored)[0].tolist() == pytest.approx([9.0, 3.6])
