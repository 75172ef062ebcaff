"""Who dominates whom: a point dominates another when it is nowhere smaller and somewhere larger."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers import _moocore


def non_dominated(points: Float[Tensor, "point objective"], *, keep_duplicates: bool = True) -> Bool[Tensor, "point"]:
    """Return which points no other point dominates; without `keep_duplicates`, the first of equal points only.

    >>> non_dominated(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.5]]))
    tensor([ True,  True, False])
    """
    array = _moocore.to_array(points, "points")
    if not len(array):
        return torch.zeros(0, dtype=torch.bool, device=points.device)
    return torch.as_tensor(_moocore.is_non_dominated(array, keep_duplicates=keep_duplicates)).to(points.device)


def rank(points: Float[Tensor, "point objective"]) -> Int[Tensor, "point"]:
    """Return each point's layer: 0 is non-dominated, 1 is non-dominated once layer 0 is gone, and so on.

    Deb et al. 2002, NSGA-II, https://doi.org/10.1109/4235.996017.

    >>> rank(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.5]]))
    tensor([0, 0, 1])
    """
    array = _moocore.to_array(points, "points")
    if not len(array):
        return torch.zeros(0, dtype=torch.int64, device=points.device)
    return torch.as_tensor(_moocore.pareto_rank(array)).to(points.device)


def crowding_distance(points: Float[Tensor, "point objective"]) -> Float[Tensor, "point"]:
    r"""Return how much room each point of one front has, :math:`\sum_k (r^+_k - r^-_k) / (\max_k - \min_k)`.

    :math:`r^-_k, r^+_k` are the next smaller and next larger value among the ``points`` in objective :math:`k`; an
    extreme point has infinite room, an objective in which all points agree counts nothing. Points that tie in an
    objective share the gap around them, so that the order of the points decides nothing. Deb et al. 2002.

    >>> crowding_distance(torch.tensor([[0.0, 4.0], [1.0, 2.0], [4.0, 0.0]]))  # (4 - 0) / 4 + (4 - 0) / 4
    tensor([inf, 2., inf])
    """
    if not np.isfinite(_moocore.to_array(points, "points")).all():
        raise ConfigError("`points` must be finite, or gaps have no size; leave out diverged points.")
    room = points.new_zeros(len(points))
    for k in range(points.shape[1]):
        values, where, ties = torch.unique(points[:, k], sorted=True, return_inverse=True, return_counts=True)
        if len(values) < 2:
            continue
        gap = torch.full_like(values, torch.inf)
        gap[1:-1] = (values[2:] - values[:-2]) / (values[-1] - values[0]) / ties[1:-1]
        room = room + gap[where]
    return room
