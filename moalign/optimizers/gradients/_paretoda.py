"""As far towards a wished direction as no channel pays for more than it would anyway (ParetoDA)."""

import functools
from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from moalign.optimizers.gradients._angles import angles, at_most, times, weights_of
from moalign.parts import register


@register("mixer", "paretoda", test="tests/optimizers/test_paretoda.py::test_two_worked_values", paper="lv2021paretoda")
def paretoda(
    gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"]
) -> Float[Tensor, "*batch channel"]:
    r"""Return weights on the simplex whose step goes furthest along a guide, guarding the channels that oppose it.

    .. math:: \max_w d \cdot g_v, \quad d = \sum_k w_k g_k, \quad \text{subject to} \quad d \cdot g_j \ge
        \min(0, g_v \cdot g_j) \text{ for } g_v \cdot g_j \le 0, \quad d \cdot g_* \ge 0

    The guide :math:`g_v = \sum_k p_k g_k` is what is wished for, :math:`p` ``preferences`` scaled to a sum of 1;
    :math:`g_*` is the gradient that agrees with it most. A channel that would lose by the guide loses no more, and the
    step goes at least as far along it. In the paper the guide is the gradient of a target loss on held-out data, which
    a mixer does not see. Weights lie in a corner, so some are usually zero.

    All corners of the linear program are tried in one batch, on the device: more than 8 channels raise `ConfigError`,
    and 8 take some tens of milliseconds for each member. A channel whose gradient is zero is left out. Lv et al. 2021,
    "Pareto Domain Adaptation", arXiv:2112.04137, equation 6.

    >>> import torch
    >>> g = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> paretoda(g @ g.mT, torch.tensor([0.5, 0.5]))  # no conflict: all on the one that gains most by (1, 1/2)
    tensor([1., 0.])
    """
    channels = gram.shape[-1]
    at_most(channels, 8, "paretoda")
    at = angles(gram, preferences)
    shortest = torch.where(at.used, at.length, torch.inf).amin(dim=-1, keepdim=True)
    scale = torch.where(at.used, at.length / shortest, 0.0)  # amounts of directions per weight
    guide = scale * at.wish / at.wish.sum(dim=-1, keepdim=True)
    slope = times(at.cosine, guide)  # of each channel along the guide, per length
    most = (scale * slope).amax(dim=-1, keepdim=True)
    floor = torch.where(slope > 0, -torch.inf, slope).where(scale * slope < most, 0.0)

    eye = torch.eye(channels, dtype=torch.double, device=gram.device).expand_as(at.cosine)
    limits = torch.cat([eye, at.cosine], dim=-2)
    bounds = torch.cat([torch.zeros_like(floor), floor], dim=-1)
    tight = _tight(channels, gram.device)
    share = torch.where(at.used, 1 / torch.where(at.used, scale, 1.0), 0.0)[..., None, None, :]
    system = torch.cat([limits[..., tight, :], share.expand(*share.shape[:-3], len(tight), 1, channels)], dim=-2)
    target = pad(torch.where(bounds.isfinite(), bounds, 0.0)[..., tight], (0, 1), value=1.0)
    corners = torch.linalg.solve_ex(system, target.unsqueeze(-1)).result.squeeze(-1)
    corners = torch.cat([corners, guide.unsqueeze(-2)], dim=-2)  # always allowed

    rounding = max(1e-11, at.noise) * scale.amax(dim=-1)[..., None, None]
    slack = times(limits.unsqueeze(-3), corners) - bounds.unsqueeze(-2)
    total = times(corners, share.squeeze(-2).squeeze(-2))
    number = torch.arange(corners.shape[-2], device=gram.device)
    allowed = (slack >= -rounding).all(dim=-1) & ((total - 1).abs() < 1e-6) | (number == number[-1])
    value = torch.where(allowed, (slope.unsqueeze(-2) * corners).sum(dim=-1), -torch.inf)
    best = value.argmax(dim=-1)[..., None, None]
    return weights_of(corners.take_along_dim(best, dim=-2).squeeze(-2).clamp(min=0.0) * shortest, at, preferences)


@functools.cache
def _tight(channels: int, device: torch.device) -> Int[Tensor, "corner limit"]:
    """Return which limits, of all weights and all channels, are met exactly in each corner that there may be."""
    picked = list(combinations(range(2 * channels), channels - 1))
    return torch.tensor(picked, dtype=torch.long, device=device).view(len(picked), channels - 1)
