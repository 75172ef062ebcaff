"""The bargain that the gradients would strike (Nash-MTL)."""

from jaxtyping import Float
from torch import Tensor

from moalign.optimizers.gradients._angles import angles, weights_of
from moalign.optimizers.gradients._fair import fair_amounts
from moalign.parts import register


@register(
    "mixer", "nash-mtl", test="tests/optimizers/test_fair.py::test_nash_of_two_worked_values", paper="navon2022nash"
)
def nash_mtl(
    gram: Float[Tensor, "*batch channel channel"], preferences: Float[Tensor, "*batch channel"]
) -> Float[Tensor, "*batch channel"]:
    r"""Return the weights of Nash's bargaining solution: :math:`(G w)_k = p_k / w_k`.

    The step :math:`d = \sum_k w_k g_k` maximises :math:`\sum_k p_k \log (g_k \cdot d)` among steps of its length, so
    every channel gains, and a gradient's length changes nothing. :math:`G` is the ``gram``, :math:`p` ``preferences``
    scaled to a mean of 1 (a bargain with unequal power; the paper's where they are equal). The step's length is the
    square root of the number m of channels in use. Where gradients cancel out there is no bargain and weights grow
    large. A channel whose gradient is zero is left out. Navon et al. 2022, arXiv:2202.01017, solved by Newton's method,
    where the authors linearise; their clipping to length 1 is the update's.

    >>> import torch
    >>> g = torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    >>> nash_mtl(g @ g.mT, torch.tensor([0.5, 0.5]))  # 1 w = 1 / w and 16 w = 1 / w
    tensor([1.0000, 0.2500])
    """
    at = angles(gram, preferences)
    return weights_of(fair_amounts(at, alpha=1.0), at, preferences)
