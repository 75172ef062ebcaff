"""The completions of one prompt within a batch, for rewards that compare them."""

from collections.abc import Sequence
from typing import Any

from moalign.errors import ConfigError


def groups_of(prompts: Sequence[Any], num_generations: int | None = None) -> list[range]:
    """Return the stretches of consecutive completions of one prompt, cut after every `num_generations` of them.

    A batch holds a member's prompts one after the other, so a stretch is one member's group. Only where a step has a
    single prompt do the members' groups touch; `num_generations` then tells them apart.

    >>> groups_of(["a", "a", "b", "a"]), groups_of("aaaa", 2)
    ([range(0, 2), range(2, 3), range(3, 4)], [range(0, 2), range(2, 4)])
    """
    groups: list[range] = []
    start = 0
    for at in range(1, len(prompts) + 1):
        if at == len(prompts) or prompts[at] != prompts[start] or at - start == num_generations:
            groups.append(range(start, at))
            start = at
    return groups


def check_group(num_generations: int | None) -> None:
    """Raise `ConfigError` for a group of no completions."""
    if num_generations is not None and num_generations < 1:
        raise ConfigError(f"`num_generations` must be at least 1, or None, got {num_generations}.")
