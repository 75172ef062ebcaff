"""Projected dual ascent: the multiplier of a violated constraint grows, that of a satisfied one falls to zero."""

from jaxtyping import Float
from torch import Tensor


def dual_ascent(
    multipliers: Float[Tensor, "member objective"],
    violation: Float[Tensor, "member objective"],
    *,
    lr: float | Float[Tensor, "#member #objective"],
    maximum: float | Float[Tensor, "#member #objective"],
) -> Float[Tensor, "member objective"]:
    r"""Return :math:`\lambda \leftarrow \min(\max(\lambda + \eta v, 0), \lambda_{\max})`.

    :math:`\lambda` are ``multipliers``, :math:`v` the ``violation``, positive where a constraint is not met (threshold
    minus mean, for a mean that should be at least the threshold), :math:`\eta` the ``lr``, :math:`\lambda_{\max}` the
    ``maximum``, without which the multiplier of a constraint that cannot be met grows without end. Where the
    violation is NaN (nothing was measured) the multiplier stays. Arrow, Hurwicz and Uzawa 1958.

    >>> import torch
    >>> dual_ascent(torch.tensor([[0.1, 0.5]]), torch.tensor([[-0.3, 0.2]]), lr=0.5, maximum=5.0)
    tensor([[0.0000, 0.6000]])
    """
    moved = multipliers + lr * violation.nan_to_num(nan=0.0)
    if isinstance(maximum, Tensor):
        return moved.clamp(min=0.0).minimum(maximum.to(moved))
    return moved.clamp(min=0.0, max=maximum)
