"""MODPO: a preference loss for one objective, with the other objectives' reward margins as an offset."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.losses.preference._links import dpo
from moalign.losses.preference._loss import pairs
from moalign.losses.preference._scores import summed
from moalign.parts import Knob, bind, look_up_names, part, register
from moalign.records import Couples, Credit, Outputs, Rows


@register("loss", "modpo", paper="zhou2023modpo", test="tests/losses/test_modpo.py::test_equals_the_closed_form")
@dataclass(frozen=True)
class MODPO:
    r"""Return :math:`-\log\sigma\big(\frac1{w_k}(\beta m-\sum_{j\ne k}w_j(r_j^{chosen}-r_j^{rejected}))\big)` of pairs.

    :math:`k` the ``objective`` that the data's pairs express, :math:`m` the margin of the ``score``, :math:`\beta`
    ``beta``, :math:`r` the rows' rewards, :math:`w` ``credit.weights``, the controller's;
    :math:`w_k` is taken as at least ``least``, where the paper's formula has no value at 0. A reward that one of the
    two lacks has no margin. With :math:`w_k=1` it is DPO. Zhou et al. 2023, arXiv:2310.03708, and the authors' code.
    """

    objective: str = ""
    beta: Knob = 0.1
    least: float = 0.05
    score: Any = part("score", bind(summed))
    couples: ClassVar[Couples] = Couples.GROUPS

    def __post_init__(self) -> None:
        look_up_names(self)

    def __call__(self, outputs: Outputs, rows: Rows, credit: Credit) -> Float[Tensor, "row token 1"]:
        rewards, pair = rows.rewards, pairs(rows)
        if rewards is None or credit.weights is None or self.objective not in rewards.names:
            known = () if rewards is None else rewards.names
            raise ConfigError(f"`objective` must be what the pairs prefer, one of {known}, got {self.objective!r}.")
        k, (chosen, rejected) = rewards.names.index(self.objective), pair.unbind(1)
        margins = torch.where(rewards.valid[pair].all(1), rewards.values[chosen] - rewards.values[rejected], 0)
        others = torch.arange(len(rewards.names), device=margins.device) != k
        score, weights = self.score(outputs, rows), credit.weights[chosen]
        beta = torch.as_tensor(self.beta, device=score.device).expand(rows.members)[rows.member[chosen]]
        implicit, offset = beta * (score[chosen] - score[rejected]), (weights * margins)[:, others].sum(1)
        loss = dpo((implicit - offset) / weights[:, k].clamp(min=self.least), beta=1.0)
        row = torch.zeros_like(score).index_put((pair.flatten(),), loss.repeat_interleave(2))
        return row[:, None, None].expand(-1, rows.tokens.shape[1], 1)
