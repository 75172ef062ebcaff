"""Weights by what still varies: an objective whose rewards have become alike gives its share to the others."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.records import Rows, Setting, State
from moalign.weighting.controller import Controller, Weights, on_simplex, per_member
from moalign.weighting.statistics import normalized


@register(
    "controller", "stage-aware", paper="he2026saw", test="tests/weighting/test_stage_aware.py::test_golden_weights"
)
@dataclass(frozen=True)
class StageAware(Controller):
    r"""Multiply the preference by the batch's relative spreads, :math:`w_k=p_kc_k/\sum_jp_jc_j` (SAW).

    :math:`c_k=\sigma_k/(\mu_k+\delta)` is the coefficient of variation of what the member's rows earn above the
    objective's worst value :math:`z_k`: :math:`\mu_k, \sigma_k` mean and unbiased std of :math:`r_k-z_k+\delta`,
    :math:`\delta` ``delta``, :math:`p` the preference. Weights are made anew of each batch, for the rewards' sum as for
    the advantages'. Where nothing varies they are the preference. Every objective needs bounds, because a coefficient
    of variation depends on where 0 is (`ConfigError` otherwise). The paper's weights are these times a number: as many
    as there are objectives, for advantages. He et al. 2026, arXiv:2606.07705.
    """

    delta: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.delta < float("inf"):
            raise ConfigError(f"`delta` must be a positive number, got {self.delta}.")

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        unbounded = [name for name, worst in zip(setting.names, setting.nadir.tolist()) if worst != worst]
        if unbounded:
            raise ConfigError(
                f"`weighting='stage-aware'` measures rewards from their worst value; give `bounds` to "
                f"{', '.join(unbounded)}."
            )
        preference = on_simplex(preferences, setting)
        return {"preference": preference, "worst": setting.nadir.expand_as(preference).clone()}

    def weigh(self, state: State, rows: Rows) -> Weights:
        preference = state["preference"]
        if rows.rewards is None:
            return per_member(preference)
        values, kept = (x.cpu() for x in rows.grid(rows.rewards.values))
        valid = ((rows.grid(rows.rewards.valid.float())[0].cpu() > 0) & kept[..., None]).flatten(1, 2)
        above = values.flatten(1, 2) - state["worst"][:, None] + self.delta
        count = valid.sum(1).clamp(min=1)
        mean = torch.where(valid, above, 0).sum(1) / count
        squares = torch.where(valid, above - mean[:, None], 0).square().sum(1)
        spread = (squares / (count - 1).clamp(min=1)).sqrt() / (mean.clamp(min=0) + self.delta)
        varied = torch.where(spread.sum(1, keepdim=True) > self.delta, preference * spread, 0)
        return per_member(normalized(varied, preference))
