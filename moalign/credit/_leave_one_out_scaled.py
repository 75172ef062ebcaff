"""Advantages against the others in the group, in units of the others' spread."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._moments import moments, varies
from moalign.errors import ConfigError
from moalign.parts import register

AGREED = ("group", "undivided")


@register(
    "estimator",
    "leave-one-out-scaled",
    paper="ahmadian2024rloo",
    test="tests/credit/test_leave_one_out_scaled.py::test_value",
)
def leave_one_out_scaled(
    rewards: Float[Tensor, "member prompt group *objective"],
    mask: Bool[Tensor, "member prompt group *objective"],
    *,
    eps: float = 1e-6,
    tolerance: float = 1e-3,
    agreed: str = "group",
) -> Float[Tensor, "member prompt group *objective"]:
    r"""Subtract the mean of the group's other completions and divide by their std, :math:`(r_i-\mu_{-i})/\sigma_{-i}`.

    :math:`r` ``rewards``, :math:`\mu_{-i}, \sigma_{-i}` mean and unbiased std of the group's valid rewards without
    :math:`r_i`; ``eps`` is added to the std. The others agree where :math:`\sigma_{-i}\le\tau R`, with :math:`R` the
    range of the member's rewards in this objective and :math:`\tau` ``tolerance``. There ``agreed`` is what divides:
    ``"group"`` is the std of the whole group, but at least :math:`\tau R`, so that what rounding leaves of equals never
    becomes an advantage of thousands; ``"undivided"`` is NeMo RL's, in the reward's own unit. A group of equals and a
    completion without others get 0. The baseline is Ahmadian et al. 2024 (RLOO), arXiv:2402.14740.

    >>> leave_one_out_scaled(torch.tensor([[[3.0, 1.0, 0.0, 2.0]]]), torch.ones(1, 1, 4).bool(), eps=0.0)
    tensor([[[ 2.0000, -0.4364, -2.0000,  0.4364]]])
    """
    if agreed not in AGREED:
        raise ConfigError(f"`agreed` must be one of {', '.join(AGREED)}, got {agreed!r}.")
    centred, _, whole = moments(rewards, mask, (2,))
    centred = torch.where(varies(rewards, mask, (2,)).unsqueeze(2), centred, 0)
    size = rewards.shape[2]
    apart = ~torch.eye(size, dtype=torch.bool, device=mask.device).view(size, size, *[1] * (rewards.ndim - 3))
    others = mask.unsqueeze(2) & apart  # member prompt group other *objective
    _, mean, std = (x.squeeze(3) for x in moments(centred.unsqueeze(2).expand(others.shape), others, (3,)))
    difference = torch.where(others.any(3) & mask, centred - mean, 0)
    low = torch.where(mask, rewards, torch.inf).amin((1, 2), keepdim=True)
    high = torch.where(mask, rewards, -torch.inf).amax((1, 2), keepdim=True)
    least = torch.where(high > low, tolerance * (high - low), 0)
    instead = torch.maximum(whole, least) + eps if agreed == "group" else torch.ones_like(std)
    below = torch.where(std > least, std + eps, instead)
    return difference / torch.where(below > 0, below, 1)
