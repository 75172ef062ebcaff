"""Hypervolume: the volume that a set of points dominates above a reference point; exact, over moocore."""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers import _moocore
from moalign.optimizers._moocore import FloatArray


def hypervolume(points: Float[Tensor, "point objective"], reference: Float[Tensor, "objective"]) -> float:
    r"""Return the volume of :math:`\bigcup_i [z, r_i]`.

    :math:`r_i` is a row of ``points``, :math:`z` the ``reference``; a point that is not above the reference in every
    objective adds nothing, no points have volume 0. Zitzler and Thiele 1998,
    https://doi.org/10.1007/BFb0056872. Time grows as :math:`n \log n` up to three objectives, then about as
    :math:`n^{m-2}`.

    >>> import torch
    >>> hypervolume(torch.tensor([[0.5, 0.5], [1.0, -1.0]]), torch.zeros(2))
    0.25
    """
    values, corner, above = _inputs(points, reference)
    return _volume(values[above], corner)


def contributions(
    points: Float[Tensor, "point objective"], reference: Float[Tensor, "objective"]
) -> Float[Tensor, "point"]:
    r"""Return by how much the hypervolume falls when one point leaves, :math:`HV(R) - HV(R \setminus \{r_i\})`.

    :math:`R` are the ``points`` above the ``reference``. A dominated point and each of two equal points give 0.

    >>> import torch
    >>> contributions(torch.tensor([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0]]), torch.zeros(2))
    tensor([1., 1., 0.])
    """
    values, corner, above = _inputs(points, reference)
    losses = np.zeros(len(values))
    if above.any():
        losses[above] = _moocore.hypervolume_losses(values[above], corner)
    return _moocore.to_tensor(losses, points)


def gradient(
    points: Float[Tensor, "point objective"], reference: Float[Tensor, "objective"]
) -> Float[Tensor, "point objective"]:
    r"""Return the derivative of the hypervolume in every coordinate of every point, exactly.

    .. math:: \partial HV / \partial r_{ik} = HV_{m-1}(\{r_j^{-k} : r_{jk} \ge r_{ik}\})
              - HV_{m-1}(\{r_j^{-k} : r_{jk} \ge r_{ik}\} \setminus \{r_i^{-k}\})

    :math:`r_j` is a row of ``points``, :math:`r_j^{-k}` the same without objective :math:`k`: the area of the facet
    of the dominated region that moves along with the coordinate. Where two points tie in an objective the two
    one-sided derivatives differ, and this is the one for a *falling* coordinate. So dominated points, equal points
    and points that are not above the ``reference`` get 0. Emmerich and Deutz 2014, "Time
    Complexity and Zeros of the Hypervolume Indicator Gradient Field".

    >>> import torch
    >>> gradient(torch.tensor([[3.0, 1.0], [1.0, 2.0], [0.5, 0.5]]), torch.zeros(2))
    tensor([[1., 2.],
            [1., 1.],
            [0., 0.]])
    """
    values, corner, above = _inputs(points, reference)
    slopes = np.zeros_like(values)
    front = np.flatnonzero(above)
    if len(front):
        front = front[_moocore.is_non_dominated(values[front], keep_duplicates=True)]
    for i in front:
        for k in range(values.shape[1]):
            level = [j for j in front if j != i and values[j, k] >= values[i, k]]
            slopes[i, k] = _facet(np.delete(values[i], k), np.delete(values[level], k, axis=1), np.delete(corner, k))
    return _moocore.to_tensor(slopes, points)


def _facet(own: FloatArray, others: FloatArray, corner: FloatArray) -> float:
    """Return the volume above `corner` that `own` dominates and `others` do not."""
    if (others >= own).all(axis=1).any():
        return 0.0
    # What the others take from own's box is the volume of their minima with it: no difference of large numbers.
    return float(np.prod(own - corner)) - _volume(np.minimum(others, own), corner)


def _volume(points: FloatArray, corner: FloatArray) -> float:
    return _moocore.hypervolume(points, corner) if len(points) else 0.0


def _inputs(points: Tensor, reference: Tensor) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return points and reference as arrays, and which points stand strictly above the reference."""
    _moocore.check_objectives(points, reference, "reference")
    values, corner = _moocore.to_array(points, "points"), _moocore.to_array(reference, "reference")
    if not np.isfinite(corner).all():
        raise ConfigError(f"`reference` must be finite, found {corner.tolist()}; use a value a little below the worst.")
    if np.isposinf(values).any():
        raise ConfigError("`points` must not hold infinity: its hypervolume has no value; leave out diverged points.")
    return values, corner, np.asarray(np.all(values > corner, axis=1))
