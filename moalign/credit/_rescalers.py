"""Rescalers: the last word on the size of a member's advantages."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from moalign.credit._moments import moments
from moalign.parts import register

Channels = Float[Tensor, "member prompt group channel"]
Mask = Bool[Tensor, "member prompt group"]
Tokens = Float[Tensor, "member prompt group"]  # how many tokens of a row are trained: what a row weighs in a loss


@register("rescaler", "batch-standardize", paper="liu2026gdpo", test="tests/credit/test_rescalers.py::test_golden_gdpo")
def batch_standardize(advantages: Channels, mask: Mask, tokens: Tokens, *, eps: float = 1e-4) -> Channels:
    r"""Centre and scale each channel over the member's batch, :math:`(A_i-\mu_B)/(\sigma_B+\epsilon)` (GDPO).

    :math:`\mu_B, \sigma_B` mean and unbiased std of ``advantages`` over the rows in ``mask``, :math:`\epsilon` ``eps``.
    Every row counts once, whatever its ``tokens``. The fewer groups still have signal, the larger theirs becomes: the
    metric ``advantages/rescaled_by`` shows it. Liu et al. 2026, arXiv:2601.05242, with TRL's numerics.

    >>> batch_standardize(torch.tensor([[[[3.0], [1.0]]]]), torch.ones(1, 1, 2).bool(), torch.ones(1, 1, 2)).flatten()
    tensor([ 0.7071, -0.7071])
    """
    deviations, _, std = moments(advantages, mask[..., None].expand_as(advantages), (1, 2))
    below = std + eps
    return deviations / torch.where(below > 0, below, 1)


@register(
    "rescaler", "token-whiten", paper="liu2026gdpo", test="tests/credit/test_rescalers.py::test_token_whiten_value"
)
def token_whiten(advantages: Channels, mask: Mask, tokens: Tokens, *, eps: float = 1e-8) -> Channels:
    r"""Centre and scale each channel over the member's tokens, :math:`(A_i-\mu_T)/\sqrt{\sigma_T^2+\epsilon}` (verl).

    :math:`\mu_T=\sum_i n_iA_i/\sum_i n_i` and :math:`\sigma_T^2=\sum_i n_i(A_i-\mu_T)^2/(\sum_i n_i-1)`, with
    :math:`n` ``tokens``, over the rows in ``mask``; :math:`\epsilon` ``eps``. A long row weighs more, so where lengths
    differ the rows' advantages no longer add up to 0.

    >>> args = torch.tensor([[[[1.0], [0.0]]]]), torch.ones(1, 1, 2).bool(), torch.tensor([[[3.0, 1.0]]])
    >>> token_whiten(*args).flatten()
    tensor([ 0.5000, -1.5000])
    """
    counts = torch.where(mask, tokens, 0)[..., None]
    total = counts.sum((1, 2), keepdim=True)
    mean = (counts * advantages).sum((1, 2), keepdim=True) / total.clamp(min=1)
    deviations = torch.where(mask[..., None], advantages - mean, 0)
    variance = (counts * deviations.square()).sum((1, 2), keepdim=True) / (total - 1).clamp(min=1)
    below = (variance + eps).sqrt()
    return deviations / torch.where(below > 0, below, 1)


@register("rescaler", "to-std", test="tests/credit/test_rescalers.py::test_to_std_reaches_its_target")
def to_std(advantages: Channels, mask: Mask, tokens: Tokens, *, target: float = 0.6, floor: float = 1e-6) -> Channels:
    r"""Scale each member's advantages so that their std is ``target``, without moving them, :math:`A_i\,t/\sigma_B`.

    :math:`\sigma_B` is the unbiased std over the rows in ``mask`` and all channels, :math:`t` ``target``: one factor
    per member, so channels keep their proportions; every row counts once, whatever its ``tokens``. Members whose std is
    below ``floor`` have no signal (two z-scores that cancel leave rounding, which must not be blown up) and stay as
    they are.

    >>> args = torch.tensor([[[[3.0], [1.0]]]]), torch.ones(1, 1, 2).bool(), torch.ones(1, 1, 2)
    >>> to_std(*args, target=0.7071).flatten()
    tensor([1.5000, 0.5000])
    """
    _, _, std = moments(advantages, mask[..., None].expand_as(advantages), (1, 2, 3))
    return advantages * torch.where(std > floor, target / std.clamp(min=floor), 1)
