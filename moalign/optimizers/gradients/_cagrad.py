"""The best worst case near the weighted mean (CAGrad)."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.gradients._angles import angles, at_most, inverses, times, weights_of
from moalign.parts import register


@register("mixer", "cagrad", test="tests/optimizers/test_cagrad.py::test_two_worked_values", paper="liu2021cagrad")
def cagrad(
    gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"], *, c: float = 0.5
) -> Float[Tensor, "*batch channel"]:
    r"""Return weights of the step whose worst channel gains most near the mean gradient.

    .. math:: \max_d \min_k g_k \cdot d \quad \text{subject to} \quad \|d - g_0\| \le c\,\|g_0\|

    :math:`g_0 = \sum_k p_k g_k`, :math:`p` ``preferences`` (the paper's mean where they are equal), :math:`c` ``c``, at
    least 0: none gives `linear`, much gives the direction of `min_norm`. Liu et al. 2021, arXiv:2110.14048; the length
    stays as it is, where some implementations also divide by :math:`1 + c`.

    If the worst channels are the set S, :math:`d = g_0 + \sum_{k \in S} y_k g_k` and all of them gain the same
    :math:`\mu`, so :math:`G_S y = \mu 1 - (G p)_S` and :math:`y^\top G y = c^2 \|g_0\|^2` is a quadratic in
    :math:`\mu`. All sets are solved in one batch, on the device; the step that gains most is the answer. A channel
    whose gradient is zero is left out; more than 12 raise `ConfigError`.

    >>> import torch
    >>> g = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> cagrad(g @ g.mT, torch.tensor([0.5, 0.5]))  # (0.5, 0.5) itself, half as much again
    tensor([0.7500, 0.7500])
    """
    if c < 0:
        raise ConfigError(f"`c` is {c}; it is the radius around the mean gradient and must be at least 0.")
    at_most(gram.shape[-1], 12, "cagrad")
    at = angles(gram, preferences)
    mean = at.wish * at.length
    slope = times(at.cosine, mean)
    radius = c * (mean * slope).sum(dim=-1).clamp(min=0.0).sqrt()[..., None, None]
    shortest = torch.where(at.used, at.length, torch.inf).amin(dim=-1, keepdim=True)
    equal = torch.where(at.used, shortest / at.length, 0.0).unsqueeze(-2)
    inverse, slope = inverses(at), slope.unsqueeze(-2)
    up, back = times(inverse, equal), times(inverse, slope)
    square, linear, rest = ((x * y).sum(-1, keepdim=True) for x, y in ((equal, up), (equal, back), (slope, back)))
    gain = (linear + (linear.square() - square * (rest - radius.square())).clamp(min=0.0).sqrt()) / square
    extra = (gain * up - back).clamp(min=0.0)
    cosine = at.cosine.unsqueeze(-3)
    norm = (extra * times(cosine, extra)).sum(dim=-1, keepdim=True).clamp(min=0.0).sqrt()
    extra = extra * (radius / norm)
    gains = torch.where(at.used.unsqueeze(-2), at.length.unsqueeze(-2) * (slope + times(cosine, extra)), torch.inf)
    best = gains.amin(dim=-1).nan_to_num(nan=-torch.inf).argmax(dim=-1)[..., None, None]
    chosen = extra.take_along_dim(best, dim=-2).squeeze(-2).nan_to_num(nan=0.0)
    return weights_of(mean + chosen, at, preferences)
