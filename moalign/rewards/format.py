"""Does the completion have the form that was asked for?"""

import re
from collections.abc import Sequence
from typing import Any

from moalign.errors import ConfigError
from moalign.parts import Bound, bind
from moalign.rewards.texts import text_of


def matches(pattern: str) -> Bound:
    r"""Return a reward: 1 where the regular expression is found in the completion, else 0.

    Anchor it with ``\A`` and ``\Z``, and start it with ``(?s)`` for a dot that crosses lines. Python's engine can
    take exponential time on nested repeats and cannot be interrupted: give such a pattern `isolate=True`.

    >>> matches(r"\A<think>.*</think>\d+\Z")(completions=["<think>2+2</think>4", "4"])
    [1.0, 0.0]
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"`pattern` {pattern!r} is not a regular expression: {error}.") from error
    return bind(found, pattern=pattern)


def found(completions: Sequence[Any], *, pattern: str, **columns: Any) -> list[float]:
    """Search each completion for a pattern; see `matches`."""
    compiled = re.compile(pattern)
    return [float(compiled.search(text_of(completion)) is not None) for completion in completions]
