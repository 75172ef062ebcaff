"""The contract of an engine, and how one is found by name."""

from typing import Any, Protocol, runtime_checkable

from moalign.errors import ConfigError
from moalign.parts import build, imported
from moalign.records import Requests, Samples, Snapshot, Stream


@runtime_checkable
class Engine(Protocol):
    """What completes a policy's requests.

    A member's tokens depend on its name, its parameters, its requests and the stream, not on who is sampled beside
    it. `at` is a moment in the policy's past. Completions are request-major and right-padded with the policy's
    ``pad_id``; the first of its ``eos_ids`` ends one and counts. Log-probabilities are at the row's temperature, a
    greedy row's (temperature 0) at 1. An engine whose log-probabilities are the trainer's own says ``exact = True``.
    It may give ``problems(study)``: why it cannot sample for a study.
    """

    def generate(self, policy: Any, requests: Requests, *, stream: Stream, at: Snapshot | None = None) -> Samples: ...


def engine_of(given: Any) -> Engine:
    """Return the engine of that name or ``package.module:attribute``, or `given` if it is one.

    >>> engine_of("transformers")
    Transformers()
    >>> engine_of("transfomers")
    Traceback (most recent call last):
    moalign.errors.UnknownNameError: no engine is called `transfomers`; did you mean transformers?
    """
    found = given
    if isinstance(given, str):
        found = imported(given) if ":" in given else build("engine", given)
    if isinstance(found, type):
        found = found()
    if not isinstance(found, Engine):
        raise ConfigError(f"an engine is a name or an object with `generate`, got {given!r}.")
    return found
