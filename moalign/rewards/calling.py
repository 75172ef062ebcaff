"""How one reward function is called: TRL's keywords, filtered by its signature, and what it logs on the side."""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moalign.errors import RewardError
from moalign.parts import Bound

GIVEN = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
"""What every reward function may ask for besides the data set's columns."""


@dataclass(frozen=True)
class TrainerState:
    """Where training stands, under the names of transformers' object; light enough to go to another process."""

    global_step: int = 0
    max_steps: int = 0  # 0: not known


@dataclass
class Notes:
    """What a reward function logged during one call, through TRL's two callbacks."""

    extras: dict[str, list[Any]] = field(default_factory=dict)
    metrics: dict[str, list[float]] = field(default_factory=dict)

    def log_extra(self, column: str, values: Sequence[Any]) -> None:
        """Add a column, one value per completion, to the table of completions."""
        self.extras[column] = list(values)

    def log_metric(self, name: str, value: float) -> None:
        """Add a number to a metric, which is averaged over the calls."""
        self.metrics.setdefault(name, []).append(float(value))


def is_async(fn: Callable[..., Any]) -> bool:
    """Tell whether calling `fn` gives a coroutine."""
    fn = fn.fn if isinstance(fn, Bound) else fn
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def accepted(fn: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `arguments` that `fn` takes; a function with ``**kwargs`` takes all.

    >>> accepted(lambda completions, answer: 0, {"completions": ["a"], "answer": ["b"], "level": [1]})
    {'completions': ['a'], 'answer': ['b']}
    """
    free, parameters = _parameters(fn)
    if parameters is None:
        return dict(arguments)
    fixed = dict(fn.options) if isinstance(fn, Bound) else {}  # a column must not overwrite a bound option
    missing = [name for name, required in parameters.items() if required and name not in arguments]
    if missing:
        raise RewardError(f"it asks for `{missing[0]}`, but there is: {', '.join(sorted(arguments))}")
    return {name: value for name, value in arguments.items() if (free or name in parameters) and name not in fixed}


def wanted(fn: Callable[..., Any]) -> list[str]:
    """Return the columns of the data set that `fn` cannot do without.

    They are its required parameters, what its option `column` names, and those in an attribute `columns`.
    """
    parameters = _parameters(fn)[1] or {}
    named = [str(value) for name, value in fn.options if name == "column"] if isinstance(fn, Bound) else []
    named += [str(name) for name in getattr(fn, "columns", ())]
    return named + [name for name, required in parameters.items() if required and name not in GIVEN]


def _parameters(fn: Callable[..., Any]) -> tuple[bool, dict[str, bool] | None]:
    """Whether `fn` takes any keyword, and its named parameters (True: required); None if it cannot be inspected."""
    bound = dict(fn.options) if isinstance(fn, Bound) else {}
    try:
        parameters = inspect.signature(fn.fn if isinstance(fn, Bound) else fn).parameters.values()
    except (ValueError, TypeError):  # some callables written in C have no signature
        return True, None
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    free = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return free, {p.name: p.default is p.empty and p.name not in bound for p in named}


def prepare(reward: Any) -> None:
    """Let a reward that has a method `prepare` load what it needs, before any call and its timeout."""
    ready = getattr(reward, "prepare", None)
    if callable(ready):
        ready()


def call(fn: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[Any, Notes]:
    """Call a reward function here and now, an ``async def`` one in an event loop of its own."""
    notes = Notes()
    output = fn(**accepted(fn, with_notes(arguments, notes)))
    return plain(asyncio.run(output) if inspect.iscoroutine(output) else output), notes


async def call_async(fn: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[Any, Notes]:
    """Await an ``async def`` reward function."""
    notes = Notes()
    return plain(await fn(**accepted(fn, with_notes(arguments, notes)))), notes


def with_notes(arguments: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    return {**arguments, "log_extra": notes.log_extra, "log_metric": notes.log_metric}


def plain(output: Any) -> Any:
    """Turn tensors and arrays into lists, also as the values of a dict: what is left can go between processes."""
    if isinstance(output, Mapping):
        return {name: plain(value) for name, value in output.items()}
    return output.tolist() if hasattr(output, "tolist") else output
