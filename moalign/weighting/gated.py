"""Weights for each group: the preference as far as the main objective is in hand there."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import check_names, register
from moalign.records import Rows, Setting, State
from moalign.weighting.controller import Controller, Weights, on_simplex, per_member
from moalign.weighting.statistics import per_member_copy


@register(
    "controller",
    "gated",
    paper="fang2026habc",
    test="tests/weighting/test_gated.py::test_the_gate_opens_with_the_groups_own_mean",
)
@dataclass(frozen=True)
class Gated(Controller):
    r"""Blend main objective and preference by group, :math:`w = (1 - g)\,e + g\,p`, :math:`g = \sigma((s - a) / b)`.

    :math:`e` counts the main objective alone, :math:`p` is the member's preference, :math:`s` where the group's mean of
    the main objective stands between its declared bounds, 0 worst and 1 best, :math:`a` ``at``, :math:`b` ``width``:
    while success is unsure it alone counts, where it is likely the rest does, too. ``main`` names the objective;
    without it, it is what a member prefers most, several of equal preference together. A group without a valid reward
    of it, and rows without rewards, get the preference.

    The gate of HABC opens likewise for a state whose success a critic holds likely, and blends two critics'
    advantages; here the group's own share of success stands for the critic. Fang et al. 2026, arXiv:2606.17043.
    """

    at: float = 0.5
    width: float = 0.1
    main: str = ""

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise ConfigError(f"`width` must be positive, got {self.width}; a small one opens the gate at once.")

    @property
    def objectives(self) -> tuple[str, ...]:
        return (self.main,) if self.main else ()

    def init(self, preferences: Float[Tensor, "member objective"], setting: Setting) -> State:
        preference = on_simplex(preferences, setting)
        check_names(self.objectives, setting.names, "main")
        named = torch.tensor([name == self.main for name in setting.names]).expand_as(preference)
        main = named if self.main else preference == preference.amax(1, keepdim=True)
        unbounded = main & ~((setting.ideal > setting.nadir) & (setting.ideal - setting.nadir).isfinite())
        if bool(unbounded.any()):
            wrong = [name for k, name in enumerate(setting.names) if bool(unbounded[:, k].any())]
            raise ConfigError(f"`gated` reads where {', '.join(wrong)} stands between its bounds; declare `bounds`.")
        return {
            "preference": preference,
            "main": main.to(preference) / main.sum(1, keepdim=True),
            "nadir": per_member_copy(setting.nadir.to(preference), len(preference)),
            "ideal": per_member_copy(setting.ideal.to(preference), len(preference)),
        }

    def weigh(self, state: State, rows: Rows) -> Weights:
        if rows.rewards is None:
            return per_member(state["preference"])
        values, kept = (x.cpu() for x in rows.grid(rows.rewards.values))
        valid = (rows.grid(rows.rewards.valid.float())[0].cpu() > 0) & kept[..., None]
        mean = torch.where(valid, values, 0).sum(2) / valid.sum(2).clamp(min=1)
        low, high, main = (state[name][:, None] for name in ("nadir", "ideal", "main"))
        place = torch.where(main > 0, (mean - low) / torch.where(main > 0, high - low, 1), 0.0)
        gate = torch.sigmoid(((place * main).sum(2) - self.at) / self.width)
        known = (valid.any(2) | (main == 0)).all(2)
        gate = torch.where(known & gate.isfinite(), gate, 1.0)[..., None]
        weights = (1 - gate) * main + gate * state["preference"][:, None]
        return weights[:, :, None], torch.ones(len(weights))
