"""Score completions by all objectives at once: functions in threads, coroutines in one loop, hangs cut off."""

import concurrent.futures
import logging
import os
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.errors import ConfigError, RewardError
from moalign.objectives import Objective
from moalign.rewards.calling import TrainerState, is_async, prepare, wanted
from moalign.rewards.checking import as_numbers
from moalign.rewards.isolated import InProcess
from moalign.rewards.running import Answer, InLoop, InThread, Loop, Runner
from moalign.rewards.sources import resolve
from moalign.rewards.texts import as_completion

DEFAULT_TIMEOUT = 120.0  # seconds per batch
PATIENCE = 3  # timeouts in a row after which training stops

log = logging.getLogger("moalign")


def is_count(metric: str) -> bool:
    """Tell whether a metric is summed over batches and processes; others are averaged over rows.

    >>> is_count("timeouts/length"), is_count("valid_fraction/length")
    (True, False)
    """
    return metric.startswith("timeouts/")


@dataclass(frozen=True)
class ScoreResult:
    """What the objectives gave for one batch, each in its own sign."""

    values: Float[Tensor, "row objective"]  # 0 where not valid
    valid: Bool[Tensor, "row objective"]
    metrics: dict[str, float] = field(default_factory=dict)  # valid_fraction/<name>, timeouts/<name>, log_metric's
    extras: dict[str, list[Any]] = field(default_factory=dict)  # log_extra's columns, one value per row


@dataclass
class _Call:
    """One reward function and the objectives that read its result."""

    objectives: list[Objective]
    runner: Runner
    timeout: float
    late: int = 0  # timeouts in a row

    @property
    def title(self) -> str:
        return ", ".join(f"`{o.name}`" for o in self.objectives)


class Scorer:
    """Calls each reward function once per batch, all at the same time, and checks what comes back.

    Functions are TRL's: keywords ``prompts``, ``completions``, ``completion_ids``, every column of the data set,
    ``trainer_state``, ``log_extra`` and ``log_metric``, those that the signature names. `timeout` holds for objectives
    that set none. The scorer may hold processes: `close` it, or use it in a ``with`` statement.

    >>> def length(completions, **columns): return [len(text) for text in completions]
    >>> with Scorer([Objective("length", length, maximize=False)]) as scorer:
    ...     scorer.score(["a", "b"], ["xx", "xxxx"]).values
    tensor([[2.],
            [4.]])
    """

    def __init__(self, objectives: Sequence[Objective], *, timeout: int | float = DEFAULT_TIMEOUT):
        self.objectives = tuple(objectives)
        self.names = tuple(o.name for o in self.objectives)
        self._loop: Loop | None = None
        self._columns: dict[str, list[str]] = {}  # what each objective cannot do without
        groups: dict[Any, list[Objective]] = {}
        for o in self.objectives:
            if o.reward is None:
                raise ConfigError(f"objective `{o.name}` has no `reward`; pass a function or a string that names one.")
            groups.setdefault(o.reward if isinstance(o.reward, str) else id(o.reward), []).append(o)
        self._calls = [self._make(group, timeout) for group in groups.values()]

    def _make(self, group: list[Objective], default: float) -> _Call:
        timeout = min((o.timeout for o in group if o.timeout is not None), default=default)
        if any(o.isolate for o in group):
            if callable(group[0].reward):  # a string is only resolved over there
                self._columns |= {o.name: wanted(group[0].reward) for o in group}
            return _Call(group, InProcess(group[0].reward, group[0].name, timeout), timeout)
        fn = resolve(group[0].reward)
        prepare(fn)
        self._columns |= {o.name: wanted(fn) for o in group}
        if not is_async(fn):
            return _Call(group, InThread(fn), timeout)
        if self._loop is None:
            self._loop = Loop()
        return _Call(group, InLoop(fn, self._loop), timeout)

    def problems(self, columns: Sequence[str]) -> list[str]:
        """Return one sentence for each column of the data set that a reward needs and `columns` does not have."""
        return [
            f"the reward of objective `{name}` asks for the column `{column}`; the data has: {', '.join(columns)}."
            for name, needed in self._columns.items()
            for column in needed
            if column not in columns
        ]

    def score(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
        trainer_state: Any = None,
    ) -> ScoreResult:
        """Return the values of all objectives for prompts (text or chat) and the text of their completions."""
        arguments = {
            **{name: list(column) for name, column in (columns or {}).items() if name not in ("prompt", "completion")},
            "prompts": list(prompts),
            "completions": [as_completion(p, c) for p, c in zip(prompts, completions, strict=True)],
            "completion_ids": [list(ids) for ids in completion_ids or [[]] * len(prompts)],
            "trainer_state": TrainerState() if trainer_state is None else trainer_state,
        }
        table: dict[str, list[float]] = {}
        metrics: dict[str, float] = {}
        extras: dict[str, list[Any]] = {}
        for one, answer in zip(self._calls, self._answers(arguments)):
            if len(prompts):
                self._count(one, answer, metrics)
            for o in one.objectives:
                given = [None] * len(prompts) if answer is None else answer[0]
                table[o.name] = as_numbers(o.name, given, completions)
            if answer is not None:
                notes = answer[1]
                metrics |= {name: sum(values) / len(values) for name, values in notes.metrics.items()}
                for column, values in notes.extras.items():
                    if len(values) != len(prompts):
                        raise RewardError(
                            f"objective {one.title}: log_extra({column!r}) got {len(values)} values "
                            f"for {len(prompts)} completions; pass one per completion."
                        )
                    extras[column] = values
        raw = torch.tensor([table[name] for name in self.names], dtype=torch.float32).T.contiguous()
        valid = ~raw.isnan()
        if len(prompts):
            metrics |= {f"valid_fraction/{n}": float(valid[:, i].float().mean()) for i, n in enumerate(self.names)}
        return ScoreResult(torch.where(valid, raw, 0.0), valid, metrics, extras)

    def _answers(self, arguments: Mapping[str, Any]) -> list[Answer | None]:
        """Run all functions together; None where one took too long."""
        if not arguments["prompts"]:
            return [None] * len(self._calls)
        for one in self._calls:
            one.runner.prepare()
        started = time.monotonic()
        futures = [one.runner.submit(arguments) for one in self._calls]
        answers: list[Answer | None] = []
        try:
            for one, future in zip(self._calls, futures):
                concurrent.futures.wait([future], timeout=max(0.0, started + one.timeout - time.monotonic()))
                if not future.done():
                    answers.append(None)
                    continue
                error = future.exception()
                if error is not None:
                    raise RewardError(
                        f"objective {one.title}: the reward raised {type(error).__name__}: {error}{_place(error)} "
                        f"on a batch of {len(arguments['prompts'])} completions."
                    ) from error
                answers.append(future.result())
        finally:
            for one, future in zip(self._calls, futures):
                if not future.done():
                    one.runner.abandon(future)
        return answers

    def _count(self, one: _Call, answer: Answer | None, metrics: dict[str, float]) -> None:
        one.late = one.late + 1 if answer is None else 0
        if answer is None:
            log.warning("the reward of objective %s took more than %g seconds; its values are missing for this batch",
                        one.title, one.timeout)  # fmt: skip
        metrics |= {f"timeouts/{o.name}": float(answer is None) for o in one.objectives}
        if one.late >= PATIENCE:
            raise RewardError(
                f"objective {one.title}: the reward took more than {one.timeout:g} seconds {PATIENCE} times in a row; "
                "raise `timeout`, or set `isolate=True` if it can hang."
            )

    def close(self) -> None:
        """End the processes and the event loop."""
        for one in self._calls:
            one.runner.close()
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _place(error: BaseException) -> str:
    """Return where an error was raised, the last place outside installed packages."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"moalign{os.sep}rewards" not in f.filename]
    own = [f for f in frames if "site-packages" not in f.filename] or frames
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
