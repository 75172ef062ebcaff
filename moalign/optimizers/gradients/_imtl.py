"""The same projection on every gradient (IMTL-G)."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.gradients._angles import angles, inverse_times, weights_of
from moalign.parts import register


@register("mixer", "imtl-g", test="tests/optimizers/test_imtl.py::test_projections_are_equal", paper="liu2021imtl")
def imtl_g(
    gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"]
) -> Float[Tensor, "*batch channel"]:
    r"""Return weights of sum 1 whose step has the same projection on every gradient's direction (IMTL-G).

    .. math:: d \cdot u_j = d \cdot u_k, \quad d = \sum_k w_k g_k, \quad \sum_k w_k = 1, \quad u_k = g_k / \|g_k\|

    Weights may be negative. So may the projection itself, since it is the sum that is fixed: then every channel loses;
    `config` has the same direction and no such case. It is impartial: of ``preferences`` only zeros count, which leave
    a channel out, as a zero gradient does. Gradients that cancel out give zeros. Liu et al. 2021, "Towards Impartial
    Multi-task Learning", ICLR.

    >>> import torch
    >>> g = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    >>> imtl_g(g @ g.mT, torch.tensor([0.5, 0.5]))  # (0.75, 0.75) on both
    tensor([0.7500, 0.2500])
    """
    at = angles(gram, preferences)
    amounts = inverse_times(at, at.used.double())
    shortest = torch.where(at.used, at.length, torch.inf).amin(dim=-1, keepdim=True)
    shares = torch.where(at.used, amounts * (shortest / at.length), 0.0)
    total = shares.sum(dim=-1, keepdim=True)
    some = total.abs() > at.noise
    return weights_of(torch.where(some, amounts * shortest / torch.where(some, total, 1.0), 0.0), at, preferences)
