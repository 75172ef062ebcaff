"""A gated sum: an easy objective counts only where a hard one is good enough."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.scalarizers._named import Named, Real
from moalign.parts import register


@register("scalarizer", "gated", test="tests/optimizers/test_gated.py::test_value_by_hand", paper="sun2025gra")
@dataclass(frozen=True)
class Gated(Named):
    r"""Weighted sum of what is let through, :math:`\sum_k w_k g_k r_k`, :math:`g_k = g_h [r_h \ge t_h]`.

    :math:`r` are ``rewards``, :math:`w` ``weights``; :math:`h` is the objective that :math:`k` comes ``after``,
    :math:`t_h` its level in ``thresholds``, in its own sign: a cost is good enough at or below it. What comes after
    nothing always counts. Gates chain, {"style": "tests", "tests": "compiles"}: a lexicographic order with thresholds.
    A dropped reward counts 0, so that passing a gate costs something where rewards behind it are negative: give these a
    worst value of 0. A missing reward opens no gate; the ``ideal`` plays no part. Per sequence, E[u(r)], it stops easy
    rewards from being collected without the hard one; through `FromScalarizer`, u(E[r]), an objective gets its weight
    once the mean of the harder one suffices, since a gate itself has no slope. `Objective.after` gates the reward
    instead, for the evaluation too. Sun et al. 2025, arXiv:2508.10548 (with weights of 1).

    >>> from moalign.optimizers.scalarizers import Axes
    >>> utility = Gated({"style": "tests"}, {"tests": 1.0}).told(Axes(("style", "tests"), (1, 1)))
    >>> utility(torch.tensor([[0.9, 1.0], [0.9, 0.5]]), torch.ones(2), torch.ones(2))  # 0.9 + 1.0, 0.5 alone
    tensor([1.9000, 0.5000])
    """

    monotone: ClassVar[bool] = False

    after: Mapping[str, str] = field(default_factory=dict)
    thresholds: Mapping[str, Real] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lacking = sorted(set(self.after.values()) - set(self.thresholds))
        if lacking:
            raise ConfigError(f"`thresholds` has no value for {', '.join(lacking)}, which `after` waits for; set one.")
        idle = sorted(set(self.thresholds) - set(self.after.values()))
        if idle:
            raise ConfigError(f"`thresholds` names {', '.join(idle)}, for which nothing waits; name it in `after`.")
        for name in self.after:
            if name in self._harder(name):
                raise ConfigError(f"`after` of `{name}` goes in a circle; remove one.")

    @property
    def in_own_units(self) -> bool:
        return bool(self.after)

    @property
    def objectives(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.after, *self.after.values())))

    def __call__(
        self,
        rewards: Float[Tensor, "*batch objective"],
        weights: Float[Tensor, "*#batch objective"],
        ideal: Float[Tensor, "*#batch objective"],
    ) -> Float[Tensor, "*batch"]:
        return (weights * torch.where(self._let_through(rewards), rewards, 0)).sum(dim=-1)

    def _let_through(self, rewards: Float[Tensor, "*batch objective"]) -> Bool[Tensor, "*batch objective"]:
        through = torch.ones_like(rewards, dtype=torch.bool)
        if not self.after:
            return through
        axes = self.known_axes(rewards)
        place = {name: k for k, name in enumerate(axes.names)}
        for name in place:
            for hard in self._harder(name):
                if hard in place:
                    level = axes.signs[place[hard]] * float(self.thresholds[hard])
                    through[..., place[name]] &= rewards[..., place[hard]] >= level
                else:
                    through[..., place[name]] = False
        return through

    def _harder(self, name: str) -> list[str]:
        """Return the objectives that one comes after, the nearest first; a circle is gone round once."""
        found: list[str] = []
        while name in self.after and self.after[name] not in found:
            name = self.after[name]
            found.append(name)
        return found
