"""Scores of several members on the same prompts, and the means and standard errors that follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moalign.errors import ConfigError
from moalign.objectives import Objective


@dataclass(frozen=True)
class Sample:
    """One completion with every reward, larger is better; None where a reward does not apply."""

    prompt: Any  # text, or a list of chat messages
    completion: Any
    rewards: Mapping[str, float | None]


@dataclass(frozen=True)
class Evaluation:
    """Each member's score on each prompt: one completion a prompt, the same prompts for all; larger is better.

    >>> scores = torch.tensor([[[0.0], [1.0], [5.0]], [[1.0], [2.0], [7.0]]])
    >>> seen = torch.tensor([True, True, False]).view(1, 3, 1).expand(2, 3, 1)
    >>> result = Evaluation(("accuracy",), ("m00", "m01"), scores, seen)
    >>> result.values.tolist(), result.stderr.tolist(), result.counts.tolist()
    ([[0.5], [1.5]], [[0.5], [0.5]], [[2], [2]])
    """

    names: tuple[str, ...]  # of the objectives
    members: tuple[str, ...]
    scores: Float[Tensor, "member prompt objective"]
    valid: Bool[Tensor, "member prompt objective"]  # False: the reward does not apply, timed out, or was NaN
    split: str = "test"
    temperature: float | None = 1.0  # 0 is greedy; None: each member has its own
    samples: tuple[tuple[Sample, ...], ...] = ()  # a few per member, of the same prompts

    @property
    def prompts(self) -> int:
        """How many prompts each member completed."""
        return self.scores.shape[1]

    @property
    def counts(self) -> Int[Tensor, "member objective"]:
        """How many prompts gave a valid score."""
        return self.valid.sum(dim=1)

    @property
    def values(self) -> Float[Tensor, "member objective"]:
        """Mean scores; NaN where nothing was valid."""
        total = torch.where(self.valid, self.scores, 0).sum(dim=1)
        return torch.where(self.counts > 0, total / self.counts.clamp(min=1), torch.nan)

    @property
    def influence(self) -> Float[Tensor, "member prompt objective"]:
        """How far each prompt moves each mean: errors of any smooth function of the means follow from these.

        The variance of ``f(values)`` is ``sum_prompt (∇f · influence[prompt])²``, correlations between members and
        objectives on the same prompt included; with one valid score there is no telling, and it is NaN.
        """
        count = self.counts.to(self.scores).unsqueeze(1)
        bessel = torch.where(count > 1, ((count - 1) * count).rsqrt(), torch.nan)
        return torch.where(self.valid, self.scores - self.values.unsqueeze(1), 0) * bessel

    @property
    def stderr(self) -> Float[Tensor, "member objective"]:
        """Standard errors of the means over prompts; NaN below two valid scores."""
        return self.influence.square().sum(dim=1).sqrt()

    def own(
        self, objectives: Sequence[Objective]
    ) -> tuple[Float[Tensor, "member objective"], Float[Tensor, "member objective"]]:
        """Return values and standard errors in the objectives' own signs: a cost is positive again."""
        by_name = {objective.name: objective for objective in objectives}
        missing = [name for name in self.names if name not in by_name]
        if missing:
            raise ConfigError(f"`objectives` lacks {', '.join(missing)}, which were evaluated; pass all of them.")
        flipped = [by_name[name].flip(self.values[:, k]) for k, name in enumerate(self.names)]
        return torch.stack(flipped, dim=1), self.stderr

    def difference(self, a: str, b: str) -> tuple[Float[Tensor, "objective"], Float[Tensor, "objective"]]:
        """Return by how much member `a` is better than `b`, and its standard error, paired by prompt.

        Prompts where either has no valid score are left out.
        """
        i, j = self.members.index(a), self.members.index(b)
        both = self.valid[i] & self.valid[j]
        gap = Evaluation(self.names, (f"{a}-{b}",), (self.scores[i] - self.scores[j])[None], both[None])
        return gap.values[0], gap.stderr[0]
