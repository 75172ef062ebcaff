"""A length reward with a memory: how a completion compares with the shortest right one its member has ever found."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import check_names, look_up_names, part, register
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.collect import Sample


@register(
    "collector",
    "hapo",
    paper="huang2025hapo",
    test="tests/rollouts/test_hapo.py::test_a_length_is_compared_with_the_shortest_right_one_before",
)
@dataclass(frozen=True)
class HAPO:
    r"""Collect by `inner` and put in the place of the objective `length` a reward that knows what was reached before.

    With :math:`l` tokens where the shortest right completion of this prompt by this member, at earlier steps, has
    :math:`h`, and :math:`c = \cos(\frac{\pi}{2} \min(l / h, 2))`: a right completion (`correct` at least `solved`)
    gets :math:`\max(floor, c)`, a wrong one :math:`\min(0, c)`, and any gets 0 while there is no :math:`h`. So being
    shorter than ever before pays, and being short and wrong costs nothing. Where `correct` is missing, so is this.

    The lengths :math:`h` stand in the state under ``collect``, so that they are saved and go with their member. The
    objective's own reward is what evaluation shows, such as `brevity` with bounds (-1, 1). Huang et al. 2025,
    arXiv:2505.11225, and its code, where one reward is the sum of both and `floor` keeps a right answer ahead of any
    wrong one.
    """

    inner: Any = part("collector", Sample())
    length: str = "length"
    correct: str = "correct"
    solved: float = 1.0
    floor: float = -0.7

    def __post_init__(self) -> None:
        look_up_names(self)
        if not -1 <= self.floor <= 0:
            raise ConfigError(f"`floor` must be from -1 to 0, got {self.floor}.")
        if self.length == self.correct:
            raise ConfigError(f"`length` and `correct` must be two objectives, not both `{self.length}`.")

    @property
    def objectives(self) -> tuple[str, ...]:
        return (self.length, self.correct)

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        rows, state = self.inner(policy, env, state, now)
        if rows.rewards is None:
            raise ConfigError("`HAPO` needs rewards, and the rows of its `inner` collector have none.")
        check_names(self.objectives, rows.rewards.names, "HAPO")
        k, j = (rows.rewards.names.index(name) for name in self.objectives)
        there = rows.rewards.valid[:, j].cpu()
        right = there & (rows.rewards.values[:, j].cpu() >= self.solved)
        lengths = rows.completion_mask.sum(dim=1).float().cpu()
        member, problem = rows.member.cpu(), rows.prompt_id.cpu()

        kept = state.get("collect", {})
        shortest = _with_room(kept.get("shortest"), rows.members, int(problem.max()) + 1)
        shaped = self._shaped(lengths, shortest[member, problem], right)
        values, valid = rows.rewards.values.clone(), rows.rewards.valid.clone()
        values[:, k] = torch.where(there, shaped, 0.0).to(values)
        valid[:, k] = there.to(valid.device)
        ideal, nadir = rows.rewards.ideal.clone(), rows.rewards.nadir.clone()
        ideal[k], nadir[k] = 1.0, -1.0
        rewards = replace(rows.rewards, values=values, valid=valid, ideal=ideal, nadir=nadir)

        line = (member * shortest.shape[1] + problem)[right]
        shortest = shortest.flatten().scatter_reduce(0, line, lengths[right], "amin").view_as(shortest)
        return replace(rows, rewards=rewards), {**state, "collect": {**kept, "shortest": shortest}}

    def _shaped(
        self, lengths: Float[Tensor, "row"], shortest: Float[Tensor, "row"], right: Bool[Tensor, "row"]
    ) -> Float[Tensor, "row"]:
        wave = (math.pi / 2 * (lengths / shortest).clamp(max=2)).cos()
        shaped = torch.where(right, wave.clamp(min=self.floor), wave.clamp(max=0))
        return torch.where(shortest.isinf(), 0.0, shaped)


def _with_room(shortest: Tensor | None, members: int, problems: int) -> Float[Tensor, "member problem"]:
    """Return the lengths, infinite where no right completion is known yet, wide enough for this many problems."""
    shortest = torch.full((members, 0), torch.inf) if shortest is None else shortest.cpu()
    more = problems - shortest.shape[1]
    return torch.cat([shortest, torch.full((members, more), torch.inf)], dim=1) if more > 0 else shortest
