"""Scoring split among processes that hold the same rows: each reward function sees every completion once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from moalign.mates import Mates
from moalign.objectives import Objective
from moalign.rewards.scorer import DEFAULT_TIMEOUT, Scorer, ScoreResult, is_count


class SharedScorer(Scorer):
    """Scores a stretch of each batch, completions of one prompt together, and is told the rest by the others."""

    def __init__(self, objectives: Sequence[Objective], mates: Mates, *, timeout: int | float = DEFAULT_TIMEOUT):
        super().__init__(objectives, timeout=timeout)
        self.mates = mates

    def score(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
        trainer_state: Any = None,
    ) -> ScoreResult:
        """Return the values of all objectives for all completions; see `Scorer.score`."""
        start, stop = stretch(prompts, self.mates.part, self.mates.parts)
        found = super().score(
            prompts[start:stop],
            completions[start:stop],
            None if completion_ids is None else completion_ids[start:stop],
            {name: column[start:stop] for name, column in (columns or {}).items()},
            trainer_state,
        )
        return joined([ScoreResult(**told) for told in self.mates.exchange(vars(found))])


def stretch(prompts: Sequence[Any], part: int, parts: int) -> tuple[int, int]:
    """Return from where to where a process scores; it ends where a prompt does.

    >>> [stretch("aaabbbcc", part, 3) for part in range(3)]
    [(0, 3), (3, 6), (6, 8)]
    """

    def end(at: int) -> int:
        while 0 < at < len(prompts) and prompts[at] == prompts[at - 1]:
            at += 1
        return at

    return end(part * len(prompts) // parts), end((part + 1) * len(prompts) // parts)


def joined(parts: Sequence[ScoreResult]) -> ScoreResult:
    """Return the results of consecutive stretches as one: timeouts are summed, other metrics averaged over rows."""
    rows = [len(part.values) for part in parts]
    metrics: dict[str, float] = {}
    for name in dict.fromkeys(name for part in parts for name in part.metrics):
        said = [(part.metrics[name], count) for part, count in zip(parts, rows) if name in part.metrics]
        if is_count(name):
            metrics[name] = sum(value for value, _ in said)
        else:
            metrics[name] = sum(value * count for value, count in said) / max(sum(count for _, count in said), 1)
    extras = {
        name: [value for part, count in zip(parts, rows) for value in part.extras.get(name, [None] * count)]
        for name in dict.fromkeys(name for part in parts for name in part.extras)
    }
    values, valid = torch.cat([part.values for part in parts]), torch.cat([part.valid for part in parts])
    return replace(parts[0], values=values, valid=valid, metrics=metrics, extras=extras)
