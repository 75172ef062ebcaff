"""Completions cut into segments at delimiters, so that credit can tell one span of a completion from another."""

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Any

import torch

from moalign.parts import look_up_names, part, register
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.collect import Sample


@register("collector", "segmented", paper="surana2026fgrpo", test="tests/rollouts/test_segmented.py::test_cuts_by_hand")
@dataclass(frozen=True)
class Segmented:
    """Collect with `inner` and number the tokens' segments: 0 to the first of the `delimiters`, 1 to the second, …

    Delimiters are looked for in their order, each after the one before, in the text that rewards see; where one is
    missing the segment goes on to the end. A delimiter belongs to the segment it closes; a token that holds its end
    and more opens the next one, and so does the end token behind it. `segment_names` are what credit calls the
    segments. Tokens are decoded from the first one on, because a piece of a word or of a character may read otherwise
    alone. Two spans of one completion, each with its reward: Surana et al. 2026, arXiv:2605.12995.
    """

    inner: Any = part("collector", Sample())
    delimiters: tuple[str, ...] = ("#",)
    segment_names: tuple[str, ...] = ("before", "after")

    def __post_init__(self) -> None:
        look_up_names(self)

    @property
    def columns(self) -> tuple[str, ...]:
        return getattr(self.inner, "columns", ())  # of the data; checked before training

    def problems(self, recipe: Any) -> list[str]:
        found = self.inner.problems(recipe) if hasattr(self.inner, "problems") else []
        texts, names = self.delimiters, self.segment_names
        if isinstance(texts, str) or not all(texts) or not len(texts) + 1 == len(names) == len(set(names)):
            found.append(f"`delimiters` are texts, `segment_names` one name more; got {texts!r} and {names!r}.")
        return found

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        rows, state = self.inner(policy, env, state, now)
        lines = [line[:n] for line, n in zip(rows.tokens.tolist(), rows.completion_mask.sum(1).tolist())]
        starts = torch.tensor([self._starts(line, env) for line in lines]).reshape(len(rows), 1, len(self.delimiters))
        segments = (torch.arange(rows.tokens.shape[1])[:, None] >= starts).sum(2).to(rows.tokens.device)
        return replace(rows, segments=segments, segment_names=tuple(self.segment_names)), state

    def _starts(self, tokens: list[int], env: Environment) -> list[int]:
        text, head, starts = env.decode([tokens])[0], "", [1 << 62] * len(self.delimiters)
        for i, delimiter in enumerate(self.delimiters):
            if (at := text.find(delimiter, len(head))) < 0:
                break
            head = text[: at + len(delimiter)]
            holds = lambda n, head=head: env.decode([tokens[:n]])[0].startswith(head)  # noqa: E731
            count = bisect_left(range(len(tokens)), True, key=holds)
            starts[i] = count - (env.decode([tokens[:count]])[0] != head)
        return starts
