"""GradNorm's rule: weights move until every objective's weighted gradient has the length it should have."""

import torch
from jaxtyping import Float
from torch import Tensor


def gradnorm(
    weights: Float[Tensor, "member objective"],
    norms: Float[Tensor, "member objective"],
    shares: Float[Tensor, "member objective"],
    *,
    lr: float,
    floor: float,
) -> Float[Tensor, "member objective"]:
    r"""Return :math:`w_k - \eta\,\mathrm{sign}(w_k n_k - s_k \sum_j w_j n_j)\,n_k / \bar n`, on the simplex.

    :math:`w` are ``weights`` that sum to 1, :math:`n` the ``norms`` of the objectives' gradients, :math:`\bar n` their
    mean, :math:`s` the ``shares`` that sum to 1, :math:`\eta` the ``lr``. This is one step down the distance
    :math:`\sum_k |w_k n_k - s_k \sum_j w_j n_j|` with the targets held fixed; dividing by :math:`\bar n`, which is
    ours, makes ``lr`` independent of the loss's unit. No weight falls below ``floor``, then they are divided by their
    sum. A member whose norms are not all finite keeps its weights. Chen et al. 2018, arXiv:1711.02257.

    >>> both = torch.tensor([[0.5, 0.5]])
    >>> gradnorm(both, torch.tensor([[3.0, 1.0]]), both, lr=0.1, floor=0.01)  # (0.5 - 0.15, 0.5 + 0.05) / 0.9
    tensor([[0.3889, 0.6111]])
    """
    finite = norms.isfinite().all(dim=1, keepdim=True)
    length = torch.where(finite, norms, 0.0)
    length = length / torch.where(finite & (length > 0).any(dim=1, keepdim=True), length.amax(1, keepdim=True), 1.0)
    weighted = weights * length
    off = weighted - shares * weighted.sum(dim=1, keepdim=True)
    mean = length.mean(dim=1, keepdim=True)
    moved = weights - lr * off.sign() * length / torch.where(mean > 0, mean, 1.0)
    moved = moved.clamp(min=floor)
    return torch.where(finite, moved / moved.sum(dim=1, keepdim=True), weights)
