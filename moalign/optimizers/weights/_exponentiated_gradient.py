"""Exponentiated gradient: weights grow by a factor and are divided by their sum, so they never leave the simplex."""

import torch
from jaxtyping import Float
from torch import Tensor


def exponentiated_gradient(
    weights: Float[Tensor, "member objective"],
    slopes: Float[Tensor, "member objective"],
    *,
    rate: float | Float[Tensor, "#member 1"],
) -> Float[Tensor, "member objective"]:
    r"""Return :math:`w_k e^{\eta s_k} / \sum_j w_j e^{\eta s_j}`: a step of mirror ascent on the simplex.

    :math:`w` are ``weights``, :math:`s` the ``slopes``, :math:`\eta` the ``rate``. A weight of 0 stays 0; a member
    whose slopes are not all finite keeps its weights. Kivinen and Warmuth 1997, https://doi.org/10.1006/inco.1996.2612.

    >>> exponentiated_gradient(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]), rate=1.0)
    tensor([[0.7311, 0.2689]])
    """
    alive = weights > 0
    finite = slopes.isfinite().all(dim=1, keepdim=True)
    known = torch.where(finite, slopes, 0.0)
    highest = known.masked_fill(~alive, -torch.inf).amax(dim=1, keepdim=True)
    below = (known - highest).clamp(min=-1e30)  # at most 0 where it counts: no exponential overflows
    moved = torch.where(alive, weights.log() + rate * below, -torch.inf).softmax(dim=1)
    return torch.where(finite, moved, weights)
