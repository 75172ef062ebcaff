"""What a person and their trackers see while a study runs: a bar with the hypervolume, callbacks, logs."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.progress import Progress as Bar

from moalign.errors import ConfigError
from moalign.fronts import Front
from moalign.runs import RunDirectory
from moalign.study._lines import progress_bars

if TYPE_CHECKING:
    from moalign.study._study import Study

log = logging.getLogger("moalign")
HISTORY = 100  # of the latest records that callbacks find in `state.log_history`


class Progress:
    """A progress bar for each stage, and the `transformers.TrainerCallback` events of training."""

    def __init__(
        self,
        study: "Study",
        directory: RunDirectory,
        *,
        report_to: str | Sequence[str],
        callbacks: Sequence[Any],
        on_step: Callable[[dict[str, Any]], None] | None,
    ):
        self.study = study
        self.on_step = on_step
        self.bar = progress_bars() if on_step is None else Bar(disable=True)
        self.events = events(study, directory, report_to=report_to, callbacks=callbacks)
        self.task: Any = None
        self.stage = "training"

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()
        if self.events is not None:
            self.events.end()

    def training(self, start: int, total: int) -> None:
        self.task = self.bar.add_task(f"{self.study.name}: training", total=total, completed=start, note="")
        if self.events is not None:
            self.events.begin(start, total)

    def step(self, record: dict[str, Any]) -> None:
        curve = record.get("pareto/hypervolume")
        note = f"hypervolume {curve:.4f}" if curve is not None else ""
        self.bar.update(self.task, advance=1, note=note)
        if self.on_step is not None:
            self.on_step(record)
        if self.events is not None:
            self.events.step(record)

    def saved(self, step: int) -> None:
        if self.events is not None:
            self.events.saved()

    def valuing(self, split: str) -> None:
        self.stage = f"{split} prompts"
        self.task = self.bar.add_task(f"{self.study.name}: {self.stage}", total=self.study.eval_prompts, note="")

    def valued(self, done: int, total: int) -> None:
        self.bar.update(self.task, completed=done, total=total)
        if self.on_step is not None:
            self.on_step({"stage": self.stage, "done": done, "total": total})

    def valued_all(self, front: Front) -> None:
        if self.events is not None:
            self.events.valued(front)


def events(
    study: "Study", directory: RunDirectory, *, report_to: str | Sequence[str], callbacks: Sequence[Any]
) -> "Events | None":
    """Return the callbacks of the named trackers and the user's own; None when there are none."""
    names = [report_to] if isinstance(report_to, str) else list(report_to)
    names = [name for name in names if name != "none"]
    if not names and not callbacks:
        return None
    return Events(study, directory, names, callbacks)


class Events:
    """Drive `TrainerCallback`s: on_train_begin, on_step_end, on_log, on_save, on_evaluate and on_train_end.

    They watch: what they set in `control` is not read.
    """

    def __init__(self, study: "Study", directory: RunDirectory, names: list[str], callbacks: Sequence[Any]):
        from transformers import TrainerControl, TrainerState, TrainingArguments
        from transformers.integrations.integration_utils import get_reporting_integration_callbacks
        from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback

        self.arguments = TrainingArguments(
            output_dir=str(directory.path),
            run_name=study.name,
            report_to=names or "none",
            use_cpu=True,
            seed=study.seed,
        )
        self.state, self.control = TrainerState(), TrainerControl()
        try:
            trackers = [tracker() for tracker in get_reporting_integration_callbacks(names)]
        except (ValueError, RuntimeError, ImportError) as error:  # unknown, or not installed
            raise ConfigError(f"`report_to` {', '.join(names)}: {error}") from error
        everyone = [DefaultFlowCallback, *trackers, *callbacks]
        self.handler = CallbackHandler(everyone, None, study.processing_class, None, None)
        self.begun = False

    def begin(self, start: int, total: int) -> None:
        self.begun = True
        self.state.global_step, self.state.max_steps = start, total
        self.handler.on_train_begin(self.arguments, self.state, self.control)

    def step(self, record: dict[str, Any]) -> None:
        self.state.global_step = int(record["step"]) + 1
        self.handler.on_step_end(self.arguments, self.state, self.control)
        logs = flat(record)
        self.state.log_history.append({**logs, "step": self.state.global_step})
        del self.state.log_history[:-HISTORY]  # all of it is in metrics.jsonl; a long run must not grow
        self.handler.on_log(self.arguments, self.state, self.control, logs)

    def saved(self) -> None:
        self.handler.on_save(self.arguments, self.state, self.control)

    def valued(self, front: Front) -> None:
        """Report what the front is worth: its hypervolume, and the best value of each objective."""
        metrics: dict[str, float] = {"eval_points": float(len(front)), "eval_hypervolume": front.hypervolume().value}
        for o in front.objectives:
            known = [p.values[o.name] for p in front if not math.isnan(p.values[o.name])]
            if known:
                metrics[f"eval_{o.name}"] = max(known) if o.maximize else min(known)
        self.handler.on_evaluate(self.arguments, self.state, self.control, metrics)
        self.handler.on_log(self.arguments, self.state, self.control, metrics)

    def end(self) -> None:
        if self.begun:
            self.handler.on_train_end(self.arguments, self.state, self.control)


def flat(record: dict[str, Any]) -> dict[str, float]:
    """Return one number per name: per-member lists become ``name/member``.

    >>> flat({"step": 3, "members": ["m00", "m01"], "loss": [0.5, None], "seconds": 1.0})
    {'loss/m00': 0.5, 'seconds': 1.0}
    """
    members = record["members"]
    numbers: dict[str, float] = {}
    for name, value in record.items():
        if name in ("step", "members"):
            continue
        if isinstance(value, list):
            numbers |= {f"{name}/{m}": v for m, v in zip(members, value) if isinstance(v, int | float)}
        elif isinstance(value, int | float):
            numbers[name] = value
    return numbers
