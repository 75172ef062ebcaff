"""Weights for each group: the whole preference only where the main objective is already in hand."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import check_names, register
from moalign.records import Rows, Setting, State
from moalign.weighting.controller import Controller, Weights, on_simplex, per_member


@register(
    "controller",
    "grpo-lambda",
    paper="dai2025grpolambda",
    test="tests/weighting/test_grpo_lambda.py::test_the_best_groups_get_the_preference",
)
@dataclass(frozen=True)
class GRPOLambda(Controller):
    """Weigh the `share` of a member's groups with the best mean of its main objective by the preference (GRPO-λ).

    The other groups count the main objective alone: with correctness as the main objective and brevity beside it,
    answers are shortened only where they are mostly right. λ is `share`, rounded up to whole groups; of equal groups
    the earlier comes first. `main` names the objective; without it, it is what a member prefers most, several of equal
    preference together. Rows without rewards get the preference. Dai et al. 2025, arXiv:2505.18086.
    """

    share: float = 0.2
    main: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"`share` is a share of the groups, between 0 and 1, got {self.share}.")

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        preference = on_simplex(preferences, setting)
        check_names([self.main] if self.main else [], setting.names, "main")
        named = torch.tensor([name == self.main for name in setting.names]).expand_as(preference)
        main = (named if self.main else preference == preference.amax(1, keepdim=True)).to(preference)
        return {"preference": preference, "main": main / main.sum(1, keepdim=True)}

    def weigh(self, state: State, rows: Rows) -> Weights:
        if rows.rewards is None:
            return per_member(state["preference"])
        values, kept = (x.cpu() for x in rows.grid(rows.rewards.values))
        valid = (rows.grid(rows.rewards.valid.float())[0].cpu() > 0) & kept[..., None]
        mean = torch.where(valid, values, 0).sum(2) / valid.sum(2).clamp(min=1)
        score = (mean * state["main"][:, None]).sum(2).masked_fill(~kept.any(2), -torch.inf)
        rank = score.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        best = rank < self.share * kept.any(2).sum(1, keepdim=True)
        weights = torch.where(best[..., None], state["preference"][:, None], state["main"][:, None])
        return weights[:, :, None], torch.ones(len(weights))
