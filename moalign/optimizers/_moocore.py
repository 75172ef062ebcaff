"""The one door to moocore: larger is better on our side, its ``maximise=True`` on the other, tensors in and out."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from moalign.errors import ConfigError

FloatArray = NDArray[np.float64]


def to_array(points: Float[Tensor, "..."], name: str) -> FloatArray:
    """Return `points` as doubles on the CPU; NaN has no place in any order, so it raises `ConfigError`."""
    array = points.detach().to("cpu", torch.float64).numpy()
    if np.isnan(array).any():
        where = np.argwhere(np.isnan(array))[0].tolist()
        raise ConfigError(f"`{name}` must not hold NaN, found one at {where}; leave out points that have no value.")
    return array


def to_tensor(array: FloatArray, like: Tensor) -> Tensor:
    """Return an array as a tensor of the dtype and on the device of `like`."""
    return torch.as_tensor(np.ascontiguousarray(array)).to(dtype=like.dtype, device=like.device)


def check_objectives(points: Tensor, other: Tensor, name: str) -> None:
    """Raise `ConfigError` unless `other` has as many objectives as `points`."""
    if points.shape[-1] != other.shape[-1]:
        raise ConfigError(
            f"`{name}` has {other.shape[-1]} objectives and `points` has {points.shape[-1]}; pass the same ones."
        )


def is_non_dominated(points: FloatArray, *, keep_duplicates: bool) -> NDArray[np.bool_]:
    import moocore

    return moocore.is_nondominated(points, maximise=True, keep_weakly=keep_duplicates)


def pareto_rank(points: FloatArray) -> NDArray[np.int64]:
    import moocore

    return moocore.pareto_rank(points, maximise=True).astype(np.int64)


def hypervolume(points: FloatArray, reference: FloatArray) -> float:
    import moocore

    return float(moocore.hypervolume(points, ref=reference, maximise=True))


def hypervolume_losses(points: FloatArray, reference: FloatArray) -> FloatArray:
    """Return by how much the hypervolume falls when a point leaves; dominated points may take its place."""
    import moocore

    if points.shape[1] == 1:  # moocore wants two columns; a second one of height 1 multiplies every volume by 1
        points = np.hstack([points, np.ones_like(points)])
        reference = np.append(reference, 0.0)
    losses = moocore.hv_contributions(points, ref=reference, maximise=True, ignore_dominated=False)
    return np.maximum(losses, 0.0)


def distance(indicator: str, points: FloatArray, front: FloatArray) -> float:
    """Return moocore's `igd`, `igd_plus` or `epsilon_additive`."""
    import moocore

    return float(getattr(moocore, indicator)(points, ref=front, maximise=True))
