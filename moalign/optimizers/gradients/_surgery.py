"""Gradients turned away from each other one after the other: what PCGrad and GradVac share."""

import functools
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.gradients._angles import Angles, times


def turned(at: Angles, target: float) -> Float[Tensor, "*batch channel"]:
    r"""Return amounts of the directions in :math:`\sum_k p_k g_k'`, each :math:`g_k'` the mean over all orders.

    In one order :math:`g_k' = g_k` meets each other gradient :math:`g_j` in turn; where their cosine :math:`\phi` is
    below the ``target`` :math:`\phi^*`, as much of :math:`g_j` is added as makes it equal:

    .. math:: g_k' \leftarrow g_k' + \|g_k'\| \frac{\phi^* \sqrt{1 - \phi^2} - \phi \sqrt{1 - {\phi^*}^2}}
        {\|g_j\| \sqrt{1 - {\phi^*}^2}} g_j

    All beginnings of orders are met at once; of a turned gradient only its inner products and its length are kept.
    """
    channels = at.cosine.shape[-1]
    rest = sqrt(1 - target**2)
    dots, square = at.cosine, torch.ones_like(at.length)  # per beginning of an order, gradients of length 1
    amounts = torch.eye(channels, dtype=torch.double, device=at.cosine.device).expand_as(at.cosine)
    for parent, other, met in _meetings(channels, at.cosine.device):
        dot, square = dots[..., parent, other], square[..., parent]
        norm = square.clamp(min=0.0).sqrt()
        cosine = (dot / norm.clamp(min=1e-150)).clamp(-1.0, 1.0)
        add = norm * (target * (1 - cosine.square()).sqrt() - cosine * rest) / rest
        add = torch.where((cosine < target) & at.used[..., other], add, 0.0)
        each = add.unflatten(-1, (channels, -1))
        amounts = amounts + (each.unsqueeze(-2) @ met).squeeze(-2) / each.shape[-1]
        square = square + 2 * add * dot + add.square()
        dots = dots[..., parent, :] + add.unsqueeze(-1) * at.cosine[..., other, :]
    return times(amounts.mT, at.wish * at.length)


@functools.cache
def _meetings(channels: int, device: torch.device) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return for each round which beginning of an order each longer one continues, with whom, and that as 0 and 1.

    Beginnings are sorted by the gradient that is turned, of which each has as many.
    """
    orders: list[tuple[int, ...]] = [(k,) for k in range(channels)]
    rounds = []
    for _ in range(channels - 1):
        grown = [(n, (*order, k)) for n, order in enumerate(orders) for k in range(channels) if k not in order]
        orders = [order for _, order in grown]
        other = torch.tensor([order[-1] for order in orders], device=device)
        met = other.view(channels, -1, 1) == torch.arange(channels, device=device)
        rounds.append((torch.tensor([n for n, _ in grown], device=device), other, met.double()))
    return rounds
