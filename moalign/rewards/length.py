"""Length in tokens, as a cost or as a reward; the end token counts."""

from collections.abc import Sequence
from typing import Any

from moalign.errors import ConfigError
from moalign.parts import Bound, bind


def token_count(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
    """Return the number of tokens of each completion; use it with `maximize=False`.

    >>> token_count([[5, 6, 1], [1]])
    [3.0, 1.0]
    """
    return [float(len(ids)) for ids in completion_ids]


def brevity(max_tokens: int) -> Bound:
    """Return a reward: 1 for an empty completion, falling in a line to 0 at `max_tokens`, and below 0 past it.

    >>> brevity(4)(completion_ids=[[5, 6, 1], [1]])
    [0.25, 0.75]
    """
    if max_tokens <= 0:
        raise ConfigError(f"`max_tokens` must be above 0, not {max_tokens}.")
    return bind(tokens_left, max_tokens=max_tokens)


def tokens_left(completion_ids: Sequence[Sequence[int]], *, max_tokens: int, **columns: Any) -> list[float]:
    """Return the share of `max_tokens` that each completion did not use; see `brevity`."""
    return [1.0 - len(ids) / max_tokens for ids in completion_ids]
