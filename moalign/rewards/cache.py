"""What a reward once said about a completion, kept: in memory with a bound, and in a file that processes share."""

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from moalign.errors import ConfigError, RewardError
from moalign.parts import register
from moalign.rewards.calling import accepted, call, prepare, wanted
from moalign.rewards.identity import identity
from moalign.rewards.sources import ADDRESS, resolve

PATIENCE = 30.0  # seconds to wait for another process that writes


@register("reward", "cached", test="tests/rewards/test_cache.py::test_equal_content_is_scored_once")
@dataclass(frozen=True)
class Cached:
    """A reward that is asked once about each prompt, completion and columns it reads, and then remembered.

    For rewards that look at one completion at a time: those that compare a group, or read `trainer_state` (which is
    not passed on), must not be wrapped. The columns it reads are those its signature names, or all that there are where
    it takes ``**columns``; name them in `reads` to leave the others out of the key. `size` values are kept in memory,
    those not asked for the longest going first; with a `path` all are kept in that SQLite file too, under the reward's
    identity: its options, a function's source, a model's parameters. Where the identity cannot be known (a closure, an
    object of a class that is no dataclass), a file needs a `version` to tell it from others. A missing value is asked
    for again each time, so a timeout is never remembered. Logs ``<name>/hits``, the share that was known.

    >>> asked = []
    >>> def slow(completions, **columns): asked.extend(completions); return [float(len(text)) for text in completions]
    >>> reward = Cached(slow)
    >>> reward(completions=["a", "bb", "a"]), reward(completions=["bb"]), asked
    ([1.0, 2.0, 1.0], [2.0], ['a', 'bb'])
    """

    reward: Any
    path: str | Path | None = None
    size: int = 100_000
    reads: tuple[str, ...] | None = None  # columns; None: all that the reward takes
    version: str = ""
    name: str = "cache"

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ConfigError(f"`size` of a cache must be at least 0, not {self.size}.")
        if self.path is not None and not self.version and not isinstance(self.reward, str):
            identity(self.reward)  # refuses now what could not be told apart later

    @property
    def columns(self) -> tuple[str, ...]:
        if isinstance(self.reward, str) and not ADDRESS.fullmatch(self.reward):
            return ()  # a model is not loaded for this
        return tuple(wanted(resolve(self.reward)))

    @cached_property
    def inner(self) -> Callable[..., Any]:
        """The function behind the reward, its model loaded."""
        return resolve(self.reward)

    @cached_property
    def _identity(self) -> str:
        told = "" if self.path is None else self.version or identity(self.inner)
        return json.dumps([told, self.version])

    @cached_property
    def _memory(self) -> "_Memory":
        return _Memory(self.size)

    def prepare(self) -> None:
        prepare(self.inner)
        _ = self._identity, self._memory  # made here, once, not by two threads at the same time

    def __call__(self, completions: Sequence[Any], **arguments: Any) -> Any:
        given = {"completions": completions, **arguments}
        callbacks = {name: given.pop(name, None) for name in ("log_metric", "log_extra")}
        given.pop("trainer_state", None)
        keys = self._keys(accepted(self.inner, {**given, **dict.fromkeys(callbacks)}), len(completions))
        known = self._known(keys)
        first: dict[bytes, int] = {}  # equal content in one batch is asked for once
        for i, key in enumerate(keys):
            if key not in known:
                first.setdefault(key, i)
        if callbacks["log_metric"] and keys:
            callbacks["log_metric"](f"{self.name}/hits", 1 - len(first) / len(keys))
        fresh = dict(zip(first, self._ask(given, list(first.values()), callbacks))) if first else {}
        self._keep({key: value for key, value in fresh.items() if _whole(value)})
        told = [known[key] if key in known else fresh[key] for key in keys]
        names = next((list(value) for value in told if isinstance(value, Mapping)), None)
        return told if names is None else {name: [value[name] for value in told] for name in names}

    def _keys(self, arguments: Mapping[str, Any], rows: int) -> list[bytes]:
        read = {
            name: column
            for name, column in arguments.items()
            if name in ("prompts", "completions")
            or ((self.reads is None or name in self.reads) and name not in ("log_metric", "log_extra"))
        }
        names = sorted(read)
        return [self._key({name: read[name][i] for name in names}) for i in range(rows)]

    def _key(self, content: Mapping[str, Any]) -> bytes:
        text = json.dumps([self._identity, content], sort_keys=True, default=_as_json)
        return hashlib.sha256(text.encode()).digest()

    def _ask(self, given: Mapping[str, Any], rows: list[int], callbacks: Mapping[str, Any]) -> list[Any]:
        """Return what the reward says of these rows; what it logs of them is spread over the whole batch."""
        total = len(given["completions"])
        some = {name: [column[i] for i in rows] for name, column in given.items()}
        output, notes = call(self.inner, some)
        for name, numbers in notes.metrics.items() if callbacks["log_metric"] else ():
            for number in numbers:
                callbacks["log_metric"](name, number)
        for name, values in notes.extras.items() if callbacks["log_extra"] else ():
            spread = dict(zip(rows, values))
            callbacks["log_extra"](name, [spread.get(i) for i in range(total)])
        columns = output if isinstance(output, Mapping) else {"": output}
        for column in columns.values():
            if isinstance(column, str) or not isinstance(column, Sequence) or len(column) != len(rows):
                raise RewardError(f"a cached reward must return one value per completion, {len(rows)} here")
        if isinstance(output, Mapping):
            return [dict(zip(output, values)) for values in zip(*output.values())]
        return list(output)

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        found = self._memory.read(keys)
        lacking = [key for key in dict.fromkeys(keys) if key not in found]
        if self.path is not None and lacking:
            with _opened(self.path) as file:
                for key in lacking:
                    line = file.execute("SELECT value FROM said WHERE key = ?", (key,)).fetchone()
                    if line is not None:
                        found[key] = json.loads(line[0])
            self._memory.write({key: found[key] for key in lacking if key in found})
        return found

    def _keep(self, values: Mapping[bytes, Any]) -> None:
        self._memory.write(values)
        if self.path is not None and values:
            lines = [(key, json.dumps(_numbers(value))) for key, value in values.items()]
            with _opened(self.path) as file:
                file.executemany("INSERT OR IGNORE INTO said VALUES (?, ?)", lines)


class _Memory:
    """At most `size` values; those not read or written for the longest go first. Several threads may use it."""

    def __init__(self, size: int):
        self.size, self.values, self.lock = size, OrderedDict[bytes, Any](), threading.Lock()

    def read(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        with self.lock:
            found = {key: self.values[key] for key in keys if key in self.values}
            for key in found:
                self.values.move_to_end(key)
            return found

    def write(self, values: Mapping[bytes, Any]) -> None:
        with self.lock:
            for key, value in values.items():
                self.values[key] = value
                self.values.move_to_end(key)
            while len(self.values) > self.size:
                self.values.popitem(last=False)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[sqlite3.Connection]:
    """Open the file for one batch: a connection may not be shared by threads, nor outlive a fork."""
    path = Path(path).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE)) as file, file:
            file.execute("CREATE TABLE IF NOT EXISTS said (key BLOB PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
            yield file
    except (sqlite3.Error, OSError) as error:
        raise RewardError(f"the cache `{path}` cannot be used: {error}; delete it, or name another `path`") from error


def _whole(value: Any) -> bool:
    values = value.values() if isinstance(value, Mapping) else [value]
    return all(v is not None and v == v for v in values)  # NaN is missing too


def _numbers(value: Any) -> Any:
    return {name: float(v) for name, v in value.items()} if isinstance(value, Mapping) else float(value)


def _as_json(value: Any) -> Any:
    if hasattr(value, "tolist"):  # tensors, arrays, NumPy's numbers
        return value.tolist()
    if hasattr(value, "isoformat"):  # dates
        return value.isoformat()
    raise RewardError(f"a {type(value).__name__} cannot be part of a cache's key; leave its column out by `reads`")
