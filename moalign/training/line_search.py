"""A trust region without an optimizer: the gradient's direction, TRPO's backtracking line search for each member."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from moalign.errors import ConfigError
from moalign.parts import Knob, register
from moalign.records import Metrics, Policy, Rows, State
from moalign.training.descent import as_member, differentiate
from moalign.training.losses import TotalLoss
from moalign.training.trial import Trial


@register(
    "update",
    "line-search",
    paper="schulman2015trpo",
    test="tests/training/test_line_search.py::test_improves_every_member_within_its_trust_region",
)
@dataclass(frozen=True)
class LineSearch:
    r"""Take the largest step down the gradient that lowers the loss with mean KL(old‖new) at most ``max_kl``.

    Tries are :math:`\theta - \alpha c^i g / \lVert g \rVert`, :math:`i` = 0, ..., ``backtracks``, :math:`c` ``shrink``,
    :math:`\alpha` the learning rate: the length of the first try. :math:`g` is the gradient of the channels' weighted
    sum; TRPO turns it into a natural gradient by conjugate gradients, which is left out here. Each member searches on
    its own; one that finds no step, or whose loss is not finite, stays. Schulman et al. 2015, arXiv:1502.05477.
    """

    max_kl: Knob = 0.01
    backtracks: int = 10
    shrink: float = 0.5
    passes: ClassVar[int] = 2  # the loss is looked at again after a step: old log-probabilities are needed

    def __post_init__(self) -> None:
        if not 0 < self.shrink < 1 or self.backtracks < 0:
            raise ConfigError(f"{self}: `shrink` must lie between 0 and 1 and `backtracks` be at least 0.")

    def init(self, policy: Policy) -> State:
        return {"active": torch.ones(len(policy.members), dtype=torch.bool, device=policy.device)}

    def __call__(self, policy: Policy, rows: Rows, losses: TotalLoss, state: State, now: Any) -> tuple[Metrics, State]:
        total, gradients = differentiate(policy, rows, losses)
        before, trial = (total * losses.preferences).sum(dim=1), Trial(policy, gradients, losses.preferences)
        active = state["active"] & torch.isfinite(before) & torch.isfinite(trial.norm)
        bound, length = (as_member(x, len(active), policy.device) for x in (self.max_kl, now.learning_rate))
        searching, taken, kl = active & (trial.norm > 0), torch.zeros_like(before), torch.zeros_like(before)
        for _ in range(self.backtracks + 1):
            trial.place(torch.where(searching, length, taken))
            after, found = trial.measure(rows, losses)
            accepted = searching & (after < before) & (found <= bound)  # False for NaN
            taken, kl = torch.where(accepted, length, taken), torch.where(accepted, found, kl)
            searching, length = searching & ~accepted, length * self.shrink
        trial.place(taken)
        return {"loss": before, "grad_norm": trial.norm, "step_length": taken, "kl": kl}, {"active": active}
