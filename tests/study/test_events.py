"""What callbacks and trackers are told."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from moalign import Study, load
from moalign.errors import ConfigError

Make = Callable[..., Study]


class Listener(TrainerCallback):
    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.logs: list[dict[str, float]] = []
        self.metrics: dict[str, float] = {}
        self.at_save: list[bool] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert state.max_steps == 3 and state.is_world_process_zero
        self.heard.append(("begin", state.global_step))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.heard.append(("step", state.global_step))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.logs.append(logs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.heard.append(("save", state.global_step))
        self.at_save.append((Path(args.output_dir) / "checkpoints" / f"step-{state.global_step:06d}").is_dir())

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        self.heard.append(("evaluate", state.global_step))
        self.metrics = metrics

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.heard.append(("end", state.global_step))


def test_a_callback_hears_everything_in_order(tiny_study: Make, runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    with caplog.at_level(logging.WARNING):
        front = tiny_study().run(runs / "tiny", callbacks=[listener])
    assert listener.heard == [
        ("begin", 0), ("step", 1), ("step", 2), ("save", 2), ("step", 3), ("save", 3), ("evaluate", 3), ("end", 3),
    ]  # fmt: skip
    assert listener.at_save == [True, True]  # what it is told of is on disk
    assert listener.logs[0]["rewards/digits/mean/m00"] > 0 and "step" not in listener.logs[0]
    assert len(listener.logs) == 3 + 1
    assert listener.metrics["eval_hypervolume"] == front.hypervolume().value
    assert listener.metrics["eval_digits"] == max(point.values["digits"] for point in front)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_a_resumed_run_begins_where_it_was(tiny_study: Make, runs: Path) -> None:
    def stop(record: dict[str, Any]) -> None:
        if record.get("step") == 2:
            raise KeyboardInterrupt

    first, second = Listener(), Listener()
    with pytest.raises(KeyboardInterrupt):
        tiny_study().run(runs / "tiny", callbacks=[first], on_step=stop)
    assert first.heard[-1][0] == "end"  # trackers close also when a run breaks off
    tiny_study().run(runs / "tiny", callbacks=[second])
    assert second.heard[:2] == [("begin", 2), ("step", 3)]


def test_tensorboard_files_lie_in_the_run(tiny_study: Make, runs: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tiny_study().run(runs / "tiny", report_to="tensorboard")
    [file] = (runs / "tiny").rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file.parent))
    events.Reload()
    curve = [(e.step, e.value) for e in events.Scalars("train/pareto/hypervolume")]
    recorded = load(runs / "tiny").metrics().groupby("step")["pareto/hypervolume"].first()
    assert [step for step, _ in curve] == [1, 2, 3]
    assert [value for _, value in curve] == pytest.approx(list(recorded), rel=1e-5)
    assert "eval/hypervolume" in events.Tags()["scalars"]


def test_an_unknown_tracker_is_refused_before_training(tiny_study: Make, runs: Path) -> None:
    with pytest.raises(ConfigError, match="`report_to` tensorbord"):
        tiny_study().run(runs / "tiny", report_to="tensorbord")
    assert not (runs / "tiny" / "metrics.jsonl").exists()
