"""A trust region without an optimizer: the gradient's direction, TRPO's backtracking line search for each member."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.parts import Knob, register
from moalign.records import Metrics, Need, Policy, Rows, Stacked, State
from moalign.training.descent import as_member, differentiate
from moalign.training.losses import TotalLoss


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
    :math:`\alpha` the learning rate: the length of the first try. :math:`g` is the gradient of all channels' sum; TRPO
    turns it into a natural gradient by conjugate gradients, which is left out here. The KL is estimated on the sampled
    tokens, mean of :math:`\rho - 1 - \log \rho`. Each member searches on its own; one that finds no step, or whose loss
    is not finite, stays where it was. Schulman et al. 2015, arXiv:1502.05477, appendix C.
    """

    max_kl: Knob = 0.01
    backtracks: int = 10
    shrink: float = 0.5
    passes: ClassVar[int] = 2  # the loss is looked at again after a step: old log-probabilities are needed

    def __post_init__(self) -> None:
        if not 0 < self.shrink < 1 or self.backtracks < 0:
            found = f"{self.shrink} and {self.backtracks}"
            raise ConfigError(f"`shrink` must lie between 0 and 1 and `backtracks` be at least 0, got {found}.")

    def init(self, policy: Policy) -> State:
        return {"active": torch.ones(len(policy.members), dtype=torch.bool, device=policy.device)}

    def __call__(self, policy: Policy, rows: Rows, losses: TotalLoss, state: State, now: Any) -> tuple[Metrics, State]:
        total, gradients = differentiate(policy, rows, losses)
        down = {name: sum((-g[name] for g in gradients[1:]), -gradients[0][name]) for name in gradients[0]}
        norm = torch.stack([d.flatten(1).square().sum(dim=1) for d in down.values()]).sum(dim=0).sqrt()
        before = total.sum(dim=1)
        active = state["active"] & torch.isfinite(before) & torch.isfinite(norm)
        bound = torch.as_tensor(self.max_kl, dtype=norm.dtype, device=policy.device).expand(len(active))
        length = as_member(now.learning_rate, len(active), policy.device)

        start = {name: p.tensor.detach().clone() for name, p in policy.parameters().items()}
        taken, searching = torch.zeros_like(norm), active & (norm > 0)
        kl = torch.zeros_like(norm)
        for _ in range(self.backtracks + 1):
            _place(
                policy.parameters(), start, down, torch.where(searching, length, taken) / norm.clamp(min=1e-30), active
            )
            after, found = _measure(policy, rows, losses)
            accepted = searching & (after < before) & (found <= bound)  # False for NaN
            taken, kl = torch.where(accepted, length, taken), torch.where(accepted, found, kl)
            searching = searching & ~accepted
            if not bool(searching.any()):
                break
            length = length * self.shrink
        _place(policy.parameters(), start, down, taken / norm.clamp(min=1e-30), active & (taken > 0))
        return {"loss": before, "grad_norm": norm, "step_length": taken, "kl": kl}, {"active": active}


@torch.no_grad()
def _place(
    parameters: dict[str, Stacked],
    start: dict[str, Tensor],
    direction: dict[str, Tensor],
    by: Float[Tensor, "member"],
    moving: Bool[Tensor, "member"],
) -> None:
    """Put moving members' parameters at ``start + by * direction``, the others' at the start, bit for bit."""
    for name, stacked in parameters.items():
        shape = (-1, *[1] * (start[name].ndim - 1))
        moved = start[name] + by.reshape(shape) * direction[name]
        stacked.tensor.copy_(torch.where(moving.reshape(shape), moved, start[name]))


@torch.no_grad()
def _measure(policy: Policy, rows: Rows, losses: TotalLoss) -> tuple[Float[Tensor, "member"], Float[Tensor, "member"]]:
    """Return each member's loss, and its mean KL from the old log-probabilities over the trained tokens."""
    loss, kl, count = (torch.zeros(rows.members, device=policy.device) for _ in range(3))
    for micro in policy.split(rows, couples=losses.couples):
        loss = loss + losses(micro).sum(dim=1)
        logprobs = policy.forward(micro, frozenset({Need.LOGPROBS})).logprobs
        assert micro.old_logprobs is not None, "`passes` of 2 lets the loop compute them"
        used = (micro.train_mask & micro.keep[:, None])[:, : logprobs.shape[1]]
        log_ratio = torch.where(used, logprobs - micro.old_logprobs[:, : logprobs.shape[1]], 0.0)
        kl = kl.index_add(0, micro.member, (log_ratio.exp() - 1 - log_ratio).sum(dim=1))
        count = count.index_add(0, micro.member, used.sum(dim=1).to(count))
    return loss, kl / count.clamp(min=1)
