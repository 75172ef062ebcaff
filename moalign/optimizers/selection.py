"""Which points of a front to go on from: those beside its widest gaps."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moalign.optimizers.dominance import crowding_distance, non_dominated


def beside_gaps(
    points: Float[Tensor, "point objective"], *, count: int = 1
) -> tuple[Int[Tensor, "chosen"], Float[Tensor, "chosen objective"]]:
    r"""Return the `count` non-dominated points of largest crowding distance, and the gaps above each of them.

    The gap above a point in an objective is the distance to the next larger value among the non-dominated points, in
    shares of their range, and 0 above the largest. Extreme points have infinite room and come first; between them the
    wider sum of gaps decides. Fewer points are returned where the front has fewer; those that are not finite are never
    chosen. The choice of Liu et al. 2024 (C-MORL), arXiv:2410.02236.

    >>> chosen, gaps = beside_gaps(torch.tensor([[0.0, 1.0], [0.2, 0.8], [1.0, 0.0], [0.1, 0.1]]))
    >>> chosen, gaps  # (1, 0) lies 0.8 below (0.2, 0.8) in the second objective
    (tensor([2]), tensor([[0.0000, 0.8000]]))
    """
    index = torch.nonzero(torch.isfinite(points).all(dim=1)).squeeze(1)
    index = index[non_dominated(points[index], keep_duplicates=False)]
    front = points[index]
    if not len(front):
        return index, front
    ahead = front[None, :, :] - front[:, None, :]  # point, other point, objective
    gaps = torch.where(ahead > 0, ahead, torch.inf).amin(dim=1)
    gaps = gaps.masked_fill(gaps.isinf(), 0.0) / (front.amax(dim=0) - front.amin(dim=0)).clamp(min=1e-12)
    room = list(zip(crowding_distance(front).tolist(), gaps.sum(dim=1).tolist()))
    best = sorted(range(len(front)), key=room.__getitem__, reverse=True)[:count]
    return index[best], gaps[best]
