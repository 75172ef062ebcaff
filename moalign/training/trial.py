"""Trial steps: put every member somewhere along a direction, and look at the loss and the divergence there."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.records import Need, Policy, Rows
from moalign.training.descent import Gradients
from moalign.training.losses import TotalLoss


@dataclass(frozen=True)
class Trial:
    """Steps from where the policy stands now, down the gradient of the channels' weighted sum, of length 1."""

    policy: Policy
    gradients: Gradients
    preferences: Float[Tensor, "member channel"]  # the channels' weights; 1 for a single one
    start: dict[str, Tensor] = field(init=False)
    down: dict[str, Tensor] = field(init=False)
    norm: Float[Tensor, "member"] = field(init=False)  # of the gradient; where 0, the direction is 0

    def __post_init__(self) -> None:
        channels = [{n: g * _wide(w, g) for n, g in c.items()} for c, w in zip(self.gradients, self.preferences.T)]
        summed = {name: torch.stack([g[name] for g in channels]).sum(dim=0) for name in channels[0]}
        squares = [g.flatten(1).square().sum(dim=1) for g in summed.values()]
        norm = torch.stack(squares).sum(dim=0).sqrt()
        unit = {name: -g / _wide(norm.clamp(min=1e-30), g) for name, g in summed.items()}
        start = {name: p.tensor.detach().clone() for name, p in self.policy.parameters().items()}
        for name, value in {"start": start, "down": unit, "norm": norm}.items():
            object.__setattr__(self, name, value)

    @torch.no_grad()
    def place(self, length: Float[Tensor, "member"]) -> None:
        """Put each member `length` down from the start; members of length 0 at the start, bit for bit."""
        for name, stacked in self.policy.parameters().items():
            start = self.start[name]
            moved = start + _wide(length, start) * self.down[name]
            stacked.tensor.copy_(torch.where(_wide(length, start) != 0, moved, start))

    @torch.no_grad()
    def measure(self, rows: Rows, losses: TotalLoss) -> tuple[Float[Tensor, "member"], Float[Tensor, "member"]]:
        r"""Return each member's loss, and its mean KL from the old log-probabilities over the trained tokens.

        The KL is estimated on the sampled tokens, mean of :math:`\rho - 1 - \log \rho`.
        """
        loss, kl, count = (torch.zeros(rows.members, device=self.policy.device) for _ in range(3))
        for micro in self.policy.split(rows, couples=losses.couples):
            loss = loss + (losses(micro) * self.preferences).sum(dim=1)
            logprobs = self.policy.forward(micro, frozenset({Need.LOGPROBS})).logprobs
            assert micro.old_logprobs is not None, "`passes` of 2 lets the loop compute them"
            used = (micro.train_mask & micro.keep[:, None])[:, : logprobs.shape[1]]
            log_ratio = torch.where(used, logprobs - micro.old_logprobs[:, : logprobs.shape[1]], 0.0)
            kl = kl.index_add(0, micro.member, (log_ratio.exp() - 1 - log_ratio).sum(dim=1))
            count = count.index_add(0, micro.member, used.sum(dim=1).to(count))
        loss, kl, count = self.policy.summed([loss, kl, count])
        return loss, kl / count.clamp(min=1)


def _wide(x: Float[Tensor, "member"], like: Tensor) -> Tensor:
    """Return x with as many axes as `like`."""
    return x.reshape(-1, *[1] * (like.ndim - 1))
