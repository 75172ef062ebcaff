"""Generalized advantage estimation, a recursion over the tokens of a completion; and what the values explain."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._moments import moments
from moalign.records import Rows

Vector = Float[Tensor, "row token objective"]


def generalized_advantages(
    rewards: Float[Tensor, "row objective"],
    values: Vector,
    mask: Bool[Tensor, "row token"],
    lam: float | Float[Tensor, "row"],
    *,
    gamma: float = 1.0,
) -> Vector:
    r"""Return :math:`A_t=\delta_t+\gamma\lambda A_{t+1}`, :math:`\delta_t=r_t+\gamma V_{t+1}-V_t`; 0 where masked.

    :math:`V` ``values`` before each token, 0 after the last, :math:`\lambda` ``lam``, :math:`\gamma` ``gamma``;
    :math:`r_t` the row's reward at its last token in ``mask``, 0 before. Schulman et al. 2015, arXiv:1506.02438.

    >>> args = torch.tensor([[1.0]]), torch.tensor([[[0.5], [0.25]]]), torch.ones(1, 2, dtype=torch.bool)
    >>> generalized_advantages(*args, 0.5).flatten()
    tensor([0.1250, 0.7500])
    """
    before = torch.where(mask[..., None], values, 0)
    after = torch.nn.functional.pad(before[:, 1:], (0, 0, 0, 1))
    last = mask & ~torch.nn.functional.pad(mask[:, 1:], (0, 1))
    surprise = last[..., None] * rewards[:, None] + gamma * after - before
    advantages, later = torch.zeros_like(before), torch.zeros_like(rewards)
    decay = gamma * torch.as_tensor(lam).to(rewards).expand(len(rewards))[:, None]
    for t in reversed(range(mask.shape[1])):
        later = surprise[:, t] + decay * later
        advantages[:, t] = later
    return advantages


def explained(
    rows: Rows, values: Vector, targets: Vector, known: Bool[Tensor, "row objective"]
) -> Float[Tensor, "member objective"]:
    r"""Return :math:`1-\mathrm{Var}(R-V)/\mathrm{Var}(R)` over a member's tokens: 1 is perfect, 0 no help at all.

    :math:`R` ``targets``, :math:`V` ``values``, on trained tokens with a ``known`` reward; 0 where targets do not vary.
    """
    used = rows.grid((known[:, None] & rows.train_mask[..., None]).to(values))[0] > 0
    residual, whole = (moments(rows.grid(x)[0], used, (1, 2, 3))[2][:, 0, 0, 0] for x in (targets - values, targets))
    return torch.where(whole > 0, 1 - (residual / torch.where(whole > 0, whole, 1)).square(), 0)
