"""Rescalers: the last word on the size of a member's advantages."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._moments import moments
from moalign.parts import register

Channels = Float[Tensor, "member prompt group channel"]
Mask = Bool[Tensor, "member prompt group"]


@register("rescaler", "batch-standardize", paper="liu2026gdpo", test="tests/credit/test_rescalers.py::test_golden_gdpo")
def batch_standardize(advantages: Channels, mask: Mask, *, eps: float = 1e-4) -> Channels:
    r"""Centre and scale each channel over the member's batch, :math:`(A_i-\mu_B)/(\sigma_B+\epsilon)` (GDPO).

    :math:`\mu_B, \sigma_B` mean and unbiased std of ``advantages`` over the rows in ``mask``, :math:`\epsilon` ``eps``.
    The fewer groups still have signal, the larger theirs becomes: the metric ``advantages/rescaled_by`` shows it.
    Liu et al. 2026, arXiv:2601.05242, with TRL's numerics.

    >>> batch_standardize(torch.tensor([[[[3.0], [1.0]]]]), torch.ones(1, 1, 2, dtype=torch.bool)).flatten()
    tensor([ 0.7071, -0.7071])
    """
    deviations, _, std = moments(advantages, mask[..., None].expand_as(advantages), (1, 2))
    return deviations / (std + eps)


@register("rescaler", "to-std", test="tests/credit/test_rescalers.py::test_to_std_reaches_its_target")
def to_std(advantages: Channels, mask: Mask, *, target: float = 0.6, floor: float = 1e-6) -> Channels:
    r"""Scale each member's advantages so that their std is ``target``, without moving them, :math:`A_i\,t/\sigma_B`.

    :math:`\sigma_B` is the unbiased std over the rows in ``mask`` and all channels, :math:`t` ``target``: one factor
    per member, so channels keep their proportions. Members whose std is below ``floor`` have no signal (two z-scores
    that cancel leave rounding, which must not be blown up) and stay as they are.

    >>> to_std(torch.tensor([[[[3.0], [1.0]]]]), torch.ones(1, 1, 2, dtype=torch.bool), target=0.7071).flatten()
    tensor([1.5000, 0.5000])
    """
    _, _, std = moments(advantages, mask[..., None].expand_as(advantages), (1, 2, 3))
    return advantages * torch.where(std > floor, target / std.clamp(min=floor), 1)
