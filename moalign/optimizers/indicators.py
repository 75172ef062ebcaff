"""Numbers that tell how good a set of points is, some of them against a known front."""

from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers import _moocore
from moalign.optimizers.dominance import non_dominated


def igd(points: Float[Tensor, "point objective"], front: Float[Tensor, "reference objective"]) -> float:
    """Return the mean distance from the `front`'s points to the nearest of `points`: smaller is better.

    Inverted generational distance, Coello Coello and Reyes Sierra 2004. It may prefer a dominated set; `igd_plus`
    does not.

    >>> import torch
    >>> igd(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))  # (5 + 1) / 2
    3.0
    """
    return _against("igd", points, front)


def igd_plus(points: Float[Tensor, "point objective"], front: Float[Tensor, "reference objective"]) -> float:
    """Return `igd` with a distance that counts only the objectives in which a point falls short: smaller is better.

    Ishibuchi et al. 2015, https://doi.org/10.1007/978-3-319-15892-1_8.

    >>> import torch
    >>> igd_plus(torch.tensor([[9.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))  # (4 + 1) / 2
    2.5
    """
    return _against("igd_plus", points, front)


def epsilon_additive(points: Float[Tensor, "point objective"], front: Float[Tensor, "reference objective"]) -> float:
    r"""Return the least shift that makes `points` weakly dominate the `front`: smaller is better.

    :math:`\max_{q \in \text{front}} \min_{p \in \text{points}} \max_k (q_k - p_k)`; Zitzler et al. 2003,
    https://doi.org/10.1109/TEVC.2003.810758.

    >>> import torch
    >>> epsilon_additive(torch.tensor([[9.0, 0.0], [0.0, 3.5]]), torch.tensor([[3.0, 4.0]]))  # min(max(-6, 4), 3)
    3.0
    """
    return _against("epsilon_additive", points, front)


def expected_utility(points: Float[Tensor, "point objective"], weights: Float[Tensor, "weight objective"]) -> float:
    r"""Return the mean over `weights` of the best weighted sum, :math:`E_w \max_i w \cdot r_i`: larger is better.

    What a user with a linear utility drawn from `weights` gets by choosing from `points`; Zintgraf et al. 2015.

    >>> import torch
    >>> expected_utility(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))  # (1 + 2) / 2
    1.5
    """
    _moocore.check_objectives(points, weights, "weights")
    _check_some(points, "points")
    _check_some(weights, "weights")
    return float((points @ weights.mT).amax(dim=0).mean())


def sparsity(points: Float[Tensor, "point objective"]) -> float:
    r"""Return the mean squared gap on the front, :math:`\frac{1}{n-1} \sum_k \sum_i (s_{k,i+1} - s_{k,i})^2`.

    :math:`s_k` are the values of objective :math:`k` of the non-dominated of ``points``, sorted, :math:`n` how many.
    Smaller is denser, and 0 for a single point: read it only beside a hypervolume. Xu et al. 2020, PGMORL.

    >>> import torch
    >>> sparsity(torch.tensor([[0.0, 2.0], [1.0, 1.0], [3.0, 0.0]]))  # ((1 + 4) + (1 + 1)) / 2
    3.5
    """
    front = points[non_dominated(points, keep_duplicates=False)]
    if len(front) < 2:
        return 0.0
    return float(front.sort(dim=0).values.diff(dim=0).square().sum() / (len(front) - 1))


def _against(indicator: str, points: Tensor, front: Tensor) -> float:
    _moocore.check_objectives(points, front, "front")
    _check_some(points, "points")
    _check_some(front, "front")
    return _moocore.distance(indicator, _moocore.to_array(points, "points"), _moocore.to_array(front, "front"))


def _check_some(points: Tensor, name: str) -> None:
    if not len(points):
        raise ConfigError(f"`{name}` is empty, and this indicator has no value then; pass at least one point.")
