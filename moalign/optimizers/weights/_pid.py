"""A multiplier as a controller's output: what was violated, is violated, and is getting worse."""

from jaxtyping import Float
from torch import Tensor


def pid(
    integral: Float[Tensor, "member objective"],
    violation: Float[Tensor, "member objective"],
    worsening: Float[Tensor, "member objective"],
    *,
    proportional: float,
    derivative: float,
    maximum: float,
) -> Float[Tensor, "member objective"]:
    r"""Return :math:`[I + K_P v + K_D (\partial)_+]_0^{\max}`.

    :math:`I` is ``integral``, which `dual_ascent` moves by :math:`K_I v`, :math:`v` the ``violation``, positive where a
    constraint is not met, :math:`\partial` the ``worsening`` since the step before, of which only a rise counts: what
    gets better must not be slowed. Without :math:`K_P` (``proportional``) and :math:`K_D` (``derivative``) this is the
    plain multiplier. Stooke, Achiam and Abbeel 2020, arXiv:2007.03964, Algorithm 2.

    >>> import torch
    >>> step = torch.tensor([[0.2, -0.1]])
    >>> pid(torch.tensor([[0.1, 0.1]]), step, step, proportional=1.0, derivative=2.0, maximum=5.0)
    tensor([[0.7000, 0.0000]])
    """
    return (integral + proportional * violation + derivative * worsening.clamp(min=0.0)).clamp(0.0, maximum)
