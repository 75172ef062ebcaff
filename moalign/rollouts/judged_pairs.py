"""Pairs under constraints: the best completion that all judges pass, and the worst one that some judge refuses."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import check_names, register
from moalign.records import Environment, Policy, Rows, State
from moalign.rollouts.best_worst import BestWorst
from moalign.rollouts.rounds import reordered

PASSED = 0.5  # a judge's reward is 1 for yes and 0 for no


@register(
    "collector",
    "judged-pairs",
    paper="xu2024cgpo",
    test="tests/rollouts/test_judged_pairs.py::test_the_best_that_passes_and_the_worst_that_fails",
)
@dataclass(frozen=True)
class JudgedPairs(BestWorst):
    """Keep of each group the best completion that passes all `judges`, and the worst that fails one (CODPO's pairs).

    Where all pass, the second is the worst of all; where none passes, or nothing is left to pair, the group is dropped.
    `judges` names objectives whose reward is 1 for pass and 0 for fail, one that has none does not apply; give them no
    weight, or `oracle` counts them as well. Otherwise as `BestWorst`. The paper trains on these pairs by DPO and a term
    that raises the chosen one's likelihood. Xu et al. 2024, arXiv:2409.20370.
    """

    judges: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "judges", tuple(self.judges))

    @property
    def objectives(self) -> tuple[str, ...]:
        return self.judges

    def problems(self, recipe: Any) -> list[str]:
        return [] if self.judges else ["`collect` 'judged-pairs' has no `judges`; name the objectives that judge."]

    def __call__(self, policy: Policy, env: Environment, state: State, now: Any) -> tuple[Rows, State]:
        rows, state = self.inner(policy, env, state, now)
        score, passed = self._score(rows, state, now), self._passed(rows)
        known = ~score.isnan()
        best = score.masked_fill(~(known & passed), -torch.inf).max(2, True)
        failed = known & ~passed
        refused = torch.where(failed.any(2, True), failed, known)
        worst = score.masked_fill(~refused, torch.inf).min(2, True)
        paired = best.values.isfinite() & worst.values.isfinite() & (best.indices != worst.indices)
        paired &= failed.any(2, True) | (best.values > worst.values)  # a refused one may well score higher
        place = torch.full_like(score, 2).scatter(2, worst.indices, 1).scatter(2, best.indices, 0)
        place = torch.where(paired, place, 2)
        order = ((rows.member * place.shape[1] + rows.group) * 3 + rows.flat(place).long()).argsort(stable=True)
        return reordered(replace(rows, keep=rows.keep & (rows.flat(place) < 2)), order), state

    def _passed(self, rows: Rows) -> Bool[Tensor, "member prompt group"]:
        if rows.rewards is None:
            raise ConfigError("`judged-pairs` reads rewards, and the rows of `inner` have none.")
        check_names(self.judges, rows.rewards.names, "judges")
        judge = torch.tensor([name in self.judges for name in rows.rewards.names], device=rows.member.device)
        failed = (rows.rewards.valid & judge & (rows.rewards.values < PASSED)).any(dim=1)
        return rows.grid((~failed).float())[0] > 0
